//! Causal self-attention, one head of one sequence at a time, in blocks of query rows.
//!
//! Only the softmax's largest score and sum are kept: the backward pass recomputes the probabilities.

use super::Buffer;
use super::activations::Rows;
use super::math::{dot, exp, max, sum};
use super::matmul::{Matrix, Write, multiply};
use super::transpose::transpose;
use crate::model::GptShape;
use std::ops::Range;

/// Query rows handled at once.
const QUERY_BLOCK: usize = 32;

/// Buffers of one tile of query rows.
pub(crate) struct Scratch {
    /// (QUERY_BLOCK, T)
    scores: Buffer,
    /// (QUERY_BLOCK, T)
    gradient: Buffer,
    /// (D, T)
    turned: Buffer,
    /// (QUERY_BLOCK)
    means: Buffer,
}

impl Scratch {
    pub(crate) fn new(shape: &GptShape) -> Scratch {
        Scratch {
            scores: Buffer::zeros(QUERY_BLOCK * shape.context),
            gradient: Buffer::zeros(QUERY_BLOCK * shape.context),
            turned: Buffer::zeros(shape.head_width() * shape.context),
            means: Buffer::zeros(QUERY_BLOCK),
        }
    }
}

/// What attention reads and writes in one block of the model.
pub(crate) struct Heads<'a> {
    /// (R, 3C): queries, keys, values.
    pub qkv: &'a [f32],
    /// (H, R)
    pub largest: &'a mut [f32],
    /// (H, R)
    pub inverse_sum: &'a mut [f32],
    /// Buffers of one tile.
    pub scratch: &'a mut Scratch,
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

    /// Where this tile's rows lie in a buffer (H, R).
    fn kept(&self, rows: Rows) -> Range<usize> {
        let first = self.head * rows.count() + self.first_row + self.start;
        first..first + self.rows()
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
    /// The probabilities of [`softmax`] again, from transposed scores (keys, `queries`): key j is seen by the queries
    /// from j - `start` on, the others get 0.
    fn softmax_again(scores: &mut [f32], queries: usize, start: usize, largest: &[f32], inverse_sum: &[f32]) {
        for (key, row) in scores.chunks_exact_mut(queries).enumerate() {
            let first = key.saturating_sub(start);
            let (hidden, seen) = row.split_at_mut(first);
            hidden.fill(0.0);
            for ((value, top), inverse) in seen.iter_mut().zip(&largest[first..]).zip(&inverse_sum[first..]) {
                *value = exp::<FMA>(*value - top) * inverse;
            }
        }
    }
}

vectorised! {
    /// Turns the transposed `gradient` (keys, queries) of the probabilities into that of the scores, where `means`
    /// (queries) is the probabilities' mean of it.
    fn softmax_backward(probabilities: &[f32], gradient: &mut [f32], means: &[f32]) {
        let _ = FMA;
        let queries = means.len();
        let rows = probabilities.chunks_exact(queries).zip(gradient.chunks_exact_mut(queries));
        for (probabilities, gradient) in rows {
            for ((gradient, probability), mean) in gradient.iter_mut().zip(probabilities).zip(means) {
                *gradient = probability * (*gradient - mean);
            }
        }
    }
}

vectorised! {
    /// `means` = the products of the rows of `a` and `b`, of `head_width` values each, `width` apart.
    fn row_products(a: &[f32], b: &[f32], width: usize, head_width: usize, means: &mut [f32]) {
        for (i, mean) in means.iter_mut().enumerate() {
            let place = i * width..i * width + head_width;
            *mean = dot::<FMA>(&a[place.clone()], &b[place]);
        }
    }
}

