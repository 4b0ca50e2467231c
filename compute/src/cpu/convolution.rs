//! A 3 x 3 convolution with ReLU and a 2 x 2 maximum, image by image: a product with the neighbourhoods as columns.

use super::math::sum;
use super::matmul::{Matrix, Write, multiply};
use super::{Buffer, Values};
use crate::model::{Convolution, KERNEL};

/// A convolution and what it leaves of R images.
pub(crate) struct Stage {
    layer: Convolution,
    /// (R, out, side^2): its output, bias included.
    maps: Buffer,
    /// (R, out, (side / 2)^2): after ReLU and maximum.
    pub pooled: Buffer,
    /// The gradient of `pooled`.
    pub gradient: Buffer,
}

/// Buffers of one image.
pub(crate) struct Scratch {
    /// (9 in, side^2)
    columns: Buffer,
    /// Their gradient.
    columns_gradient: Buffer,
    /// (out, side^2): the gradient of the output.
    maps_gradient: Buffer,
}

impl Scratch {
    /// For the larger of some convolutions.
    pub(super) fn new(layers: &[Convolution]) -> Scratch {
        let largest =
            |size: fn(&Convolution) -> usize| Buffer::zeros(layers.iter().map(size).max().unwrap_or(0));
        Scratch {
            columns: largest(|layer| layer.fan_in() * layer.area()),
            columns_gradient: largest(|layer| layer.fan_in() * layer.area()),
            maps_gradient: largest(|layer| layer.outputs * layer.area()),
        }
    }
}

impl Stage {
    /// Buffers for `rows` images.
    pub(super) fn new(layer: Convolution, rows: usize) -> Stage {
        Stage {
            maps: Buffer::zeros(rows * layer.outputs * layer.area()),
            pooled: Buffer::zeros(rows * layer.pooled_len()),
            gradient: Buffer::zeros(rows * layer.pooled_len()),
            layer,
        }
    }

    /// `input` (R, in, side^2): fills `maps` and `pooled`.
    pub(super) fn forward(&mut self, values: Values<'_>, input: &[f32], rows: usize, scratch: &mut Scratch) {
        let Stage { layer, maps, pooled, .. } = self;
        let (area, fan_in) = (layer.area(), layer.fan_in());
        let weight = Matrix::new(&values.parameters[layer.weight.clone()], layer.outputs, fan_in, fan_in);
        let bias = &values.parameters[layer.bias.clone()];
        let images = input.chunks_exact(layer.input_len()).take(rows);
        let maps = maps.chunks_exact_mut(layer.outputs * area);
        for ((image, maps), pooled) in images.zip(maps).zip(pooled.chunks_exact_mut(layer.pooled_len())) {
            columns(image, layer.side, &mut scratch.columns);
            let columns = Matrix::new(&scratch.columns, fan_in, area, area);
            multiply(maps, area, Write::Replace, 1.0, weight, columns);
            for (map, bias) in maps.chunks_exact_mut(area).zip(bias) {
                map.iter_mut().for_each(|value| *value += bias);
            }
            let plane = layer.pooled_side() * layer.pooled_side();
            for (map, pooled) in maps.chunks_exact(area).zip(pooled.chunks_exact_mut(plane)) {
                pool(map, layer.side, pooled);
            }
        }
    }

    /// Overwrites the gradients of weight and bias and, where one is given, of the input, from `gradient`.
    pub(super) fn backward(
        &self,
        values: Values<'_>,
        input: &[f32],
        mut input_gradient: Option<&mut [f32]>,
        rows: usize,
        scratch: &mut Scratch,
        gradients: &mut [f32],
    ) {
        let layer = &self.layer;
        let (area, fan_in, outputs) = (layer.area(), layer.fan_in(), layer.outputs);
        let weight = Matrix::new(&values.parameters[layer.weight.clone()], outputs, fan_in, fan_in);
        gradients[layer.weight.start..layer.bias.end].fill(0.0);
        for row in 0..rows {
            let of = |len: usize| row * len..(row + 1) * len;
            let (maps, pooled) = (&self.maps[of(outputs * area)], of(layer.pooled_len()));
            let maps_gradient = &mut scratch.maps_gradient[..outputs * area];
            maps_gradient.fill(0.0);
            let maps = maps.chunks_exact(area).zip(maps_gradient.chunks_exact_mut(area));
            let plane = layer.pooled_side() * layer.pooled_side();
            let pooled = self.pooled[pooled.clone()]
                .chunks_exact(plane)
                .zip(self.gradient[pooled].chunks_exact(plane));
            for ((map, into), (pooled, gradient)) in maps.zip(pooled) {
                pool_backward(map, layer.side, pooled, gradient, into);
            }
            let maps = &scratch.maps_gradient[..outputs * area];
            for (sums, map) in gradients[layer.bias.clone()].iter_mut().zip(maps.chunks_exact(area)) {
                *sums += sum(map);
            }
            let maps = Matrix::new(maps, outputs, area, area);
            columns(&input[of(layer.input_len())], layer.side, &mut scratch.columns);
            let turned = Matrix::new(&scratch.columns, fan_in, area, area).transposed();
            multiply(&mut gradients[layer.weight.clone()], fan_in, Write::Add, 1.0, maps, turned);
            if let Some(into) = &mut input_gradient {
                let columns = &mut scratch.columns_gradient;
                multiply(columns, area, Write::Replace, 1.0, weight.transposed(), maps);
                let image = &mut into[of(layer.input_len())];
                image.fill(0.0);
                add_columns(columns, layer.side, image);
            }
        }
    }
}

