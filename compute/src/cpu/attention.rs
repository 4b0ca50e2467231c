//! Causal self-attention, one head of one sequence at a time, in blocks of query rows.
//!
//! Only the softmax's largest score and sum are kept: the backward pass recomputes the probabilities.

use super::activations::{QUERY_BLOCK, Rows};
use super::math::{dot, exp, max, sum};
use super::matmul::{Matrix, Write, multiply};

/// What attention reads and writes in one block of the model.
pub(crate) struct Heads<'a> {
    /// (R, 3C): queries, keys, values.
    pub qkv: &'a [f32],
    /// (H, R)
    pub largest: &'a mut [f32],
    /// (H, R)
    pub inverse_sum: &'a mut [f32],
    /// (QUERY_BLOCK, T) of scratch.
    pub scores: &'a mut [f32],
    /// Number of heads (H).
    pub heads: usize,
    /// Channels of the residual stream (C).
    pub width: usize,
}

/// One block of query rows `start..end` of one head: where its data lies.
#[derive(Clone, Copy)]
struct Tile {
    /// Index of the sequence's first value in a buffer of rows of 3C.
    sequence: usize,
    /// First row of the sequence.
    first_row: usize,
    start: usize,
    end: usize,
    head: usize,
    /// C and D.
    width: usize,
    head_width: usize,
}

impl Tile {
    fn rows(&self) -> usize {
        self.end - self.start
    }

    /// `part` 0, 1, 2: queries, keys, values; rows `from..to` of the sequence.
    fn part<'b>(&self, qkv: &'b [f32], part: usize, from: usize, to: usize) -> Matrix<'b> {
        Matrix::new(&qkv[self.part_offset(part, from)..], to - from, self.head_width, 3 * self.width)
    }

    fn part_offset(&self, part: usize, row: usize) -> usize {
        self.sequence + row * 3 * self.width + part * self.width + self.head * self.head_width
    }

    /// Index of this tile's first value in a buffer (R, C).
    fn output_offset(&self) -> usize {
        (self.first_row + self.start) * self.width + self.head * self.head_width
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_width as f32).sqrt()
    }
}

/// Calls `each` for every block of query rows of every head of every sequence, in order.
fn for_each_tile(rows: Rows, heads: usize, width: usize, mut each: impl FnMut(Tile)) {
    for sequence in 0..rows.sequences {
        for head in 0..heads {
            let mut start = 0;
            while start < rows.length {
                let end = (start + QUERY_BLOCK).min(rows.length);
                let first_row = sequence * rows.length;
                let sequence = first_row * 3 * width;
                each(Tile { sequence, first_row, start, end, head, width, head_width: width / heads });
                start = end;
            }
        }
    }
}

vectorised! {
    /// Turns scores (rows, `keys`) into probabilities: row i sees keys 0 ..= `start` + i, the others become 0.
    fn softmax(scores: &mut [f32], keys: usize, start: usize, largest: &mut [f32], inverse_sum: &mut [f32]) {
        for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
            let (seen, hidden) = row.split_at_mut(start + i + 1);
            let top = max(seen);
            for value in seen.iter_mut() {
                *value = exp::<FMA>(*value - top);
            }
            let inverse = 1.0 / sum(seen);
            for value in seen.iter_mut() {
                *value *= inverse;
            }
            hidden.fill(0.0);
            largest[i] = top;
            inverse_sum[i] = inverse;
        }
    }
}

vectorised! {
    /// Recomputes what [`softmax`] made of the scores.
    fn softmax_again(scores: &mut [f32], keys: usize, start: usize, largest: &[f32], inverse_sum: &[f32]) {
        for (i, row) in scores.chunks_exact_mut(keys).enumerate() {
            let (seen, hidden) = row.split_at_mut(start + i + 1);
            let (top, inverse) = (largest[i], inverse_sum[i]);
            for value in seen.iter_mut() {
                *value = exp::<FMA>(*value - top) * inverse;
            }
            hidden.fill(0.0);
        }
    }
}

