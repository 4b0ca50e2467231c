//! The Euclidean norm by a fixed reduction tree in f32: the same bits on every machine.
//!
//! A block of 256 values is summed in 16 lanes of 16 (lane j takes values j, j+16, ...), the
//! lanes are added pairwise, and block sums are added pairwise as in a binary counter. The tree
//! depends on the number of values alone.

use crate::codec::{Codec, CodecError};

const LANES: usize = 16;

/// The norm of the values that `bytes` decode to; infinite where the squares overflow.
pub fn decoded_norm(codec: Codec, bytes: &[u8], values: usize) -> Result<f32, CodecError> {
    let mut sum = TreeSum::default();
    codec.for_each_block(bytes, values, |block| sum.push(block_square_sum(block)))?;
    Ok(sum.finish().sqrt())
}

/// The norm of `values`.
pub fn norm(values: &[f32]) -> f32 {
    let mut sum = TreeSum::default();
    values.chunks(crate::codec::BLOCK).for_each(|block| sum.push(block_square_sum(block)));
    sum.finish().sqrt()
}

fn block_square_sum(block: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for row in block.chunks(LANES) {
        for (lane, value) in lanes.iter_mut().zip(row) {
            *lane += value * value;
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Pairwise summation of a stream: slot i holds the sum of 2^i terms if bit i of `count` is set.
struct TreeSum {
    partial: [f32; 64],
    count: u64,
}

impl Default for TreeSum {
    fn default() -> TreeSum {
        TreeSum { partial: [0.0; 64], count: 0 }
    }
}

impl TreeSum {
    fn push(&mut self, term: f32) {
        let full = self.count.trailing_ones() as usize;
        let sum = self.partial[..full].iter().fold(term, |sum, earlier| earlier + sum);
        self.partial[full] = sum;
        self.count += 1;
    }

    fn finish(self) -> f32 {
        let set = (0..64).filter(|bit| self.count >> bit & 1 == 1);
        set.map(|bit| self.partial[bit]).fold(0.0, |sum, partial| partial + sum)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests compare with libm")]
mod tests {
    use super::*;

    #[test]
    fn norms_are_exact_where_f32_is_and_pinned_where_it_is_not() {
        assert_eq!(norm(&[]), 0.0);
        assert_eq!(norm(&[3.0, -4.0]), 5.0);
        assert_eq!(norm(&vec![1.0; 1 << 20]), 1024.0);
        assert_eq!(norm(&[f32::MAX]), f32::INFINITY);
        let values: Vec<f32> = (0..100_003).map(|i| (i % 1013) as f32 * 0.37 - 190.0).collect();
        let exact = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        assert!((f64::from(norm(&values)) / exact - 1.0).abs() < 1e-6);
        let mut bytes = Vec::new();
        Codec::F32.encode(&values, 1, &mut bytes).unwrap();
        assert_eq!(decoded_norm(Codec::F32, &bytes, values.len()), Ok(norm(&values)));
    }

    #[test]
    fn the_tree_is_the_documented_one() {
        // Seven blocks: ((b0+b1)+(b2+b3)) + ((b4+b5)+b6).
        let sums: Vec<f32> = (0..7).map(|i| 1.0 + (i as f32) * 1.0e-7 * 3.0f32.powi(i)).collect();
        let mut tree = TreeSum::default();
        sums.iter().for_each(|sum| tree.push(*sum));
        let pairs = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        assert_eq!(tree.finish(), pairs + ((sums[4] + sums[5]) + sums[6]));
    }
}