/// Calls `each` for every plane and place of the kernel, in the order of `columns`: the plane, the rows from which and
/// into which it looks (`from`, count), and the same of the columns.
fn for_each_shift(planes: usize, side: usize, mut each: impl FnMut(usize, Shift, Shift)) {
    for plane in 0..planes {
        for down in 0..KERNEL {
            for right in 0..KERNEL {
                each(plane, Shift::new(down, side), Shift::new(right, side));
            }
        }
    }
}

/// One place of the kernel along one axis: output `at + i` looks at input `from + i`, for i below `count`.
#[derive(Clone, Copy)]
struct Shift {
    at: usize,
    from: usize,
    count: usize,
}

impl Shift {
    fn new(place: usize, side: usize) -> Shift {
        // The middle place looks straight ahead; what lies outside of the image is zero.
        let (at, from) = (1_usize.saturating_sub(place), place.saturating_sub(1));
        Shift { at, from, count: side - at - from }
    }
}

/// `into` (9 in, side^2) = what each place of the kernel sees of `image` (in, side^2).
fn columns(image: &[f32], side: usize, into: &mut [f32]) {
    let area = side * side;
    let mut rows = into.chunks_exact_mut(area);
    for_each_shift(image.len() / area, side, |plane, down, right| {
        let Some(row) = rows.next() else { return };
        row.fill(0.0);
        for i in 0..down.count {
            let into = (down.at + i) * side + right.at;
            let from = plane * area + (down.from + i) * side + right.from;
            row[into..into + right.count].copy_from_slice(&image[from..from + right.count]);
        }
    });
}

/// Adds to each value of `image` (in, side^2) what the `columns` that saw it hold: the transpose of [`columns`].
fn add_columns(columns: &[f32], side: usize, image: &mut [f32]) {
    let area = side * side;
    let mut rows = columns.chunks_exact(area);
    for_each_shift(image.len() / area, side, |plane, down, right| {
        let Some(row) = rows.next() else { return };
        for i in 0..down.count {
            let from = (down.at + i) * side + right.at;
            let into = plane * area + (down.from + i) * side + right.from;
            let pairs = image[into..into + right.count].iter_mut().zip(&row[from..from + right.count]);
            pairs.for_each(|(into, value)| *into += value);
        }
    });
}

/// The places of a 2 x 2 square, in the order in which the first of equal values wins.
fn square(row: usize, column: usize, side: usize) -> [usize; 4] {
    let first = 2 * row * side + 2 * column;
    [first, first + 1, first + side, first + side + 1]
}

/// `pooled` ((side / 2)^2) = the largest of zero and each square of `map` (side^2); NaN stays.
fn pool(map: &[f32], side: usize, pooled: &mut [f32]) {
    let half = side / 2;
    for (index, pooled) in pooled.iter_mut().enumerate() {
        let places = square(index / half, index % half, side);
        *pooled = places.into_iter().fold(0.0, |largest: f32, place| {
            let value = map[place];
            if value > largest || value.is_nan() { value } else { largest }
        });
    }
}

/// Puts each square's gradient where its largest value was, if that is above zero; `into` (side^2) is zero before.
fn pool_backward(map: &[f32], side: usize, pooled: &[f32], gradient: &[f32], into: &mut [f32]) {
    let half = side / 2;
    for (index, (pooled, gradient)) in pooled.iter().zip(gradient).enumerate() {
        if *pooled > 0.0 {
            let places = square(index / half, index % half, side);
            if let Some(place) = places.into_iter().find(|place| map[*place] == *pooled) {
                into[place] = *gradient;
            }
        }
    }
}
