//! Checks E2 and E3 of error feedback, on quadratics whose gradients are known, with the product's codec and steps.

use super::step_size::Smoothness;
use super::*;
use crate::method::{Contribution, Method, Residual, Rules, SparseLoCo};

/// f_i = <a_i, x>^2 + |x|^2 / 4.
const A: [[f32; 3]; 3] = [[-3.0, 2.0, 2.0], [2.0, -3.0, 2.0], [2.0, 2.0, -3.0]];
const GAMMA: f32 = 0.005_859_121;

fn top_1(of: u32) -> Codec {
    Codec::TopK(TopK { keep: 1, of, whole: false, statistical: false })
}

fn dot(a: &[f32; 3], x: &[f32]) -> f32 {
    a.iter().zip(x).map(|(a, x)| a * x).sum()
}

fn gradient(a: &[f32; 3], x: &[f32]) -> Vec<f32> {
    let along = 2.0 * dot(a, x);
    a.iter().zip(x).map(|(a, x)| along * a + 0.5 * x).collect()
}

/// The mean of all f_i.
fn loss(x: &[f32]) -> f64 {
    let each = |a: &[f32; 3]| f64::from(dot(a, x)).powi(2);
    let square: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    A.iter().map(each).sum::<f64>() / 3.0 + square / 4.0
}

fn ef21(gamma: f32, members: u16) -> Ef21 {
    Ef21 { batches: 1, gamma, eta: 1.0, members, codec: top_1(3) }
}

/// One round of the method: everybody's contribution at x, what becomes of the g_j, and the step.
fn round(method: &Ef21, x: &mut [f32], known: &mut [Option<Vec<f32>>], gradients: &[Vec<f32>]) {
    for (known, gradient) in known.iter_mut().zip(gradients) {
        let sent = encode(method.codec, gradient, known.as_deref(), 0).unwrap();
        *known = Some(learn(method.codec, known.take(), &sent, x.len()).unwrap());
    }
    let estimates: Vec<Vec<f32>> = known.iter().flatten().cloned().collect();
    let mut agreed = vec![0.0; x.len()];
    mean(&estimates, None, &mut agreed);
    let mut arrays = [x.to_vec()];
    Method::Ef21(method.clone()).step(&mut arrays, Some(&agreed));
    x.copy_from_slice(&arrays[0]);
}

/// Rounds until the loss is below 1e-12, of at most 4000.
fn rounds(mut round: impl FnMut(&mut [f32])) -> usize {
    let mut x = [1.0; 3];
    (0..4000)
        .find(|_| {
            let done = loss(&x) < 1e-12;
            round(&mut x);
            done
        })
        .unwrap()
}

#[test]
fn e2_ef21_and_ef14_converge_where_plain_top_1_diverges() {
    let method = ef21(GAMMA, 3);
    let mut known = vec![None; 3];
    let found = rounds(|x| {
        let gradients: Vec<_> = A.iter().map(|a| gradient(a, x)).collect();
        round(&method, x, &mut known, &gradients);
    });
    assert!(found.abs_diff(2042) <= 5, "EF21 took {found} rounds");

    // EF14 and plain Top-1 are SparseLoCo's outer step, with a residual and without.
    let sparse = Method::SparseLoCo(SparseLoCo { period: 1, eta: GAMMA, beta: 1.0, codec: top_1(3) });
    let step = |beta: f32, residuals: &mut [Residual], x: &mut [f32]| {
        let contributions = A.iter().zip(residuals).map(|(a, residual)| {
            let mut bytes = Vec::new();
            residual.encode(beta, gradient(a, x), top_1(3), 0, &mut bytes).unwrap();
            residual.counted();
            Contribution { bytes, tokens: 1, missed: 0 }
        });
        let contributions: Vec<_> = contributions.collect();
        let mut arrays = [x.to_vec()];
        sparse.outer_step(&mut arrays, &contributions, Rules::plain(top_1(3))).unwrap();
        x.copy_from_slice(&arrays[0]);
    };
    let mut residuals = vec![Residual::new(3); 3];
    let found = rounds(|x| step(1.0, &mut residuals, x));
    assert!(found.abs_diff(2040) <= 5, "EF14 took {found} rounds");

    let mut x = [1.0; 3];
    let growth = 1.0 + 11.0 / 6.0 * f64::from(GAMMA);
    for round in 1..=100 {
        step(0.0, &mut vec![Residual::new(3); 3], &mut x);
        let expected = growth.powi(round);
        assert!((f64::from(x[0]) / expected - 1.0).abs() < 1e-5, "round {round}: {}", x[0]);
    }
    assert!((f64::from(x[0].abs()) - 2.910_847).abs() < 1e-5, "{}", x[0]);
}

