//! What can be typed. Raw: nothing is looked up or decided here, `config` does that.

mod plan;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use driftless_protocol::codec::Codec;
use driftless_protocol::method::{Combine, MethodName};
use serde::{Deserialize, Serialize};

pub use plan::PlanArguments;

use crate::bandwidth::Rate;

/// Driftless trains one model over ordinary internet links.
///
/// Peers train locally and exchange a few bits per parameter now and then; at one height all of them
/// hold the same parameters, bit for bit.
#[derive(Debug, Parser)]
#[command(name = "driftless", version, arg_required_else_help = true, subcommand_required = true)]
#[command(after_help = "Example: driftless demo")]
pub struct Arguments {
    /// The data folder [default: the platform's data folder, e.g. ~/.local/share/driftless].
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Write one JSON object per line on standard output, and everything else on standard error.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a real session of several peer processes on this machine.
    #[command(after_help = "Examples:\n  driftless demo\n  driftless demo --peers 2 --tokens 200000\n  \
                            driftless demo --json --dir D")]
    Demo(DemoArguments),
    /// Found a session: write its manifest, print the invitation, start training.
    #[command(
        after_help = "Examples:\n  driftless new shakespeare --model gpt:tiny --data shakespeare.txt\n  \
                            driftless new home --data a.txt b.txt --listen 4001 --advertise 203.0.113.7:4001\n  \
                            driftless new plays-2 --from plays"
    )]
    New(Box<NewArguments>),
    /// Join a session by its invitation and train.
    #[command(after_help = "Examples:\n  driftless join driftless1-abc... --up 5Mbit --down 20Mbit\n  \
                            driftless join invitation.txt\n  cat invitation.txt | driftless join -")]
    Join(JoinArguments),
    /// Resume every session of this folder.
    #[command(after_help = "Example: driftless run --dir ~/driftless")]
    Run(RunArguments),
    /// Show the running sessions.
    #[command(after_help = "Example: driftless status --json")]
    Status(SessionArgument),
    /// Stop computing; keep following and voting.
    #[command(after_help = "Example: driftless pause")]
    Pause(SessionArgument),
    /// Compute again.
    #[command(after_help = "Examples:\n  driftless resume\n  driftless resume plays --vote")]
    Resume(ResumeArguments),
    /// Complete the slot in flight, leave the session, end.
    #[command(after_help = "Example: driftless finish 1f3a")]
    Finish(EndArguments),
    /// Leave the session now; its folder stays.
    #[command(after_help = "Example: driftless leave 1f3a")]
    Leave(EndArguments),
    /// Start the committee of an elected session anew, where too many of its voters are gone for good.
    ///
    /// Only the founder can; where it is gone for good, `new --from` founds a session that goes on from
    /// this one. Those voters and candidates that can be reached now get the seats. Whoever
    /// holds a later block than this peer stops it: peers that cannot be reached may, and would have to
    /// join again then. Whether it was done shows in `status` and in the running node's output.
    #[command(after_help = "Example: driftless reset plays --yes")]
    Reset(EndArguments),
    /// Check a whole run from a folder's files: every signature, link and digest.
    ///
    /// It trusts nobody, needs no node and no network, and may run beside a node. Without --replay the
    /// chain is followed by its control pages: certificates, members, statements, snapshots, and every
    /// byte of the chain, the pages and the contributions. With --replay the states are computed again from the kept contributions, and
    /// with them the signatures under contributions, their weights and every digest. Exit code 1 if
    /// anything is wrong.
    #[command(after_help = "Examples:\n  driftless verify plays --replay\n  driftless verify D --json")]
    Verify(VerifyArguments),
    /// List what every height counted, by whom, with weights and bytes.
    #[command(
        after_help = "Examples:\n  driftless history plays --details\n  driftless history D/peer-0 --csv > run.csv"
    )]
    History(HistoryArguments),
    /// Print an invitation to a running session.
    #[command(after_help = "Example: driftless invite")]
    Invite(SessionArgument),
    /// Measure the validation loss of a session's newest parameters.
    #[command(after_help = "Examples:\n  driftless eval\n  driftless eval D/peer-0 --json")]
    Eval(EvalArguments),
    /// Let a session's newest parameters write text.
    #[command(after_help = "Example: driftless sample --prompt \"ROMEO:\" --length 200")]
    Sample(SampleArguments),
    /// Write a session's newest parameters as a Hugging Face folder.
    #[command(after_help = "Example: driftless export --out gpt-tiny")]
    Export(ExportArguments),
    /// Check a Hugging Face GPT-2 style folder and keep it, for `new --from`.
    #[command(after_help = "Example: driftless import ./gpt2")]
    Import(ImportArguments),
    /// Foretell what a session costs: bytes, time, memory and disk by method and role.
    ///
    /// Nothing runs, and nothing is read but what is typed. Of the methods that fit one is recommended; those that do
    /// not say why. Exit code 1 if none fits. docs/plan.md tells what is counted.
    #[command(
        after_help = "Examples:\n  driftless plan --model gpt:small --peers 8 --up 20Mbit --down 100Mbit \
                            --steps-per-second 4\n  driftless plan --model gpt:gpt2 --peers 32 --tokens 10G \
                            --method muloco --method sparse-loco --memory 16GB --json"
    )]
    Plan(PlanArguments),
    /// Measure this machine.
    #[command(after_help = "Examples:\n  driftless bench --model gpt:tiny --threads 2 --json\n  \
                            driftless bench blobs --size 1GiB\n  driftless bench slot")]
    Bench(BenchArguments),
    /// Print this folder's key, or replace it.
    #[command(after_help = "Example: driftless identity")]
    Identity(IdentityArguments),
    /// A peer of `demo`.
    #[command(name = "__peer", hide = true)]
    Peer(PeerArguments),
    /// The serving process of `bench blobs`.
    #[command(name = "__serve-blobs", hide = true)]
    ServeBlobs(ServeBlobsArguments),
}

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Peer processes; the first 16 vote.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub peers: u16,
    /// What is trained: gpt:tiny, gpt:small, mlp:64-32-10, ... [default: gpt:tiny, or with spsa and fzoo
    /// mlp:64-32-10, handwritten digits].
    #[arg(long)]
    pub model: Option<String>,
    /// Tokens (or rows) to count, all peers together, where the session ends [default: 1536000, or what the
    /// model's learning rate is planned for if that is less].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1 << 60))]
    pub tokens: Option<u64>,
    /// End after so many slots, all fragments together, instead of after --tokens.
    #[arg(long, conflicts_with = "tokens", value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub slots: Option<u64>,
    /// How the peers train together: streaming-diloco, sparse-loco, muloco, co2 or ef21; spsa or fzoo, a byte
    /// a sample, for small models and for fine-tuning.
    #[arg(long, value_name = "METHOD", default_value_t = MethodName::DEFAULT)]
    pub method: MethodName,
    /// Inner steps between two exchanges of a fragment (H); with ef21 batches of one gradient.
    #[arg(long, value_name = "H")]
    pub period: Option<u32>,
    /// Encoding of the exchanged updates: e3m0, f32, stat2, int2 to int8; with sparse-loco and ef21 also sign,
    /// top-64/4096-stat2 and the like, rand-1/64, which leave out what is sent later.
    #[arg(long, value_name = "CODEC")]
    pub codec: Option<Codec>,
    /// Texts to train on [default: a part of Shakespeare's plays].
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Compute threads of each peer [default: the machine's cores / peers].
    #[arg(long, value_parser = threads)]
    pub threads: Option<usize>,
}

