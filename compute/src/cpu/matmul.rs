//! Matrix products: a checked, safe face of the `gemm` crate, always on one thread.

use gemm::{Parallelism, gemm};

/// A view of a matrix inside a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// The index past the last element that such a view reaches.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row_stride + (columns - 1) * column_stride + 1 }
}

impl<'a> Matrix<'a> {
    /// A row-major view whose rows are `stride` apart.
    ///
    /// # Panics
    /// If the view reaches beyond the slice.
    #[inline]
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Matrix<'a> {
        assert!(extent(rows, columns, stride, 1) <= data.len(), "matrix view beyond its slice");
        Matrix { data, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// Number of rows.
    #[inline]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The transposed view.
    #[inline]
    pub(crate) fn transposed(self) -> Matrix<'a> {
        Matrix {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// What happens to the values that the destination held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// They are overwritten, without being read.
    Replace,
    /// The product is added to them.
    Add,
}

/// `into` (row-major, rows `stride` apart) = or += scale x a b.
///
/// # Panics
/// If the inner dimensions differ or the product does not fit the slice.
#[inline]
pub(crate) fn multiply(
    into: &mut [f32],
    stride: usize,
    write: Write,
    scale: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    assert_eq!(a.columns, b.rows, "inner dimensions of a matrix product");
    assert!(b.columns <= stride || a.rows <= 1, "rows of a matrix product overlap");
    assert!(extent(a.rows, b.columns, stride, 1) <= into.len(), "matrix product beyond its slice");
    // SAFETY: the assertions here and in `Matrix::new` keep every element of the three views inside its slice (strides
    // are not negative); `into` is borrowed exclusively, so it overlaps neither operand, and its elements are
    // distinct. `gemm` reads and writes nothing else.
    unsafe {
        gemm::<f32>(
            a.rows,
            b.columns,
            a.columns,
            into.as_mut_ptr(),
            1,
            stride as isize,
            write == Write::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_strided_and_transposed_views() {
        // a (2, 3) inside rows of 4; b (3, 2) as the transpose of (2, 3).
        let a = [1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0, 9.0];
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0];
        let mut c = [10.0; 6];
        let (a, b) = (Matrix::new(&a, 2, 3, 4), Matrix::new(&b, 2, 3, 3).transposed());
        multiply(&mut c, 3, Write::Replace, 2.0, a, b);
        assert_eq!(c, [14.0, 10.0, 10.0, 32.0, 22.0, 10.0]);
        multiply(&mut c, 3, Write::Add, 1.0, a, b);
        assert_eq!(c, [21.0, 15.0, 10.0, 48.0, 33.0, 10.0]);
    }

    #[test]
    #[should_panic(expected = "matrix view beyond its slice")]
    fn a_view_beyond_its_slice_panics() {
        let _ = Matrix::new(&[0.0; 5], 2, 3, 3);
    }
}
