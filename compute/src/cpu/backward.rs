//! The backward pass over some sequences, from the head to the embeddings, into one flat gradient buffer.

use super::activations::{Activations, Keep, Rows, head_block};
use super::attention::{Heads, attention_backward};
use super::cross_entropy::loss_and_gradient;
use super::forward::{Model, norm_ranges, part};
use super::gelu::bias_gelu_backward;
use super::matmul::{Matrix, Write, multiply};
use super::norm::{NormGradients, norm_backward};
use super::reduce::{add, add_column_sums};
use super::transpose::transpose;
use std::ops::Range;

/// After a [`forward`](super::forward()) that kept everything: overwrites `gradients` by those of the summed loss times `scale`; returns the sum of nats.
pub(crate) fn backward(
    model: Model<'_>,
    tokens: &[u32],
    targets: &[u32],
    rows: Rows,
    scale: f32,
    a: &mut Activations,
    gradients: &mut [f32],
) -> f64 {
    let (c, r, layers) = (model.shape.width, rows.count(), model.shape.layers);
    debug_assert_eq!(a.keep, Keep::Everything, "a backward pass after a forward pass that kept too little");
    clear_accumulated(model, gradients);
    let total = head(model, targets, scale, a, gradients);
    a.running[..r * c].fill(0.0);
    for layer in (0..layers).rev() {
        let block = &model.layout.blocks[layer];
        stage_backward(model, 2 * layer + 2, &block.contract_bias, r, a, gradients);
        feed_forward_branch(model, layer, r, a, gradients);
        stage_backward(model, 2 * layer + 1, &block.projection_bias, r, a, gradients);
        attention_branch(model, layer, rows, a, gradients);
    }
    stage_backward(model, 0, &(0..0), r, a, gradients);
    embedding(model, tokens, rows, a, gradients);
    total
}

/// Zeroes what is added to instead of overwritten: embeddings, gains and biases.
fn clear_accumulated(model: Model<'_>, gradients: &mut [f32]) {
    let layout = model.layout;
    gradients[layout.tokens.start..layout.positions.end].fill(0.0);
    gradients[layout.norm_gain.start..layout.norm_bias.end].fill(0.0);
    for block in &layout.blocks {
        gradients[block.norm1_gain.start..block.norm1_bias.end].fill(0.0);
        gradients[block.norm2_gain.start..block.norm2_bias.end].fill(0.0);
        for bias in [&block.qkv_bias, &block.projection_bias, &block.expand_bias, &block.contract_bias] {
            gradients[bias.clone()].fill(0.0);
        }
    }
}

/// The tied head: leaves the gradient of the last norm in `narrow`.
fn head(model: Model<'_>, targets: &[u32], scale: f32, a: &mut Activations, gradients: &mut [f32]) -> f64 {
    let (c, v) = (model.shape.width, model.shape.vocabulary);
    let table = model.matrix(&model.layout.tokens, v);
    let turned_table = model.turned(&model.layout.tokens, v);
    let table_gradient = &mut gradients[model.layout.tokens.clone()];
    let normed = &a.normed[2 * model.shape.layers * a.rows * c..];
    let step = head_block(v);
    let mut total = 0.0;
    for (index, targets) in targets.chunks(step).enumerate() {
        let n = targets.len();
        let normed = Matrix::new(&normed[index * step * c..], n, c, c);
        let logits = &mut a.logits[..n * v];
        multiply(logits, v, Write::Replace, 1.0, normed, turned_table);
        total += loss_and_gradient(logits, v, targets, scale);
        let logits = Matrix::new(logits, n, v, v);
        multiply(&mut a.narrow[index * step * c..], c, Write::Replace, 1.0, logits, table);
        transpose(&a.logits, n, v, v, &mut a.turned_logits, n);
        let turned_logits = Matrix::new(&a.turned_logits, v, n, n);
        multiply(table_gradient, c, Write::Add, 1.0, turned_logits, normed);
    }
    total
}

/// The norm of `stage`, whose output's gradient is in `narrow`: adds to `running` and to the bias of the branch that
/// was added just before that stage.
fn stage_backward(
    model: Model<'_>,
    stage: usize,
    branch_bias: &Range<usize>,
    r: usize,
    a: &mut Activations,
    gradients: &mut [f32],
) {
    let c = model.shape.width;
    let (gain, bias) = norm_ranges(model.layout, stage);
    // A branch's bias always lies before the gain of the norm that follows it.
    let (before, norm_part) = gradients.split_at_mut(gain.start);
    let norm_part = &mut norm_part[..bias.end - gain.start];
    let (gain_part, bias_part) = norm_part.split_at_mut(c);
    norm_backward(
        &a.residual[stage * a.rows * c..][..r * c],
        &a.mean[stage * a.rows..][..r],
        &a.inverse[stage * a.rows..][..r],
        model.get(&gain),
        &a.narrow[..r * c],
        &mut a.running[..r * c],
        NormGradients { gain: gain_part, bias: bias_part },
        &mut before[branch_bias.clone()],
    );
}