/// How a node reaches others and what it may use.
#[derive(Debug, Clone, Default, Args)]
pub struct NetworkArguments {
    /// Where to listen: a port, IP:PORT, or a multiaddress; the data plane takes the next UDP port.
    /// [default: any port of every interface]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Addresses that others shall dial: IP:PORT or a multiaddress.
    #[arg(long, value_name = "ADDRESS")]
    pub advertise: Vec<String>,
    /// Cap on what is sent, such as 5Mbit.
    #[arg(long, value_name = "RATE")]
    pub up: Option<Rate>,
    /// Cap on what is received, such as 20Mbit.
    #[arg(long, value_name = "RATE")]
    pub down: Option<Rate>,
    /// What to compute on.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<Device>,
    /// Compute threads [default: all cores but one].
    #[arg(long, value_parser = threads)]
    pub threads: Option<usize>,
    /// Keep every contribution, so that the whole run can be verified back to its genesis.
    #[arg(long)]
    pub keep_history: bool,
    /// Take a seat among the voters if this peer is elected: others have to be able to dial it (a
    /// forwarded port, or an address of its own), and it should stay up.
    #[arg(long)]
    pub stand: bool,
    /// Bytes that may be written in a day, such as 50GB. Contributions are written in any case;
    /// snapshots and checkpoints get as rare as it takes, down to a fifth of it [default: 20GB].
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub writes_per_day: Option<u64>,
    /// Not available yet: a monthly volume.
    #[arg(long, hide = true, value_name = "BYTES")]
    pub monthly: Option<String>,
    /// Not available yet: hours of the day.
    #[arg(long, hide = true, value_name = "FROM-TO")]
    pub hours: Option<String>,
}

