//! AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101): Adam with decoupled weight decay, in one pass over the flat
//! buffers.

use crate::cpu::math::{fused, power};
use crate::model::Tensor;
use crate::optimizer::muon::Block;
use std::ops::Range;

/// The numbers of the inner optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled decay per unit of learning rate. It applies to matrices, embeddings included, and not to gains and
    /// biases.
    pub weight_decay: f32,
    /// The largest 2-norm of the whole gradient; a longer one is scaled down to it. Infinity turns clipping off.
    pub clip: f32,
}

impl Default for AdamW {
    fn default() -> AdamW {
        AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1, clip: 1.0 }
    }
}

impl AdamW {
    /// Whether every number is in its range: betas in \[0, 1), epsilon and clip positive, decay not negative.
    pub(crate) fn is_valid(&self) -> bool {
        let beta = |b: f32| (0.0..1.0).contains(&b);
        beta(self.beta1)
            && beta(self.beta2)
            && self.epsilon > 0.0
            && self.epsilon.is_finite()
            && (0.0..=1.0).contains(&self.weight_decay)
            && self.clip > 0.0
    }
}

/// The numbers of one step, shared by all values.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients {
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// Learning rate over the first moment's bias.
    step: f32,
    /// 1 / root of the second moment's bias.
    root: f32,
    /// What weight decay leaves of a decayed value.
    keep: f32,
    /// What clipping leaves of the gradient.
    pub scale: f32,
}

impl Coefficients {
    /// For the optimizer's step number `step` (from 1) with a gradient of the given norm.
    pub(crate) fn new(adamw: &AdamW, step: u64, learning_rate: f32, gradient_norm: f64) -> Coefficients {
        let bias1 = 1.0 - power(f64::from(adamw.beta1), step);
        let bias2 = 1.0 - power(f64::from(adamw.beta2), step);
        let clip = f64::from(adamw.clip);
        let scale = if gradient_norm > clip { clip / gradient_norm } else { 1.0 };
        Coefficients {
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            epsilon: adamw.epsilon,
            step: (f64::from(learning_rate) / bias1) as f32,
            root: (1.0 / bias2.sqrt()) as f32,
            keep: 1.0 - learning_rate * adamw.weight_decay,
            scale: scale as f32,
        }
    }
}

/// Equal ranges of the optimizer's buffers.
pub(crate) struct Moments<'a> {
    pub parameters: &'a mut [f32],
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    pub gradients: &'a [f32],
}

impl Moments<'_> {
    fn slice(&mut self, range: Range<usize>) -> Moments<'_> {
        Moments {
            parameters: &mut self.parameters[range.clone()],
            first: &mut self.first[range.clone()],
            second: &mut self.second[range.clone()],
            gradients: &self.gradients[range],
        }
    }
}

/// Which ranges of the flat buffer are AdamW's, and which of them decay: neighbouring tensors of one kind are merged.
pub(crate) struct Decay {
    ranges: Vec<(Range<usize>, bool)>,
}

impl Decay {
    /// All but `others`, which another optimizer moves.
    pub(crate) fn new(tensors: &[Tensor], others: &[Block]) -> Decay {
        let mut ranges: Vec<(Range<usize>, bool)> = Vec::new();
        let is_ours = |tensor: &&Tensor| others.iter().all(|block| block.range != tensor.range());
        for tensor in tensors.iter().filter(is_ours) {
            match ranges.last_mut() {
                Some((range, decays)) if *decays == tensor.is_matrix() && range.end == tensor.offset => {
                    range.end = tensor.range().end;
                }
                _ => ranges.push((tensor.range(), tensor.is_matrix())),
            }
        }
        Decay { ranges }
    }

    /// The ranges, and whether they decay.
    pub(crate) fn ranges(&self) -> &[(Range<usize>, bool)] {
        &self.ranges
    }

    /// One optimizer step on the values that start at `offset` of the flat buffer.
    pub(crate) fn update(&self, coefficients: &Coefficients, offset: usize, mut values: Moments<'_>) {
        let all = offset..offset + values.parameters.len();
        let first = self.ranges.partition_point(|(range, _)| range.end <= all.start);
        for (range, decays) in self.ranges[first..].iter().take_while(|(range, _)| range.start < all.end) {
            let part = range.start.max(all.start) - offset..range.end.min(all.end) - offset;
            let keep = if *decays { coefficients.keep } else { 1.0 };
            update(values.slice(part), *coefficients, keep);
        }
    }
}