/// `gradient` (in, out) = the transpose of `input` (R, in) times `output_gradient` (R, out).
fn weight_gradient(
    input: &[f32],
    output_gradient: Matrix<'_>,
    out: usize,
    turned: &mut [f32],
    gradient: &mut [f32],
) {
    let r = output_gradient.rows();
    let columns = input.len() / r;
    transpose(input, r, columns, columns, turned, r);
    multiply(gradient, out, Write::Replace, 1.0, Matrix::new(turned, columns, r, r), output_gradient);
}

/// From `running`, the gradient of the branch's output, to `narrow`, that of its norm's output.
fn feed_forward_branch(model: Model<'_>, layer: usize, r: usize, a: &mut Activations, gradients: &mut [f32]) {
    let c = model.shape.width;
    let block = &model.layout.blocks[layer];
    let running = Matrix::new(&a.running, r, c, c);
    let wide = &mut a.wide_gradient[..r * 4 * c];
    multiply(wide, 4 * c, Write::Replace, 1.0, running, model.turned(&block.contract, 4 * c));
    let expanded = &a.expanded[layer * a.rows * 4 * c..][..r * 4 * c];
    let active = &mut a.active[..r * 4 * c];
    bias_gelu_backward(expanded, active, wide, &mut gradients[block.expand_bias.clone()]);

    weight_gradient(active, running, c, &mut a.turned, &mut gradients[block.contract.clone()]);
    let wide = Matrix::new(wide, r, 4 * c, 4 * c);
    let normed = &a.normed[(2 * layer + 1) * a.rows * c..][..r * c];
    weight_gradient(normed, wide, 4 * c, &mut a.turned, &mut gradients[block.expand.clone()]);
    multiply(&mut a.narrow, c, Write::Replace, 1.0, wide, model.turned(&block.expand, c));
}

/// As [`feed_forward_branch`], for attention.
fn attention_branch(model: Model<'_>, layer: usize, rows: Rows, a: &mut Activations, gradients: &mut [f32]) {
    let (c, heads, r) = (model.shape.width, model.shape.heads, rows.count());
    let block = &model.layout.blocks[layer];
    let running = Matrix::new(&a.running, r, c, c);
    let outputs = &a.attended[layer * a.rows * c..][..r * c];
    let attended = Matrix::new(outputs, r, c, c);
    multiply(
        &mut gradients[block.projection.clone()],
        c,
        Write::Replace,
        1.0,
        attended.transposed(),
        running,
    );
    multiply(&mut a.narrow, c, Write::Replace, 1.0, running, model.turned(&block.projection, c));

    let kept = part(layer, heads * a.rows);
    let heads = Heads {
        qkv: &a.qkv[layer * a.rows * 3 * c..][..r * 3 * c],
        largest: &mut a.largest[kept.clone()],
        inverse_sum: &mut a.inverse_sum[kept],
        scratch: &mut a.scratch,
        heads,
        width: c,
    };
    let wide = &mut a.wide_gradient[..r * 3 * c];
    attention_backward(heads, rows, outputs, &a.narrow, wide);
    add_column_sums(wide, &mut gradients[block.qkv_bias.clone()]);

    let wide = Matrix::new(wide, r, 3 * c, 3 * c);
    let normed = &a.normed[2 * layer * a.rows * c..][..r * c];
    weight_gradient(normed, wide, 3 * c, &mut a.turned, &mut gradients[block.qkv.clone()]);
    multiply(&mut a.narrow, c, Write::Replace, 1.0, wide, model.turned(&block.qkv, c));
}

/// Adds `running` to the rows of the token and position tables that were read.
fn embedding(model: Model<'_>, tokens: &[u32], rows: Rows, a: &Activations, gradients: &mut [f32]) {
    let c = model.shape.width;
    for (row, (&token, running)) in tokens.iter().zip(a.running.chunks_exact(c)).enumerate() {
        let token = model.layout.tokens.start + token as usize * c;
        add(&mut gradients[token..token + c], running);
        let position = model.layout.positions.start + (row % rows.length) * c;
        add(&mut gradients[position..position + c], running);
    }
}