/// What to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// Whatever is best here.
    Auto,
    /// A graphics card. Not available yet.
    Gpu,
    /// The processor.
    Cpu,
}

/// How many steps a slot has, and for whom it waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PacingName {
    /// All peers the same steps, and a slot waits for them.
    #[default]
    Uniform,
    /// A slot does not wait for the slow.
    Decoupled,
}

/// Options of `new`.
#[derive(Debug, Clone, Args)]
pub struct NewArguments {
    /// The session's name.
    pub name: String,
    /// What is trained: gpt:tiny, gpt:small or gpt:gpt2 [default: gpt:tiny, or what --from trains].
    #[arg(long, conflicts_with = "manifest")]
    pub model: Option<String>,
    /// Texts to train on.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// A Hugging Face tokenizer.json [default: bytes are tokens].
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Start from a model (a Hugging Face GPT-2 folder, or what `import` printed), or go on from the
    /// newest certified state of a session: its name, the beginning of its id, or its folder.
    ///
    /// A session's folder is verified first. The new session has the other one's model, method, training
    /// and data unless told otherwise, takes its parameters and their momentum bit for bit, and goes on
    /// with its samples, its count of tokens and so its learning rate. Its manifest names where it comes
    /// from; nobody of the other session is a member or votes until they join. --stop-at and --tokens count from the
    /// other session's beginning.
    #[arg(long, value_name = "DIR|SESSION", conflicts_with = "manifest")]
    pub from: Option<PathBuf>,
    /// Who votes: elected (this key at first, then 4 to 16 of those who contribute and --stand), steward
    /// (this key alone, for good), or named:KEY,KEY,...
    #[arg(long, default_value = "elected", conflicts_with = "manifest")]
    pub committee: String,
    /// Let anyone join who reaches a peer; otherwise an invitation is needed.
    #[arg(long, conflicts_with = "manifest")]
    pub open: bool,
    /// How the peers train together: streaming-diloco, sparse-loco, muloco, co2 or ef21; spsa or fzoo, a byte
    /// a sample, for small models and for fine-tuning [default: muloco, or that of the session after --from].
    #[arg(long, value_name = "METHOD", conflicts_with = "manifest")]
    pub method: Option<MethodName>,
    /// Inner steps between two exchanges of a fragment (H); with ef21 batches of one gradient.
    #[arg(long, value_name = "H", conflicts_with = "manifest")]
    pub period: Option<u32>,
    /// Encoding of the exchanged updates: e3m0, f32, stat2, int2 to int8; with sparse-loco and ef21 also sign,
    /// top-64/4096-stat2 and the like, rand-1/64, which leave out what is sent later.
    #[arg(long, value_name = "CODEC", conflicts_with = "manifest")]
    pub codec: Option<Codec>,
    /// The step size of ef21 [default: for a logistic regression what its rows' smoothness allows].
    #[arg(long, conflicts_with = "manifest")]
    pub gamma: Option<f32>,
    /// What becomes of the updates of a slot: mean, radial-directional, median, or trimmed-mean-0.1 (without a tenth at either end), which
    /// a few members cannot move; the last two where the members are named.
    #[arg(long, value_name = "HOW", conflicts_with = "manifest")]
    pub combine: Option<Combine>,
    /// Whether a slot waits for all of those drawn to it (uniform), or closes soon after half of them contributed and
    /// counts the others later (decoupled).
    #[arg(long, value_enum, default_value_t, conflicts_with = "manifest")]
    pub pacing: PacingName,
    /// The token budget that the learning rate is planned for.
    #[arg(long, conflicts_with = "manifest")]
    pub tokens: Option<u64>,
    /// Counted tokens at which the session ends [default: it goes on].
    #[arg(long, conflicts_with = "manifest")]
    pub stop_at: Option<u64>,
    /// AdamW's peak learning rate (under muloco that of embeddings, gains and biases; Muon's is in the manifest); with
    /// spsa and fzoo the rate of their steps.
    #[arg(long, conflicts_with = "manifest")]
    pub learning_rate: Option<f32>,
    /// Samples of an inner step.
    #[arg(long, conflicts_with = "manifest")]
    pub batch: Option<u32>,
    /// Take everything from a TOML file; seed, data, committee and admission may be left out of it.
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Print the manifest as TOML and do nothing else.
    #[arg(long)]
    pub print_manifest: bool,
    /// Contributors to plan for: whether this machine and the slowest line admitted are enough for so many.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub peers: u32,
    /// Found it even if it does not fit by plan, or its outer step may diverge.
    #[arg(long)]
    pub force: bool,
    /// How this node runs.
    #[command(flatten)]
    pub network: NetworkArguments,
}

