//! `driftless-sim`.
fn main() {}
