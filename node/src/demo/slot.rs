//! `driftless bench slot`: how long a slot takes when there is next to nothing to train.

use crate::args::BenchSlotArguments;
use crate::commands::CommandError;
use crate::output::Output;

/// Measures slots.
pub async fn run(_options: &BenchSlotArguments, _output: Output) -> Result<(), CommandError> {
    Err(CommandError::Failed("bench slot is not available yet".into()))
}
