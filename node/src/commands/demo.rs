//! `driftless demo`: see `crate::demo`.

use std::path::Path;

use super::CommandError;
use crate::args::DemoArguments;
use crate::output::Output;

/// Runs the demo.
pub(super) async fn run(
    options: &DemoArguments,
    dir: Option<&Path>,
    output: Output,
) -> Result<(), CommandError> {
    crate::demo::run(options, dir, output).await
}