vectorised! {
    /// One step on some values.
    fn update(values: Moments<'_>, c: Coefficients, keep: f32) {
        let n = values.parameters.len();
        let (parameters, gradients) = (values.parameters, &values.gradients[..n]);
        let (first, second) = (&mut values.first[..n], &mut values.second[..n]);
        let (new1, new2) = (1.0 - c.beta1, 1.0 - c.beta2);
        for i in 0..n {
            let gradient = gradients[i] * c.scale;
            let m = fused::<FMA>(c.beta1, first[i], new1 * gradient);
            let v = fused::<FMA>(c.beta2, second[i], new2 * gradient * gradient);
            first[i] = m;
            second[i] = v;
            let change = c.step * m / fused::<FMA>(v.sqrt(), c.root, c.epsilon);
            parameters[i] = fused::<FMA>(keep, parameters[i], -change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GptShape;

    /// Three steps on four values against the textbook formulas in f64, decayed and not.
    #[test]
    fn follows_the_formulas() {
        let adamw = AdamW { clip: f32::INFINITY, ..AdamW::default() };
        for decays in [false, true] {
            let (mut p, mut m, mut v) = ([1.0_f32, -2.0, 0.5, 0.0], [0.0_f32; 4], [0.0_f32; 4]);
            let (mut p64, mut m64, mut v64) = ([1.0_f64, -2.0, 0.5, 0.0], [0.0_f64; 4], [0.0_f64; 4]);
            let gradients = [0.3_f32, -0.1, 1e-4, 2.0];
            for step in 1..=3 {
                let c = Coefficients::new(&adamw, step, 0.01, 3.0);
                let values =
                    Moments { parameters: &mut p, first: &mut m, second: &mut v, gradients: &gradients };
                Decay { ranges: vec![(0..4, decays)] }.update(&c, 0, values);
                for i in 0..4 {
                    let g = f64::from(gradients[i]);
                    m64[i] = 0.9 * m64[i] + 0.1 * g;
                    v64[i] = 0.99 * v64[i] + 0.01 * g * g;
                    let m_hat = m64[i] / (1.0 - 0.9_f64.powi(step as i32));
                    let v_hat = v64[i] / (1.0 - 0.99_f64.powi(step as i32));
                    let decay = if decays { 0.1 } else { 0.0 };
                    p64[i] = p64[i] * (1.0 - 0.01 * decay) - 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
                    assert!((f64::from(p[i]) - p64[i]).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn a_long_gradient_is_scaled_to_the_clip() {
        let c = Coefficients::new(&AdamW::default(), 1, 0.01, 4.0);
        assert_eq!(c.scale, 0.25);
        assert_eq!(Coefficients::new(&AdamW::default(), 1, 0.01, 0.5).scale, 1.0);
    }

    #[test]
    fn matrices_decay_and_vectors_do_not() {
        let shape = GptShape { layers: 1, heads: 1, width: 2, context: 2, vocabulary: 3 };
        let tensors = shape.tensors();
        let decay = Decay::new(&tensors, &[]);
        let n = shape.parameter_count();
        let (mut p, mut m, mut v) = (vec![1.0; n], vec![0.0; n], vec![0.0; n]);
        let c = Coefficients::new(&AdamW::default(), 1, 0.5, 1.0);
        // Two ranges that cut through tensors must do what one would.
        let cut = n / 3;
        let gradients = vec![0.0; n];
        for range in [0..cut, cut..n] {
            let mut all =
                Moments { parameters: &mut p, first: &mut m, second: &mut v, gradients: &gradients };
            decay.update(&c, range.start, all.slice(range));
        }
        for tensor in tensors {
            let expected = if tensor.shape.len() == 2 { 0.95 } else { 1.0 };
            assert!(p[tensor.range()].iter().all(|value| *value == expected), "{}", tensor.name);
        }
    }

    #[test]
    fn ranges_are_checked() {
        assert!(AdamW::default().is_valid());
        assert!(!AdamW { beta1: 1.0, ..AdamW::default() }.is_valid());
        assert!(!AdamW { beta2: f32::NAN, ..AdamW::default() }.is_valid());
        assert!(!AdamW { clip: 0.0, ..AdamW::default() }.is_valid());
        assert!(!AdamW { epsilon: 0.0, ..AdamW::default() }.is_valid());
    }
}
