//! Every gradient of the engine against finite differences of an independent model in f64.

use super::{Batch, Engine, EngineOptions};
use crate::model::GptShape;
use crate::optimizer::Optimizer;
use crate::rng;
use rand_chacha::rand_core::Rng;

/// A plain GPT-2 in f64, written for reading: one sequence, loops, the system's `exp` and `tanh`.
struct Reference<'a> {
    shape: GptShape,
    parameters: &'a [f64],
}

impl Reference<'_> {
    fn tensor(&self, name: &str) -> &[f64] {
        let tensors = self.shape.tensors();
        let tensor = tensors.iter().find(|tensor| tensor.name == name).expect("a known name");
        &self.parameters[tensor.range()]
    }

    /// (R, in) x (in, out) + bias.
    fn linear(&self, x: &[Vec<f64>], name: &str) -> Vec<Vec<f64>> {
        let bias = self.tensor(&format!("{name}.bias"));
        let weight = self.tensor(&format!("{name}.weight"));
        let row = |x: &Vec<f64>| {
            let mut out = bias.to_vec();
            for (i, value) in x.iter().enumerate() {
                for (j, out) in out.iter_mut().enumerate() {
                    *out += value * weight[i * bias.len() + j];
                }
            }
            out
        };
        x.iter().map(row).collect()
    }

    fn norm(&self, x: &[Vec<f64>], name: &str) -> Vec<Vec<f64>> {
        let (gain, bias) = (self.tensor(&format!("{name}.weight")), self.tensor(&format!("{name}.bias")));
        let row = |x: &Vec<f64>| {
            let n = x.len() as f64;
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let scale = 1.0 / (variance + 1e-5).sqrt();
            x.iter().zip(gain).zip(bias).map(|((v, g), b)| (v - mean) * scale * g + b).collect()
        };
        x.iter().map(row).collect()
    }

    /// One head's causal attention over rows of queries, keys and values.
    fn attention(&self, qkv: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (c, d) = (self.shape.width, self.shape.head_width());
        let mut out = vec![vec![0.0; c]; qkv.len()];
        for head in 0..self.shape.heads {
            for i in 0..qkv.len() {
                let score = |j: usize| {
                    let products = (0..d).map(|k| qkv[i][head * d + k] * qkv[j][c + head * d + k]);
                    (products.sum::<f64>() / (d as f64).sqrt()).exp()
                };
                let scores: Vec<f64> = (0..=i).map(score).collect();
                let sum: f64 = scores.iter().sum();
                for (j, score) in scores.iter().enumerate() {
                    for k in 0..d {
                        out[i][head * d + k] += score / sum * qkv[j][2 * c + head * d + k];
                    }
                }
            }
        }
        out
    }

    fn nats(&self, row: &[u32]) -> f64 {
        let c = self.shape.width;
        let add = |x: &mut Vec<Vec<f64>>, y: Vec<Vec<f64>>| {
            for (x, y) in x.iter_mut().flatten().zip(y.into_iter().flatten()) {
                *x += y;
            }
        };
        let (tokens, positions) = (self.tensor("wte.weight"), self.tensor("wpe.weight"));
        let embed = |(t, token): (usize, &u32)| {
            (0..c).map(|i| tokens[*token as usize * c + i] + positions[t * c + i]).collect()
        };
        let mut x: Vec<Vec<f64>> = row[..row.len() - 1].iter().enumerate().map(embed).collect();
        for layer in 0..self.shape.layers {
            let name = |part: &str| format!("h.{layer}.{part}");
            let qkv = self.linear(&self.norm(&x, &name("ln_1")), &name("attn.c_attn"));
            add(&mut x, self.linear(&self.attention(&qkv), &name("attn.c_proj")));
            let mut wide = self.linear(&self.norm(&x, &name("ln_2")), &name("mlp.c_fc"));
            for v in wide.iter_mut().flatten() {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (*v + 0.044_715 * v.powi(3));
                *v *= 0.5 * (1.0 + u.tanh());
            }
            add(&mut x, self.linear(&wide, &name("mlp.c_proj")));
        }
        let x = self.norm(&x, "ln_f");
        let mut total = 0.0;
        for (x, target) in x.iter().zip(&row[1..]) {
            let logit = |v: usize| x.iter().enumerate().map(|(i, x)| x * tokens[v * c + i]).sum::<f64>();
            let logits: Vec<f64> = (0..self.shape.vocabulary).map(logit).collect();
            total += logits.iter().map(|l| l.exp()).sum::<f64>().ln() - logits[*target as usize];
        }
        total
    }
}

/// Mean loss of the reference model.
fn reference_loss(shape: GptShape, parameters: &[f64], tokens: &[u32]) -> f64 {
    let rows = tokens.chunks_exact(shape.context + 1);
    let count = rows.len() * shape.context;
    rows.map(|row| Reference { shape, parameters }.nats(row)).sum::<f64>() / count as f64
}

/// Parameters of every kind away from their special values: gains off 1, biases off 0.
fn parameters(shape: &GptShape) -> Vec<f32> {
    let mut random = rng::stream([9; 32], 1);
    let mut values = rng::initialise(*shape, 3);
    for value in &mut values {
        *value += 0.3 * (rng::uniform(&mut random) - 0.5);
    }
    values
}

fn check(shape: GptShape, batch: usize) {
    let mut random = rng::stream([4; 32], 2);
    let count = batch * (shape.context + 1);
    let tokens: Vec<u32> = (0..count).map(|_| random.next_u32() % shape.vocabulary as u32).collect();
    let values = parameters(&shape);
    let exact: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
    let mut engine =
        Engine::new(shape, EngineOptions { threads: 2, batch, optimizer: Optimizer::default() }).unwrap();
    engine.write(0..values.len(), &values);

    let mean = engine.loss(Batch::Tokens(&tokens)).unwrap();
    let loss = reference_loss(shape, &exact, &tokens);
    assert!((mean - loss).abs() < 2e-6 * loss, "loss {mean}, reference {loss}");
    let mut gradients = vec![0.0; values.len()];
    let mean = engine.gradient(Batch::Tokens(&tokens), &mut gradients).unwrap();
    assert!((f64::from(mean) - loss).abs() < 2e-6 * loss);

    for tensor in shape.tensors() {
        // One random direction over the whole tensor, then single values.
        let mut directions = vec![vec![0.0; tensor.len()]; 3];
        directions[0].fill_with(|| f64::from(rng::uniform(&mut random)) - 0.5);
        for direction in &mut directions[1..] {
            direction[random.next_u32() as usize % tensor.len()] = 1.0;
        }
        for direction in directions {
            let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let step = 1e-4 / length;
            let at = |sign: f64| {
                let mut moved = exact.clone();
                for (value, d) in moved[tensor.range()].iter_mut().zip(&direction) {
                    *value += sign * step * d;
                }
                reference_loss(shape, &moved, &tokens)
            };
            let expected = (at(1.0) - at(-1.0)) / (2.0 * step) / length;
            let own = &gradients[tensor.range()];
            let got = own.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum::<f64>() / length;
            let error = (got - expected).abs();
            assert!(error < 1e-6 + 1e-4 * expected.abs(), "{}: {got} instead of {expected}", tensor.name);
        }
    }
}

#[test]
fn gradients_of_odd_sizes() {
    check(GptShape { layers: 2, heads: 3, width: 21, context: 9, vocabulary: 37 }, 5);
}

#[test]
fn gradients_over_several_tiles_of_attention() {
    check(GptShape { layers: 1, heads: 2, width: 32, context: 70, vocabulary: 19 }, 2);
}
