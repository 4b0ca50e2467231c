//! `driftless-sim table`: a paper's table, run again.

mod cells;
pub mod chaos;
pub mod digits;
pub mod ef21;
pub mod learning;
pub mod methods;
pub mod one_byte;
pub mod traffic;
pub mod utilization;

use super::CommandError;

/// Which table.
#[derive(Debug, clap::Subcommand)]
pub enum Table {
    /// Bandwidth for a compute utilization: the paper's Table 4
    #[command(name = "streaming-diloco-4")]
    #[command(after_help = "Example:\n  driftless-sim table streaming-diloco-4 --bits 13.25 --few-bits \
        3.45\n\nA cell is the first of 50 bandwidths between 0.1 and 1000 Gbit/s, in equal ratios, that \
        reaches the utilization. The last line is {\"table\",\"cells\",\"within_one\",\"within_two\"}: \
        cells whose point is at most one, or two, from the paper's.")]
    Utilization(utilization::Arguments),
    /// What a whole training sends, against data parallelism
    #[command(name = "streaming-diloco-traffic")]
    #[command(after_help = "Example:\n  driftless-sim table streaming-diloco-traffic\n\nThe last line is \
        {\"table\",\"cells\",\"equal\"}: figures that agree with the paper's to its last digit.")]
    Traffic(traffic::Arguments),
    /// Validation loss on real text against an independent reference
    #[command(name = "streaming-diloco-learning")]
    #[command(after_help = "Example:\n  driftless-sim table streaming-diloco-learning --rows \
        streaming-4-h15-e3m0 --seeds 1\n\nThe last line is {\"table\",\"cells\",\"within_one\",\
        \"within_two\"}: rows that have a reference, rows whose mean is within 0.03 nats per byte of it, \
        and within 0.06. The whole table is 33 runs: about an hour and a half on one core.")]
    Learning(learning::Arguments),
    /// All methods on one task: loss, and what was sent for it
    #[command(name = "methods")]
    #[command(
        after_help = "Example:\n  driftless-sim table methods --rows muloco-h15,streaming-h15 --seeds 1\n\n\
        Without --grid a row runs at the best rate known. The last line is {\"table\",\"cells\",\"reached\"}: \
        rows that have a reference, and rows at most 0.07 nats per byte above it. The whole table is 45 runs: \
        about an hour and a half on one core."
    )]
    Methods(methods::Arguments),
    /// CO2 and error feedback on handwritten digits: checks C2 and E6
    #[command(name = "digits")]
    #[command(
        after_help = "Example:\n  driftless-sim table digits --periods 12 --seeds 1\n\nThe last line is \
        {\"table\",\"cells\",\"reached\"}: accuracies, and how many of them are within 0.015 of the independent \
        reference. The whole table is 84 runs of seconds."
    )]
    Digits(digits::Arguments),
    /// Gradients of one byte on handwritten digits: check B2
    #[command(name = "one-byte")]
    #[command(
        after_help = "Example:\n  driftless-sim table one-byte --rows spsa,fzoo --seeds 1\n\nThe last line is \
        {\"table\",\"cells\",\"reached\"}: rows that have a least accuracy, and how many reach it."
    )]
    OneByte(one_byte::Arguments),
    /// EF21 with EF21-W's step: check E4
    #[command(name = "ef21")]
    #[command(after_help = "Example:\n  driftless-sim table ef21 --rows 138\n\nThe last line is \
        {\"table\",\"cells\",\"reached\"}: step ratios and rounds, and how many of them are as near to the \
        independent reference as is allowed. The whole table takes 10 million gradients of a few rows.")]
    Ef21(ef21::Arguments),
    /// Goodput of sessions whose peers keep failing, beside synchronous training
    #[command(name = "chaos")]
    #[command(
        after_help = "Example:\n  driftless-sim table chaos --peers 8,64 --minutes 15\n\nThe last line \
        is {\"table\",\"cells\",\"reached\",\"goal\"}: rows with 15 minutes between failures, and how many of \
        them keep at least 85% of the tokens. docs/chaos.md says what is modelled."
    )]
    Chaos(chaos::Arguments),
}

/// Makes the table and prints it.
///
/// # Errors
/// Unknown rows, senseless numbers, or a run that failed.
pub fn run(table: &Table) -> Result<(), CommandError> {
    match table {
        Table::Utilization(arguments) => utilization::run(arguments),
        Table::Traffic(arguments) => {
            traffic::run(arguments);
            Ok(())
        }
        Table::Learning(arguments) => learning::run(arguments),
        Table::Methods(arguments) => methods::run(arguments),
        Table::Digits(arguments) => digits::run(arguments),
        Table::OneByte(arguments) => one_byte::run(arguments),
        Table::Ef21(arguments) => ef21::run(arguments),
        Table::Chaos(arguments) => chaos::run(arguments),
    }
}