/// What makes the two alike is that Top-1 commutes with scaling. In f64, where 2000 rounds leave no more
/// than 1e-10 of rounding.
#[test]
fn e3_ef21_and_ef21_w_take_the_same_way() {
    /// Curvatures of four members along five axes, one of them much rougher, and where their minima are.
    fn gradient(member: usize, x: &[f64; 5]) -> [f64; 5] {
        let scale = [40.0, 3.0, 1.0, 0.5][member];
        std::array::from_fn(|axis| {
            let curvature = scale * (1.0 + ((3 * member + 5 * axis) % 7) as f64 / 7.0);
            curvature * (x[axis] - 0.1 * (member as f64 - 1.3) * (axis as f64 + 0.7))
        })
    }
    fn top_1(values: [f64; 5]) -> [f64; 5] {
        let largest = (0..5).reduce(|a, b| if values[b].abs() > values[a].abs() { b } else { a }).unwrap();
        std::array::from_fn(|axis| if axis == largest { values[axis] } else { 0.0 })
    }
    let each: Vec<f64> = [40.0, 3.0, 1.0, 0.5].map(|scale| scale * 13.0 / 7.0).to_vec();
    let smoothness = Smoothness { whole: each.iter().sum::<f64>() / 4.0, each };
    let gamma = smoothness.weighted(0.2);
    let weights: Vec<f64> = smoothness.each.iter().map(|l| l / smoothness.each.iter().sum::<f64>()).collect();

    // EF21 is EF21-W where every weight is 1 / n.
    let way = |weights: &[f64]| {
        let scaled = |member: usize, x: &[f64; 5]| gradient(member, x).map(|g| g / (4.0 * weights[member]));
        let mut x = [1.0, -2.0, 0.5, 3.0, -1.5];
        let mut known: Vec<[f64; 5]> = (0..4).map(|member| scaled(member, &x)).collect();
        let mut way = Vec::new();
        for _ in 0..2000 {
            for axis in 0..5 {
                x[axis] -= gamma * (0..4).map(|member| weights[member] * known[member][axis]).sum::<f64>();
            }
            for (member, known) in known.iter_mut().enumerate() {
                let now = scaled(member, &x);
                let sent = top_1(std::array::from_fn(|axis| now[axis] - known[axis]));
                known.iter_mut().zip(sent).for_each(|(known, sent)| *known += sent);
            }
            way.push(x);
        }
        way
    };
    let length = |x: &[f64; 5]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let apart = way(&[0.25; 4]).into_iter().zip(way(&weights)).map(|(a, b)| {
        let between: [f64; 5] = std::array::from_fn(|axis| a[axis] - b[axis]);
        length(&between) / length(&a)
    });
    let most = apart.fold(0.0, f64::max);
    assert!(most < 1e-10, "{most}");
}

