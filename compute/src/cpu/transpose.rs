//! Transposed copies. The matrix library is fastest when rows of the second operand and of the result are contiguous
//! and the first operand's inner dimension is: a transposed copy costs less than its own packing of such views.

#[cfg(target_arch = "x86_64")]
use crate::vectorised::{Level, level};

/// Tiles are 16 x 16: sixteen cache lines on either side.
const TILE: usize = 16;

/// `into` (`columns`, `rows`), rows `into_stride` apart = the transpose of `from` (`rows`, `columns`), rows `from_stride`
/// apart.
///
/// # Panics
/// If a view reaches beyond its slice.
pub(crate) fn transpose(
    from: &[f32],
    rows: usize,
    columns: usize,
    from_stride: usize,
    into: &mut [f32],
    into_stride: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if level() == Level::Avx512 {
        // SAFETY: `level` found every feature that the called function enables.
        unsafe { avx512::transpose(from, rows, columns, from_stride, into, into_stride) };
        return;
    }
    tiles(from, rows, columns, from_stride, into, into_stride, whole_tile);
}

/// Transposes tile by tile, whole ones with `whole_tile`.
#[inline(always)]
fn tiles(
    from: &[f32],
    rows: usize,
    columns: usize,
    from_stride: usize,
    into: &mut [f32],
    into_stride: usize,
    whole_tile: impl Fn(&[f32], usize, &mut [f32], usize),
) {
    for row in (0..rows).step_by(TILE) {
        for column in (0..columns).step_by(TILE) {
            let (height, width) = (TILE.min(rows - row), TILE.min(columns - column));
            let from = &from[row * from_stride + column..];
            let into = &mut into[column * into_stride + row..];
            if height == TILE && width == TILE {
                whole_tile(from, from_stride, into, into_stride);
            } else {
                for i in 0..height {
                    for j in 0..width {
                        into[j * into_stride + i] = from[i * from_stride + j];
                    }
                }
            }
        }
    }
}

/// A 16 x 16 tile: gathers a column, stores a row.
#[inline(always)]
fn whole_tile(from: &[f32], from_stride: usize, into: &mut [f32], into_stride: usize) {
    for j in 0..TILE {
        let mut row = [0.0_f32; TILE];
        for (i, value) in row.iter_mut().enumerate() {
            *value = from[i * from_stride + j];
        }
        into[j * into_stride..j * into_stride + TILE].copy_from_slice(&row);
    }
}

/// The same with whole rows in registers: the compiler does not find these shuffles by itself, and they halve the time.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{TILE, tiles};
    use std::arch::x86_64::{
        __m512, _mm512_loadu_ps, _mm512_permutex2var_ps, _mm512_setr_epi32, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    #[target_feature(enable = "avx512f")]
    pub(super) fn transpose(
        from: &[f32],
        rows: usize,
        columns: usize,
        from_stride: usize,
        into: &mut [f32],
        into_stride: usize,
    ) {
        tiles(from, rows, columns, from_stride, into, into_stride, |from, from_stride, into, into_stride| {
            whole_tile(from, from_stride, into, into_stride);
        });
    }

    /// Four rounds of perfect shuffles between rows i and i + 8.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn whole_tile(from: &[f32], from_stride: usize, into: &mut [f32], into_stride: usize) {
        let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        let mut tile: [__m512; TILE] = [_mm512_setzero_ps(); TILE];
        for (i, row) in tile.iter_mut().enumerate() {
            let values = &from[i * from_stride..i * from_stride + TILE];
            // SAFETY: `values` holds the sixteen f32 that are loaded; no alignment is asked for.
            *row = unsafe { _mm512_loadu_ps(values.as_ptr()) };
        }
        for _ in 0..4 {
            let before = tile;
            for i in 0..TILE / 2 {
                tile[2 * i] = _mm512_permutex2var_ps(before[i], low, before[i + 8]);
                tile[2 * i + 1] = _mm512_permutex2var_ps(before[i], high, before[i + 8]);
            }
        }
        for (j, row) in tile.iter().enumerate() {
            let values = &mut into[j * into_stride..j * into_stride + TILE];
            // SAFETY: `values` holds the sixteen f32 that are stored; no alignment is asked for.
            unsafe { _mm512_storeu_ps(values.as_mut_ptr(), *row) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_size_and_stride() {
        for (rows, columns) in [(1, 1), (16, 16), (17, 40), (64, 32), (5, 100)] {
            let (from_stride, into_stride) = (columns + 3, rows + 2);
            let from: Vec<f32> = (0..rows * from_stride).map(|i| i as f32).collect();
            let mut into = vec![-1.0; columns * into_stride];
            transpose(&from, rows, columns, from_stride, &mut into, into_stride);
            for i in 0..rows {
                for j in 0..columns {
                    assert_eq!(into[j * into_stride + i], from[i * from_stride + j]);
                }
            }
        }
    }
}
