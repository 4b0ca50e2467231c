//! Losses and gradients of the models of rows against independent models in f64 and their finite differences.

use driftless_compute::{Batch, CnnShape, Engine, EngineOptions, LogisticShape, MlpShape, Optimizer, Shape};

/// Numbers between -1 and 1 that look random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() as f32).collect()
    }
}

/// The tensor of a name.
fn tensor<'a>(shape: &Shape, parameters: &'a [f64], name: &str) -> &'a [f64] {
    let tensors = shape.tensors();
    let tensor = tensors.iter().find(|tensor| tensor.name == name).expect("a known name");
    &parameters[tensor.range()]
}

/// As PyTorch's `Linear`.
fn linear(shape: &Shape, parameters: &[f64], index: usize, x: &[f64]) -> Vec<f64> {
    let weight = tensor(shape, parameters, &format!("{index}.weight"));
    let bias = tensor(shape, parameters, &format!("{index}.bias"));
    let rows = weight.chunks_exact(x.len()).zip(bias);
    rows.map(|(row, bias)| bias + row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>()).collect()
}

/// As PyTorch's `Conv2d(inputs, outputs, 3, padding=1)` on (inputs, side, side).
fn convolution(shape: &Shape, parameters: &[f64], index: usize, x: &[f64], side: usize) -> Vec<f64> {
    let weight = tensor(shape, parameters, &format!("{index}.weight"));
    let bias = tensor(shape, parameters, &format!("{index}.bias"));
    let inputs = x.len() / (side * side);
    let at = |plane: usize, row: isize, column: isize| {
        let inside = |place: isize| (0..side as isize).contains(&place);
        if inside(row) && inside(column) {
            x[plane * side * side + row as usize * side + column as usize]
        } else {
            0.0
        }
    };
    let mut out = Vec::new();
    for (o, bias) in bias.iter().enumerate() {
        for (row, column) in (0..side * side).map(|place| (place / side, place % side)) {
            let mut sum = *bias;
            for (i, down, right) in (0..inputs * 9).map(|place| (place / 9, place / 3 % 3, place % 3)) {
                let seen = at(i, (row + down) as isize - 1, (column + right) as isize - 1);
                sum += seen * weight[((o * inputs + i) * 3 + down) * 3 + right];
            }
            out.push(sum);
        }
    }
    out
}

fn relu(x: Vec<f64>) -> Vec<f64> {
    x.into_iter().map(|value| value.max(0.0)).collect()
}

/// As PyTorch's `MaxPool2d(2)` on (planes, side, side).
fn max_pool(x: &[f64], side: usize) -> Vec<f64> {
    let half = side / 2;
    let mut out = Vec::new();
    for plane in x.chunks_exact(side * side) {
        for (row, column) in (0..half * half).map(|place| (place / half, place % half)) {
            let value = |down: usize, right: usize| plane[(2 * row + down) * side + 2 * column + right];
            out.push(value(0, 0).max(value(0, 1)).max(value(1, 0)).max(value(1, 1)));
        }
    }
    out
}

fn logits(shape: &Shape, parameters: &[f64], row: &[f64]) -> Vec<f64> {
    match shape {
        Shape::Mlp(mlp) => {
            let hidden =
                (0..mlp.layers).fold(row.to_vec(), |x, layer| relu(linear(shape, parameters, 2 * layer, &x)));
            linear(shape, parameters, 2 * mlp.layers, &hidden)
        }
        Shape::Cnn(cnn) => {
            let (side, half) = (cnn.side, cnn.side / 2);
            let x = max_pool(&relu(convolution(shape, parameters, 0, row, side)), side);
            let x = max_pool(&relu(convolution(shape, parameters, 3, &x, half)), half);
            linear(shape, parameters, 7, &x)
        }
        other => panic!("{other:?} has no logits"),
    }
}

