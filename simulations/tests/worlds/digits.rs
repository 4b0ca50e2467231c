//! Checks C2 and E6 in a short form: one seed, few exchanges. The whole is `driftless-sim table digits`.

use driftless_sim::table::Progress;
use driftless_sim::table::digits::{ALLOWED, Expected, ROWS, rows};

/// The accuracy of a row, and what it has to be.
fn cell(name: &str, period: u32) -> (f64, Expected) {
    let row = ROWS.iter().find(|row| row.name == name).unwrap();
    let outcome = row.run(period, 1, &Progress::new(rows())).unwrap();
    let (_, expected) = row.reference.iter().find(|(known, _)| *known == period).unwrap();
    (outcome.accuracy.unwrap(), *expected)
}

#[test]
fn c2_co2_learns_digits_and_numbers_outside_its_law_do_not() {
    for name in ["average", "co2", "co2-unstable"] {
        let (found, expected) = cell(name, 48);
        assert!(expected.holds(found), "{name}: {found}, {expected:?}");
    }
}

#[test]
fn e6_what_is_left_out_is_missed_and_error_feedback_brings_it_back() {
    let (without, _) = cell("sparse-no-feedback", 12);
    for name in ["ef14", "sparse-loco"] {
        let (found, expected) = cell(name, 12);
        assert!(expected.holds(found), "{name}: {found}, {expected:?}");
        assert!(found > without + ALLOWED, "{name}: {found}, without {without}");
    }
    let (found, expected) = cell("ef21", 12);
    assert!(expected.holds(found), "ef21: {found}, {expected:?}");
}
