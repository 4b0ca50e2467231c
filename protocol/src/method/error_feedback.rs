//! Error feedback: what an encoding leaves out is kept by its sender, and sent later.
//!
//! Source: Seide et al. 2014 (EF14), in the form of SparseLoCo, arXiv 2508.15706, algorithm 1:
//! `e <- beta e + delta; sent = C(e); e <- e - sent`. With beta = 1 it is EF14.
//!
//! The residual moves when the certificate comes, not when the bytes leave: a contribution that is not
//! counted has not been, and the next one, whose delta holds the same work again, is taken as if
//! nothing had been sent.

use crate::codec::{Codec, CodecError};

/// What the contributions to one fragment left out. It is the sender's own, and nobody else needs it.
#[derive(Clone, PartialEq, Debug)]
pub struct Residual {
    /// As of the last counted contribution.
    counted: Vec<f32>,
    /// What it will be, once the contribution that was sent last is counted.
    sent: Option<Vec<f32>>,
}

impl Residual {
    /// Nothing was left out of `values` values yet.
    pub fn new(values: usize) -> Residual {
        Residual { counted: vec![0.0; values], sent: None }
    }

    /// One that was kept.
    pub fn kept(values: Vec<f32>) -> Residual {
        Residual { counted: values, sent: None }
    }

    /// What was left out, as of the last counted contribution.
    pub fn values(&self) -> &[f32] {
        &self.counted
    }

    /// Appends the encoding of `beta` times the residual plus `delta` to `out`; what is random in it
    /// follows from `noise`. Whatever was sent before is not counted any more. On an error nothing is
    /// appended.
    ///
    /// # Panics
    /// If `delta` is not as long as the residual.
    pub fn encode(
        &mut self,
        beta: f32,
        mut delta: Vec<f32>,
        codec: Codec,
        noise: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        assert_eq!(delta.len(), self.counted.len());
        self.sent = None;
        delta.iter_mut().zip(&self.counted).for_each(|(delta, rest)| *delta += beta * rest);
        let mut rest = delta;
        let start = out.len();
        codec.encode(&rest, noise, out)?;
        codec.decode_add(&out[start..], -1.0, &mut rest).inspect_err(|_| out.truncate(start))?;
        self.sent = Some(rest);
        Ok(())
    }

