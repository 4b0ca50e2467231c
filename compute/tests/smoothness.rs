//! The smoothness of logistic regression, against eigenvalues of an independent solver (LAPACK's, through NumPy).

use driftless_compute::{AUSTRALIAN, Batch, LogisticShape, Scaling, Split, Table, TableOptions};

const SHAPE: LogisticShape = LogisticShape { inputs: 14, regularization: 1e-3 };

/// The raw rows, in order.
fn rows() -> Vec<f32> {
    let options = TableOptions { inputs: None, scaling: Scaling::Raw, split: Split::Whole };
    let table = Table::embedded(AUSTRALIAN, options, [0; 32]).unwrap();
    let Batch::Rows { features, .. } = table.rows(0..690) else { panic!("rows") };
    features.to_vec()
}

fn assert_near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9 * expected, "{found} instead of {expected}");
}

#[test]
fn more_rows_than_features_and_fewer() {
    let rows = rows();
    assert_near(SHAPE.smoothness(&rows), 7_036_285.413_416_844);
    assert_near(SHAPE.smoothness(&rows[..5 * 14]), 75_495.859_207_443_67);
    assert_near(SHAPE.smoothness(&rows[5 * 14..10 * 14]), 32_534.133_720_998_863);
    // One row: |x|^2 / 4 + 2 lambda.
    assert_near(SHAPE.smoothness(&rows[..14]), 370_508.094_555_656_8);
    assert_near(LogisticShape { regularization: 0.0, ..SHAPE }.smoothness(&rows), 7_036_285.411_416_843_5);
}

#[test]
fn eigenvalues_that_are_equal_close_or_zero() {
    let plain = |inputs| LogisticShape { inputs, regularization: 0.0 };
    // X^T X is the unit matrix; then diag(4, (2 - 2^-20)^2), whose eigenvalues differ by two millionths.
    assert_near(plain(2).smoothness(&[1.0, 0.0, 0.0, 1.0]), 1.0 / 8.0);
    assert_near(plain(2).smoothness(&[2.0, 0.0, 0.0, 2.0 - 2.0_f32.powi(-20)]), 4.0 / 8.0);
    assert_eq!(plain(3).smoothness(&[0.0; 6]), 0.0);
    assert_near(LogisticShape { inputs: 1, regularization: 0.25 }.smoothness(&[0.0]), 0.5);
}

/// The step ratios of the spec's check E4, Top-1 of 14 values: (L + L_QM xi) / (L + L_AM xi).
#[test]
fn step_ratios_of_error_feedback() {
    let rows = rows();
    let whole = SHAPE.smoothness(&rows);
    let alpha = 1.0 / 14.0_f64;
    let xi = (1.0 + (1.0 - alpha).sqrt()) / alpha - 1.0;
    for (peers, expected) in [(690, 13.977), (138, 6.284)] {
        let of_peers: Vec<f64> =
            rows.chunks_exact(rows.len() / peers).map(|rows| SHAPE.smoothness(rows)).collect();
        let mean = of_peers.iter().sum::<f64>() / peers as f64;
        let quadratic = (of_peers.iter().map(|l| l * l).sum::<f64>() / peers as f64).sqrt();
        let ratio = (whole + quadratic * xi) / (whole + mean * xi);
        assert!((ratio - expected).abs() < 5e-4, "{peers} peers: {ratio}");
    }
}