/// The same with the product's f32: with weights of powers of two not a bit is different.
#[test]
fn e3_weights_of_powers_of_two_change_no_bit() {
    let members = 4;
    let gradients = |x: &[f32]| -> Vec<Vec<f32>> {
        let scale = |member: usize| [8.0, 1.0, 0.5, 0.25][member];
        let of = |member: usize| gradient(&A[member % 3], x).iter().map(|g| scale(member) * g).collect();
        (0..members).map(of).collect()
    };
    let way = |weights: [f32; 4]| {
        let method = ef21(1e-3, members as u16);
        let (mut x, mut known, mut way) = ([1.0f32, -2.0, 0.5], vec![None; members], Vec::new());
        for _ in 0..2000 {
            let scaled = gradients(&x).into_iter().zip(weights);
            let scaled: Vec<Vec<f32>> =
                scaled.map(|(g, w)| g.iter().map(|g| g / (4.0 * w)).collect()).collect();
            // The step takes sum w_i g_i: what it averages is 4 w_i g_i.
            for (known, gradient) in known.iter_mut().zip(&scaled) {
                let sent = encode(method.codec, gradient, known.as_deref(), 0).unwrap();
                *known = Some(learn(method.codec, known.take(), &sent, x.len()).unwrap());
            }
            let of_weight = known.iter().flatten().zip(weights);
            let weighted: Vec<Vec<f32>> =
                of_weight.map(|(g, w)| g.iter().map(|g| 4.0 * w * g).collect()).collect();
            let mut agreed = vec![0.0; 3];
            mean(&weighted, None, &mut agreed);
            let mut arrays = [x.to_vec()];
            Method::Ef21(method.clone()).step(&mut arrays, Some(&agreed));
            x.copy_from_slice(&arrays[0]);
            way.push(x.map(f32::to_bits));
        }
        way
    };
    assert_eq!(way([0.25; 4]), way([0.5, 0.25, 0.125, 0.125]));
}

#[test]
fn a_first_contribution_is_whole_and_the_next_ones_bring_it_nearer() {
    let codec = top_1(3);
    let first = encode(codec, &[1.0, -2.0, 3.0], None, 0).unwrap();
    assert_eq!(first.len() as u64, Codec::F32.encoded_len(3));
    let known = learn(codec, None, &first, 3).unwrap();
    assert_eq!(known, [1.0, -2.0, 3.0]);
    let next = encode(codec, &[1.0, 5.0, 4.0], Some(&known), 0).unwrap();
    assert_eq!(next.len() as u64, codec.encoded_len(3));
    assert_eq!(learn(codec, Some(known.clone()), &next, 3).unwrap(), [1.0, 5.0, 3.0]);
    // What came from outside is refused, never taken half.
    assert!(learn(codec, Some(known), &first, 3).is_err());
    assert!(learn(codec, None, &next, 3).is_err());
    let huge = encode(codec, &[1e20, 0.0, 0.0], None, 0).unwrap();
    assert_eq!(learn(codec, None, &huge, 3), Err(MethodError::Norm));
}

#[test]
fn the_mean_is_over_all_and_a_long_one_is_clipped() {
    let mut found = [9.0; 2];
    mean(&[], None, &mut found);
    assert_eq!(found, [0.0; 2]);
    let estimates = [vec![1.0, 0.0], vec![0.0, 1.0], vec![0.0, 64.0]];
    mean(&estimates, None, &mut found);
    let third = 1.0f32 / 3.0;
    assert_eq!(found, [third, third + third * 64.0]);
    // Twice the median of 1, 1 and 64.
    mean(&estimates, Some(Clip { factor: 2.0 }), &mut found);
    assert_eq!(found, [third, third + third * (2.0 / 64.0) * 64.0]);
}

#[test]
fn numbers_out_of_their_bounds_are_refused_with_the_reason() {
    let good = ef21(0.1, 8);
    assert_eq!(good.check(), Ok(()));
    let refuses = |method: Ef21, field: &str| {
        let error = method.check().unwrap_err();
        assert_eq!(error.field, field);
        error.to_string()
    };
    refuses(Ef21 { batches: 0, ..good.clone() }, "batches");
    refuses(Ef21 { gamma: f32::NAN, ..good.clone() }, "gamma");
    refuses(Ef21 { eta: 0.0, ..good.clone() }, "eta");
    refuses(Ef21 { members: 0, ..good.clone() }, "members");
    let reason = refuses(Ef21 { codec: Codec::Uniform { bits: 4 }, ..good }, "codec");
    assert!(reason.contains("a contraction"), "{reason}");
}