    /// The contribution that was sent last is counted.
    pub fn counted(&mut self) {
        if let Some(rest) = self.sent.take() {
            self.counted = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::TopK;

    fn top_1(of: u32) -> Codec {
        Codec::TopK(TopK { keep: 1, of, whole: false, statistical: false })
    }

    fn encode(residual: &mut Residual, beta: f32, delta: &[f32], codec: Codec) -> Vec<f32> {
        let (mut bytes, mut sent) = (Vec::new(), vec![0.0; delta.len()]);
        residual.encode(beta, delta.to_vec(), codec, 7, &mut bytes).unwrap();
        codec.decode_into(&bytes, &mut sent).unwrap();
        sent
    }

    #[test]
    fn what_was_left_out_is_sent_later_and_decays() {
        let mut residual = Residual::new(2);
        assert_eq!(encode(&mut residual, 0.5, &[4.0, 3.0], top_1(2)), [4.0, 0.0]);
        residual.counted();
        assert_eq!(residual.values(), [0.0, 3.0]);
        assert_eq!(encode(&mut residual, 0.5, &[1.0, 0.0], top_1(2)), [0.0, 1.5]);
        residual.counted();
        assert_eq!(residual.values(), [1.0, 0.0]);
    }

    #[test]
    fn what_is_not_counted_was_not_sent() {
        let mut residual = Residual::new(2);
        encode(&mut residual, 1.0, &[4.0, 3.0], top_1(2));
        assert_eq!(residual.values(), [0.0, 0.0]);
        // The next difference holds the same work again.
        assert_eq!(encode(&mut residual, 1.0, &[4.0, 5.0], top_1(2)), [0.0, 5.0]);
        residual.counted();
        residual.counted();
        assert_eq!(residual.values(), [4.0, 0.0]);
    }

    #[test]
    fn nothing_moves_where_nothing_can_be_sent() {
        let mut residual = Residual::new(2);
        let mut bytes = vec![9];
        residual.encode(1.0, vec![1.0, 2.0], top_1(2), 7, &mut bytes).unwrap();
        residual.counted();
        let before = (residual.clone(), bytes.clone());
        assert!(residual.encode(1.0, vec![f32::NAN, 0.0], top_1(2), 7, &mut bytes).is_err());
        assert_eq!((residual, bytes), before);
    }

    /// The spec's check E2, as far as it is about EF14: three quadratics f_i = <a_i, x>^2 + |x|^2 / 4.
    #[test]
    fn e2_top_1_alone_grows_and_with_error_feedback_converges() {
        const A: [[f64; 3]; 3] = [[-3.0, 2.0, 2.0], [2.0, -3.0, 2.0], [2.0, 2.0, -3.0]];
        const GAMMA: f64 = 0.005_859_121;
        let product = |a: &[f64; 3], x: &[f64; 3]| a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
        let gradient = |a: &[f64; 3], x: &[f64; 3]| -> Vec<f32> {
            let slope = 2.0 * product(a, x);
            a.iter().zip(x).map(|(a, x)| (GAMMA * (slope * a + x / 2.0)) as f32).collect()
        };
        let value = |x: &[f64; 3]| {
            let squares = x.iter().map(|x| x * x).sum::<f64>() / 4.0;
            A.iter().map(|a| product(a, x).powi(2)).sum::<f64>() / 3.0 + squares
        };
        let descend = |feedback: bool, x: &mut [f64; 3], residuals: &mut [Residual; 3]| {
            let mut mean = [0.0f64; 3];
            for (a, residual) in A.iter().zip(residuals) {
                let sent = encode(residual, 1.0, &gradient(a, x), top_1(3));
                mean.iter_mut().zip(sent).for_each(|(mean, sent)| *mean += f64::from(sent) / 3.0);
                if feedback {
                    residual.counted();
                }
            }
            x.iter_mut().zip(mean).for_each(|(x, mean)| *x -= mean);
        };
        let fresh = || [Residual::new(3), Residual::new(3), Residual::new(3)];
        let (mut x, mut residuals) = ([1.0; 3], fresh());
        (0..100).for_each(|_| descend(false, &mut x, &mut residuals));
        assert!((x[0].abs() - 2.910_847).abs() < 1e-5, "{}", x[0]);
        let grown = (1.0 + 11.0 * GAMMA / 6.0).powi(100);
        assert!((x[0].abs() / grown - 1.0).abs() < 1e-5, "{} and {grown}", x[0]);
        let (mut x, mut residuals) = ([1.0; 3], fresh());
        let reached = (1..3_000).find(|_| {
            descend(true, &mut x, &mut residuals);
            value(&x) < 1e-12
        });
        assert!(reached.is_some_and(|round| (2_035..=2_045).contains(&round)), "{reached:?}");
    }

    proptest! {
        /// Of plain error feedback nothing is lost: what was sent and what is left add up to what came.
        #[test]
        fn nothing_is_lost(deltas in prop::collection::vec(prop::collection::vec(-100i16..100, 8), 1..20)) {
            let mut residual = Residual::new(8);
            let (mut came, mut sent) = ([0.0f32; 8], [0.0f32; 8]);
            for delta in &deltas {
                // Small integers, so that sums are exact.
                let delta: Vec<f32> = delta.iter().map(|value| f32::from(*value)).collect();
                let now = encode(&mut residual, 1.0, &delta, top_1(4));
                residual.counted();
                (0..8).for_each(|i| (came[i], sent[i]) = (came[i] + delta[i], sent[i] + now[i]));
            }
            for i in 0..8 {
                prop_assert_eq!(came[i], sent[i] + residual.values()[i]);
            }
        }
    }
}