/// The mean loss of the independent model.
fn reference(shape: &Shape, parameters: &[f64], features: &[f64], labels: &[u32]) -> f64 {
    let rows = features.chunks_exact(features.len() / labels.len()).zip(labels);
    if let Shape::Logistic(logistic) = shape {
        let lambda = f64::from(logistic.regularization);
        let one = |(row, label): (&[f64], &u32)| {
            let product: f64 = row.iter().zip(parameters).map(|(x, w)| x * w).sum();
            let y = if *label == 0 { -1.0 } else { 1.0 };
            (-y * product).exp().ln_1p()
        };
        let penalty = parameters.iter().map(|w| w * w / (1.0 + w * w)).sum::<f64>();
        return rows.map(one).sum::<f64>() / labels.len() as f64 + lambda * penalty;
    }
    let one = |(row, label): (&[f64], &u32)| {
        let logits = logits(shape, parameters, row);
        logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[*label as usize]
    };
    rows.map(one).sum::<f64>() / labels.len() as f64
}

fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// `rows` rows with an engine whose batch is `batch`.
fn check(shape: impl Into<Shape>, rows: usize, batch: usize) {
    let shape = shape.into();
    let mut numbers = Numbers(5);
    let needed = shape.rows().unwrap();
    let features = numbers.take(rows * needed.inputs);
    let labels: Vec<u32> =
        (0..rows).map(|row| (row * row + row / 2) as u32 % needed.classes as u32).collect();
    let parameters = numbers.take(shape.parameter_count());
    let (x, w) = (exact(&features), exact(&parameters));
    let mut engine =
        Engine::new(shape, EngineOptions { threads: 2, batch, optimizer: Optimizer::default() }).unwrap();
    engine.write(0..parameters.len(), &parameters);

    let samples = Batch::Rows { features: &features, labels: &labels };
    let expected = reference(&shape, &w, &x, &labels);
    let loss = engine.loss(samples).unwrap();
    assert!((loss - expected).abs() < 2e-6 * expected, "loss {loss}, reference {expected}");
    let mut gradients = vec![0.0; parameters.len()];
    let loss = f64::from(engine.gradient(samples, &mut gradients).unwrap());
    assert!((loss - expected).abs() < 2e-6 * expected, "loss {loss}, reference {expected}");

    for tensor in shape.tensors() {
        // One direction over the whole tensor, then single values.
        let mut directions = vec![vec![0.0; tensor.len()]; 6];
        directions[0].fill_with(|| numbers.next());
        for direction in &mut directions[1..] {
            direction[((numbers.next() + 1.0) / 2.0 * tensor.len() as f64) as usize % tensor.len()] = 1.0;
        }
        for direction in directions {
            let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
            let step = 1e-6 / length;
            let at = |sign: f64| {
                let mut moved = w.clone();
                for (value, d) in moved[tensor.range()].iter_mut().zip(&direction) {
                    *value += sign * step * d;
                }
                reference(&shape, &moved, &x, &labels)
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
fn an_mlp_of_one_hidden_layer() {
    check(MlpShape { inputs: 19, hidden: 23, layers: 1, classes: 5 }, 7, 7);
}

#[test]
fn a_deep_mlp_in_several_batches() {
    check(MlpShape { inputs: 6, hidden: 17, layers: 3, classes: 3 }, 21, 8);
}

#[test]
fn a_cnn_of_grey_images() {
    check(CnnShape { side: 8, channels: 1, filters: 3, classes: 4 }, 6, 6);
}

/// 11 is odd, and so is 11 / 2: a last row and column are left out twice.
#[test]
fn a_cnn_of_odd_coloured_images_in_several_batches() {
    check(CnnShape { side: 11, channels: 3, filters: 2, classes: 3 }, 9, 5);
}

#[test]
fn logistic_regression() {
    check(LogisticShape { inputs: 14, regularization: 0.0 }, 31, 31);
}

#[test]
fn regularized_logistic_regression_in_several_batches() {
    check(LogisticShape { inputs: 37, regularization: 0.3 }, 22, 6);
}