/// Options of `join`.
#[derive(Debug, Clone, Args)]
pub struct JoinArguments {
    /// The invitation: its text, a file that holds it, or - for standard input.
    pub invitation: String,
    /// Own copies of the session's texts [default: fetched from its peers].
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Only follow: apply every block, contribute nothing.
    #[arg(long)]
    pub follow: bool,
    /// How this node runs.
    #[command(flatten)]
    pub network: NetworkArguments,
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// How this node runs.
    #[command(flatten)]
    pub network: NetworkArguments,
}

/// Which session.
#[derive(Debug, Clone, Args)]
pub struct SessionArgument {
    /// The session: its name, or the beginning of its id; needed where there are several.
    pub session: Option<String>,
}

/// Options of `resume`.
#[derive(Debug, Clone, Args)]
pub struct ResumeArguments {
    /// Which session.
    #[command(flatten)]
    pub which: SessionArgument,
    /// Sign again where this peer stopped because its folder seemed to be an older copy: only if the
    /// newer folder is gone and no other process uses this key.
    #[arg(long)]
    pub vote: bool,
}

/// Options of `finish` and `leave`.
#[derive(Debug, Clone, Args)]
pub struct EndArguments {
    /// Which session.
    #[command(flatten)]
    pub which: SessionArgument,
    /// Do it even where the session cannot go on without this peer.
    #[arg(long)]
    pub yes: bool,
}

/// Which session's state.
#[derive(Debug, Clone, Args)]
pub struct StateArgument {
    /// The session (name or beginning of its id), or a data or session folder.
    pub session: Option<String>,
}

/// Options of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArguments {
    /// The session (name or beginning of its id), a data or session folder, or a folder of `demo --dir`.
    pub session: Option<String>,
    /// Compute the states again, from genesis or from the oldest snapshot that the kept contributions
    /// reach back to.
    #[arg(long)]
    pub replay: bool,
}

/// Options of `history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArguments {
    /// Which state.
    #[command(flatten)]
    pub state: StateArgument,
    /// The first height listed.
    #[arg(long, value_name = "HEIGHT")]
    pub from: Option<u64>,
    /// The last height listed.
    #[arg(long, value_name = "HEIGHT")]
    pub to: Option<u64>,
    /// A line for each contribution as well.
    #[arg(long)]
    pub details: bool,
    /// Comma-separated values: a row for each contribution, and one for each height without any.
    #[arg(long, conflicts_with = "details")]
    pub csv: bool,
}

/// Options of `eval`.
#[derive(Debug, Clone, Args)]
pub struct EvalArguments {
    /// Which state.
    #[command(flatten)]
    pub state: StateArgument,
    /// Evaluate at most so many windows of the validation text.
    #[arg(long)]
    pub windows: Option<u64>,
    /// Compute threads.
    #[arg(long, value_parser = threads)]
    pub threads: Option<usize>,
}

/// Options of `sample`.
#[derive(Debug, Clone, Args)]
pub struct SampleArguments {
    /// Which state.
    #[command(flatten)]
    pub state: StateArgument,
    /// What the text begins with.
    #[arg(long, default_value = "\n")]
    pub prompt: String,
    /// Tokens to write.
    #[arg(long, default_value_t = 300)]
    pub length: usize,
    /// 0 always takes the likeliest token, 1 draws as the model says.
    #[arg(long, default_value_t = 0.8)]
    pub temperature: f32,
    /// Draw from so many of the likeliest tokens only; 0 for all.
    #[arg(long, default_value_t = 40)]
    pub top_k: usize,
    /// The same seed writes the same text.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Compute threads.
    #[arg(long, value_parser = threads)]
    pub threads: Option<usize>,
}