/// `out` (R, C) = the heads' outputs.
pub(crate) fn attention(heads: Heads<'_>, rows: Rows, out: &mut [f32]) {
    let Heads { qkv, largest, inverse_sum, scratch, heads, width } = heads;
    for_each_tile(rows, heads, width, |tile| {
        let (keys, depth) = (tile.end, tile.head_width);
        let scores = &mut scratch.scores[..tile.rows() * keys];
        let turned = &mut scratch.turned[..depth * rows.length];
        if tile.start == 0 {
            transpose(&qkv[tile.part_offset(1, 0)..], rows.length, depth, 3 * width, turned, rows.length);
        }
        let queries = tile.part(qkv, 0, tile.start, tile.end);
        let turned_keys = Matrix::new(turned, depth, keys, rows.length);
        multiply(scores, keys, Write::Replace, tile.scale(), queries, turned_keys);
        let kept = tile.kept(rows);
        softmax(scores, keys, tile.start, &mut largest[kept.clone()], &mut inverse_sum[kept]);
        let probabilities = Matrix::new(scores, tile.rows(), keys, keys);
        let values = tile.part(qkv, 2, 0, keys);
        multiply(&mut out[tile.output_offset()..], width, Write::Replace, 1.0, probabilities, values);
    });
}

/// `qkv_gradient` (R, 3C) = gradient of the queries, keys and values, given the outputs (R, C) and their gradients.
///
/// Scores are handled transposed, (keys, queries): so four of the five products have contiguous operands.
pub(crate) fn attention_backward(
    heads: Heads<'_>,
    rows: Rows,
    outputs: &[f32],
    output_gradients: &[f32],
    qkv_gradient: &mut [f32],
) {
    let Heads { qkv, largest, inverse_sum, scratch, heads, width } = heads;
    let stride = 3 * width;
    for_each_tile(rows, heads, width, |tile| {
        let (keys, queries, depth) = (tile.end, tile.rows(), tile.head_width);
        let scores = &mut scratch.scores[..keys * queries];
        let gradient = &mut scratch.gradient[..keys * queries];
        let turned = &mut scratch.turned[..depth * queries];
        let (all_keys, all_values) = (tile.part(qkv, 1, 0, keys), tile.part(qkv, 2, 0, keys));

        transpose(&qkv[tile.part_offset(0, tile.start)..], queries, depth, stride, turned, queries);
        let turned_queries = Matrix::new(turned, depth, queries, queries);
        multiply(scores, queries, Write::Replace, tile.scale(), all_keys, turned_queries);
        let kept = tile.kept(rows);
        softmax_again(scores, queries, tile.start, &largest[kept.clone()], &inverse_sum[kept]);

        let place = tile.output_offset();
        let out_gradient = &output_gradients[place..];
        transpose(out_gradient, queries, depth, width, turned, queries);
        multiply(
            gradient,
            queries,
            Write::Replace,
            1.0,
            all_values,
            Matrix::new(turned, depth, queries, queries),
        );
        let means = &mut scratch.means[..queries];
        row_products(&outputs[place..], out_gradient, width, depth, means);
        softmax_backward(scores, gradient, means);

        let out_gradient = Matrix::new(out_gradient, queries, depth, width);
        let query_rows = tile.part(qkv, 0, tile.start, tile.end);
        for (part, left, right, scale) in
            [(2, &*scores, out_gradient, 1.0), (1, &*gradient, query_rows, tile.scale())]
        {
            // Earlier tiles have written to the keys before this one; its own are new.
            for (from, to, write) in [(0, tile.start, Write::Add), (tile.start, keys, Write::Replace)] {
                if from < to {
                    let left = Matrix::new(&left[from * queries..], to - from, queries, queries);
                    let into = &mut qkv_gradient[tile.part_offset(part, from)..];
                    multiply(into, stride, write, scale, left, right);
                }
            }
        }
        transpose(gradient, keys, queries, queries, scores, keys);
        let gradient = Matrix::new(scores, queries, keys, keys);
        let into = &mut qkv_gradient[tile.part_offset(0, tile.start)..];
        multiply(into, stride, Write::Replace, tile.scale(), gradient, all_keys);
    });
}