vectorised! {
    /// Turns `gradient` of the probabilities (rows, `keys`) into that of the scores. `outputs` and `output_gradients`
    /// have rows of D values `width` apart; their product is the softmax's weighted mean gradient.
    fn softmax_backward(
        probabilities: &[f32],
        gradient: &mut [f32],
        keys: usize,
        outputs: &[f32],
        output_gradients: &[f32],
        width: usize,
        head_width: usize,
    ) {
        let rows = probabilities.chunks_exact(keys).zip(gradient.chunks_exact_mut(keys));
        for (i, (probabilities, gradient)) in rows.enumerate() {
            let place = i * width..i * width + head_width;
            let mean = dot::<FMA>(&outputs[place.clone()], &output_gradients[place]);
            for (gradient, probability) in gradient.iter_mut().zip(probabilities) {
                *gradient = probability * (*gradient - mean);
            }
        }
    }
}

/// `out` (R, C) = the heads' outputs.
pub(crate) fn attention(heads: Heads<'_>, rows: Rows, out: &mut [f32]) {
    let Heads { qkv, largest, inverse_sum, scores, heads, width } = heads;
    for_each_tile(rows, heads, width, |tile| {
        let keys = tile.end;
        let scores = &mut scores[..tile.rows() * keys];
        let (queries, all_keys) = (tile.part(qkv, 0, tile.start, tile.end), tile.part(qkv, 1, 0, keys));
        multiply(scores, keys, Write::Replace, tile.scale(), queries, all_keys.transposed());
        let kept = tile.head * rows.count() + tile.first_row + tile.start;
        let kept = kept..kept + tile.rows();
        softmax(scores, keys, tile.start, &mut largest[kept.clone()], &mut inverse_sum[kept]);
        let probabilities = Matrix::new(scores, tile.rows(), keys, keys);
        let values = tile.part(qkv, 2, 0, keys);
        multiply(&mut out[tile.output_offset()..], width, Write::Replace, 1.0, probabilities, values);
    });
}

/// `qkv_gradient` (R, 3C) = gradient of the queries, keys and values, given the outputs (R, C) and their gradients.
pub(crate) fn attention_backward(
    heads: Heads<'_>,
    rows: Rows,
    outputs: &[f32],
    output_gradients: &[f32],
    score_gradient: &mut [f32],
    qkv_gradient: &mut [f32],
) {
    let Heads { qkv, largest, inverse_sum, scores, heads, width } = heads;
    let stride = 3 * width;
    qkv_gradient.fill(0.0);
    for_each_tile(rows, heads, width, |tile| {
        let keys = tile.end;
        let scores = &mut scores[..tile.rows() * keys];
        let gradient = &mut score_gradient[..tile.rows() * keys];
        let (queries, all_keys) = (tile.part(qkv, 0, tile.start, tile.end), tile.part(qkv, 1, 0, keys));
        multiply(scores, keys, Write::Replace, tile.scale(), queries, all_keys.transposed());
        let kept = tile.head * rows.count() + tile.first_row + tile.start;
        let kept = kept..kept + tile.rows();
        softmax_again(scores, keys, tile.start, &largest[kept.clone()], &inverse_sum[kept]);

        let probabilities = Matrix::new(scores, tile.rows(), keys, keys);
        let place = tile.output_offset();
        let out_gradient = Matrix::new(&output_gradients[place..], tile.rows(), tile.head_width, width);
        let values = tile.part(qkv, 2, 0, keys);
        let value_gradient = &mut qkv_gradient[tile.part_offset(2, 0)..];
        multiply(value_gradient, stride, Write::Add, 1.0, probabilities.transposed(), out_gradient);
        multiply(gradient, keys, Write::Replace, 1.0, out_gradient, values.transposed());
        let (outputs, output_gradients) = (&outputs[place..], &output_gradients[place..]);
        softmax_backward(scores, gradient, keys, outputs, output_gradients, width, tile.head_width);

        let gradient = Matrix::new(gradient, tile.rows(), keys, keys);
        let query_gradient = &mut qkv_gradient[tile.part_offset(0, tile.start)..];
        multiply(query_gradient, stride, Write::Replace, tile.scale(), gradient, all_keys);
        let key_gradient = &mut qkv_gradient[tile.part_offset(1, 0)..];
        multiply(key_gradient, stride, Write::Add, tile.scale(), gradient.transposed(), queries);
    });
}