/// Options of `export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArguments {
    /// Which state.
    #[command(flatten)]
    pub state: StateArgument,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Options of `import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArguments {
    /// A folder with config.json and model.safetensors.
    pub folder: PathBuf,
    /// Its name here [default: the folder's].
    #[arg(long)]
    pub name: Option<String>,
}

/// Options of `bench`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArguments {
    /// What else to measure.
    #[command(subcommand)]
    pub what: Option<BenchCommand>,
    /// What to compute on.
    #[arg(long, default_value = "cpu")]
    pub device: Device,
    /// The model.
    #[arg(long, default_value = "gpt:tiny")]
    pub model: String,
    /// Compute threads.
    #[arg(long, default_value = "1", value_parser = threads)]
    pub threads: usize,
    /// Sequences of a step [default: the model's].
    #[arg(long)]
    pub batch: Option<usize>,
    /// How long to measure.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
}

/// What else `bench` measures.
#[derive(Debug, Clone, Subcommand)]
pub enum BenchCommand {
    /// The data plane beside bare quinn, between two processes on loopback.
    #[command(after_help = "Example: driftless bench blobs --size 64MiB --cap 10Mbit")]
    Blobs(BenchBlobsArguments),
    /// One slot of a 1M-parameter f32 session among 4 peers, without training.
    #[command(after_help = "Example: driftless bench slot --json")]
    Slot(BenchSlotArguments),
}

/// Options of `bench blobs`.
#[derive(Debug, Clone, Args)]
pub struct BenchBlobsArguments {
    /// Size of the file.
    #[arg(long, default_value = "64MiB", value_parser = size)]
    pub size: u64,
    /// How often both are measured.
    #[arg(long, default_value_t = 5)]
    pub pairs: usize,
    /// Measure under this cap instead.
    #[arg(long)]
    pub cap: Option<Rate>,
}

/// Options of `bench slot`.
#[derive(Debug, Clone, Args)]
pub struct BenchSlotArguments {
    /// Peers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub peers: u16,
    /// Slots to measure.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub slots: u32,
}

/// Options of `identity`.
#[derive(Debug, Clone, Args)]
pub struct IdentityArguments {
    /// Replace the key by a new one.
    #[arg(long)]
    pub new: bool,
    /// Do not ask.
    #[arg(long, requires = "new")]
    pub yes: bool,
    /// Replace it even though sessions know the old one.
    #[arg(long, requires = "new")]
    pub force: bool,
}

/// Options of the hidden peer of `demo`.
#[derive(Debug, Clone, Args)]
pub struct PeerArguments {
    /// The session's signed manifest.
    #[arg(long)]
    pub manifest: PathBuf,
    /// The session's texts.
    #[arg(long, num_args = 1..)]
    pub data: Vec<PathBuf>,
    /// Compute threads.
    #[arg(long, default_value = "1", value_parser = threads)]
    pub threads: usize,
    /// The invitation, for its token.
    #[arg(long)]
    pub invitation: PathBuf,
    /// Keep every blob.
    #[arg(long)]
    pub keep_history: bool,
    /// Stream-0 slots between two checkpoints.
    #[arg(long, default_value_t = 4)]
    pub checkpoint_every: u32,
}

/// Options of the hidden server of `bench blobs`.
#[derive(Debug, Clone, Args)]
pub struct ServeBlobsArguments {
    /// Its folder.
    pub folder: PathBuf,
    /// Size of the file.
    pub size: u64,
    /// Its cap.
    pub cap: Rate,
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("a number of threads is 1 to 1024".into()),
    }
}

/// A size in bytes: `64MiB`, `1GiB`, `10MB` or a plain number.
fn size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let unit = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|bytes| (1..=1 << 40).contains(bytes))
        .ok_or_else(|| "a size is a number with a unit, such as 64MiB, 1GiB or 10MB".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_and_every_command_shows_an_example() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        for subcommand in command.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let help = subcommand.render_long_help().to_string();
            assert!(help.contains("Example"), "{} has no example", subcommand.get_name());
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("10 MB"), Ok(10_000_000));
        assert_eq!(size("12"), Ok(12));
        for wrong in ["", "MiB", "-1MB", "99999999999GiB", "1.5GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
