//! One thread's buffers and the passes over them, for each kind of model.

use super::Batch;
use crate::cpu::{self, Activations, Keep, Rows, Score, Values};
use crate::model::{GptShape, Layout, Shape, Tensor};

/// The passes of one model on one thread. A batch of another kind than the model's gives NaN: the engine has checked it.
pub(super) enum Passes {
    Gpt(Box<GptPasses>),
    Mlp(cpu::Mlp),
    Cnn(Box<cpu::Cnn>),
    Logistic(cpu::Logistic),
}

/// A GPT with its buffers.
pub(super) struct GptPasses {
    shape: GptShape,
    layout: Layout,
    activations: Activations,
    tokens: Vec<u32>,
    targets: Vec<u32>,
}

impl Passes {
    /// Buffers for `samples` samples, none of which is touched before a pass needs it.
    pub(super) fn new(shape: &Shape, samples: usize) -> Passes {
        match shape {
            Shape::Gpt(shape) => Passes::Gpt(Box::new(GptPasses {
                shape: *shape,
                layout: shape.table().1,
                activations: Activations::new(shape, samples * shape.context),
                tokens: Vec::with_capacity(samples * shape.context),
                targets: Vec::with_capacity(samples * shape.context),
            })),
            Shape::Mlp(shape) => Passes::Mlp(cpu::Mlp::new(shape, samples)),
            Shape::Cnn(shape) => Passes::Cnn(Box::new(cpu::Cnn::new(shape, samples))),
            Shape::Logistic(_) => Passes::Logistic(cpu::Logistic),
        }
    }

    /// Overwrites `gradients` by those of the batch's summed loss times `scale`; returns the sum.
    pub(super) fn gradient(
        &mut self,
        values: Values<'_>,
        batch: Batch<'_>,
        scale: f32,
        gradients: &mut [f32],
    ) -> f64 {
        match (self, batch) {
            (Passes::Gpt(gpt), Batch::Tokens(tokens)) => gpt.gradient(values, tokens, scale, gradients),
            (Passes::Mlp(mlp), Batch::Rows { features, labels }) => {
                mlp.gradient(values, features, labels, scale, gradients)
            }
            (Passes::Cnn(cnn), Batch::Rows { features, labels }) => {
                cnn.gradient(values, features, labels, scale, gradients)
            }
            (Passes::Logistic(logistic), Batch::Rows { features, labels }) => {
                logistic.gradient(values, features, labels, scale, gradients)
            }
            _ => f64::NAN,
        }
    }

    /// What the batch's samples cost.
    pub(super) fn score(&mut self, values: Values<'_>, batch: Batch<'_>) -> Score {
        match (self, batch) {
            (Passes::Gpt(gpt), Batch::Tokens(tokens)) => Score { nats: gpt.nats(values, tokens), correct: 0 },
            (Passes::Mlp(mlp), Batch::Rows { features, labels }) => mlp.score(values, features, labels),
            (Passes::Cnn(cnn), Batch::Rows { features, labels }) => cnn.score(values, features, labels),
            (Passes::Logistic(logistic), Batch::Rows { features, labels }) => {
                logistic.score(values, features, labels)
            }
            _ => Score { nats: f64::NAN, correct: 0 },
        }
    }
}

impl GptPasses {
    fn gradient(&mut self, values: Values<'_>, tokens: &[u32], scale: f32, gradients: &mut [f32]) -> f64 {
        let rows = self.read(tokens);
        let GptPasses { shape, layout, activations, tokens, targets } = self;
        let model = cpu::Model { shape, layout, values };
        cpu::forward(model, tokens, rows, Keep::Everything, activations);
        cpu::backward(model, tokens, targets, rows, scale, activations, gradients)
    }

    fn nats(&mut self, values: Values<'_>, tokens: &[u32]) -> f64 {
        let rows = self.read(tokens);
        let GptPasses { shape, layout, activations, tokens, targets } = self;
        let model = cpu::Model { shape, layout, values };
        cpu::forward(model, tokens, rows, Keep::Latest, activations);
        cpu::loss(model, targets, activations)
    }

    /// The logits (V) after `context`, which holds 1 to T tokens.
    pub(super) fn last_logits(&mut self, values: Values<'_>, context: &[u32]) -> Vec<f32> {
        let GptPasses { shape, layout, activations, .. } = self;
        let model = cpu::Model { shape, layout, values };
        let rows = Rows { sequences: 1, length: context.len() };
        cpu::forward(model, context, rows, Keep::Latest, activations);
        cpu::last_logits(model, rows, activations)
    }

    /// Splits rows of T + 1 tokens into inputs and targets.
    fn read(&mut self, rows: &[u32]) -> Rows {
        let context = self.shape.context;
        self.tokens.clear();
        self.targets.clear();
        for row in rows.chunks_exact(context + 1) {
            self.tokens.extend_from_slice(&row[..context]);
            self.targets.extend_from_slice(&row[1..]);
        }
        Rows { sequences: self.tokens.len() / context, length: context }
    }
}

/// How many of a model's tensors a pass without gradients needs transposed.
pub(super) fn turned_for_loss(shape: &Shape, tensors: &[Tensor]) -> usize {
    // The first is the table that a GPT's head is tied to.
    if shape.gpt().is_some() { 1 } else { tensors.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineOptions};
    use crate::optimizer::Optimizer;
    use crate::rng;

    #[test]
    fn a_loss_touches_one_block_and_no_gradient() {
        let shape = GptShape { layers: 3, heads: 2, width: 8, context: 6, vocabulary: 11 };
        let options = EngineOptions { threads: 1, batch: 2, optimizer: Optimizer::default() };
        let mut engine = Engine::new(shape, options).unwrap();
        engine.write(0..shape.parameter_count(), &rng::initialise(shape, 1));
        let tokens: Vec<u32> = (0..14).map(|i| i % 11).collect();
        // What lies behind two stages, one block and the head.
        let touched = |engine: &Engine| {
            let Passes::Gpt(gpt) = &engine.workers[0].passes else { panic!("a gpt") };
            let a = &gpt.activations;
            let (r, c) = (a.rows, shape.width);
            let further =
                [&a.residual[2 * r * c..], &a.normed[2 * r * c..], &a.mean[2 * r..], &a.inverse[2 * r..]];
            let blocks = [&a.qkv[3 * r * c..], &a.attended[r * c..], &a.expanded[4 * r * c..]];
            let backward =
                [&a.wide_gradient[..], &a.running[..], &a.turned[..], &engine.shards[0].gradients[..]];
            further.into_iter().chain(blocks).chain(backward).flatten().any(|value| *value != 0.0)
        };
        let loss = engine.loss(Batch::Tokens(&tokens)).unwrap();
        assert!(!touched(&engine));
        let mut gradient = vec![0.0; shape.parameter_count()];
        let again = engine.gradient(Batch::Tokens(&tokens), &mut gradient).unwrap();
        assert!(touched(&engine) && (loss - f64::from(again)).abs() < 1e-6 * loss);
    }
}
