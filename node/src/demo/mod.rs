//! `driftless demo`: a real session of several peer processes on this machine.
//!
//! | file | idea |
//! |---|---|
//! | `setup` | keys, texts, manifest, invitation |
//! | `children` | processes that do not outlive this one |
//! | `troupe` | keeps them running until the session ends |
//! | `ledger` | what they reported, added up |
//! | `table`, `summary` | what a person sees meanwhile, and in the end |
//! | `slot` | `bench slot`: the same with next to no training |

mod children;
mod ledger;
mod setup;
mod slot;
mod summary;
mod table;
mod troupe;

use std::path::{Path, PathBuf};

use driftless_compute::sample::Sampling;
use driftless_protocol::PeerKey;
use driftless_protocol::manifest::{DeadlineBounds, Manifest};
use driftless_protocol::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::args::DemoArguments;
use crate::commands::{self, CommandError};
use crate::config::cores;
use crate::offline::{self, Offline};
use crate::output::Output;
use crate::terms::{Overrides, tokens_of_slots};
use setup::Plan;
pub use slot::run as bench_slot;
use summary::{Summary, losses_differ};
use table::Table;
use troupe::Troupe;

/// Where a peer listens: what a peer writes to `DIR/addresses`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Its key.
    pub key: PeerKey,
    /// Its control plane.
    pub addresses: Vec<String>,
}

/// What a peer is told on its standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Everybody, the peer itself included.
    pub peers: Vec<Addresses>,
}

/// Where a demo keeps its files.
enum Place {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Place {
    fn new(dir: Option<&Path>) -> Result<Place, CommandError> {
        match dir {
            Some(dir) => {
                std::fs::create_dir_all(dir)
                    .map_err(|source| CommandError::File { path: dir.to_owned(), source })?;
                // The peers are started from here, but their folders are told to people.
                let path = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
                Ok(Place::Kept(path))
            }
            None => {
                let made = tempfile::Builder::new().prefix("driftless-demo-").tempdir();
                let path = std::env::temp_dir();
                made.map(Place::Temporary).map_err(|source| CommandError::File { path, source })
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Place::Kept(path) => path,
            Place::Temporary(folder) => folder.path(),
        }
    }
}

/// Runs a demo from the first key to the last line.
///
/// The peers say as much in their logs as `verbose` asks for.
pub async fn run(
    options: &DemoArguments,
    dir: Option<&Path>,
    verbose: u8,
    output: Output,
) -> Result<(), CommandError> {
    let mut plan = plan(options)?;
    plan.arguments.extend((0..verbose).map(|_| "--verbose".into()));
    let place = Place::new(dir)?;
    let stage = setup::prepare(&plan, place.path())?;
    introduce(&plan, &place, output);
    let dirs: Vec<PathBuf> = stage.children.iter().map(|child| child.dir.clone()).collect();
    let table = Table::new(output, stage.facts);
    let ledger = Troupe::new(stage, table, output)?.run().await?;
    let summary = Summary::of(&ledger, &dirs);
    if losses_differ(&ledger) {
        output.note("warning: peers computed different losses of one state; the first is shown");
    }
    let written = dirs.first().filter(|_| !summary.rows).map(|dir| first_words(dir));
    if !output.is_json() {
        output.text(&format!("\n{}", summary.text()));
        match &written {
            Some(Ok(text)) => output.text(&format!("\nThe model writes:\n\n{}\n", text.trim())),
            Some(Err(error)) => output.note(&format!("no text could be written: {error}")),
            None => {}
        }
        output.text(&format!("{}{}", if summary.rows { "\n" } else { "" }, what_next(&place)));
    } else if let Some(Ok(text)) = &written {
        output.object(&json!({ "event": "sample", "text": text }));
    }
    // Programs rely on it being the last line.
    output.object(&summary);
    match &summary.difference {
        None => Ok(()),
        Some(difference) => {
            Err(CommandError::Failed(format!("the replicas are not identical: {difference}")))
        }
    }
}

/// Tokens of a demo, if its model's learning rate is not planned for less: minutes of gpt:tiny.
const TOKENS: u64 = 1_536_000;

fn plan(options: &DemoArguments) -> Result<Plan, CommandError> {
    let wrong = |error: driftless_protocol::model::ModelError| CommandError::Usage(error.to_string());
    // From nothing a byte a sample teaches a language model next to nothing.
    let usual = if options.method.is_fine_tuning() { "mlp:64-32-10" } else { "gpt:tiny" };
    let model = options.model.as_deref().unwrap_or(usual);
    let preset = Manifest::preset(model).map_err(wrong)?;
    if preset.model.vocabulary().is_some_and(|tokens| tokens > 256) {
        return Err(CommandError::Usage(format!(
            "{model} needs a tokenizer: the demo trains on bytes, with gpt:tiny or gpt:small",
        )));
    }
    let peers = usize::from(options.peers);
    let overrides = Overrides {
        method: Some(options.method),
        period: options.period,
        codec: options.codec,
        members: Some(options.peers.into()),
        // The peers share this machine: who waits for a certificate leaves its cores to the others,
        // so that the paper's rule costs no time, and a merge at tau is what the reference measured.
        strict: true,
        ..Overrides::default()
    };
    let preset = overrides.apply(preset);
    let stop_at = match options.slots {
        Some(slots) => tokens_of_slots(&preset, peers as u64, slots),
        None => options.tokens.unwrap_or_else(|| preset.training.budget_tokens.min(TOKENS)),
    };
    let preset = Overrides { budget_tokens: Some(stop_at), ..Overrides::default() }.apply(preset);
    // What is small ends slots in seconds.
    let longest = if preset.model.parameters() < 1_000_000 { Span::seconds(15) } else { Span::seconds(600) };
    Ok(Plan {
        peers,
        preset,
        stop_at,
        data: options.data.clone(),
        deadline: DeadlineBounds { minimum: Span::seconds(1), maximum: longest },
        threads: options.threads.unwrap_or_else(|| (cores() / peers).max(1)),
        arguments: vec!["--keep-history".into()],
    })
}

fn introduce(plan: &Plan, place: &Place, output: Output) {
    let model = plan.preset.model.parameters();
    output.note(&format!(
        "{} peers, each a process of its own, train {model} parameters on {} tokens in {}",
        plan.peers,
        plan.stop_at,
        place.path().display()
    ));
    if (2..4).contains(&plan.peers) {
        output.note(&format!(
            "note: with {} voters all are needed: while one is away, nothing is decided",
            plan.peers
        ));
    }
}

/// A few lines from the final model of a peer's folder.
fn first_words(dir: &Path) -> Result<String, CommandError> {
    let offline = Offline::load(offline::find(dir, None)?)?;
    let sampling = Sampling { temperature: 0.8, top_k: Some(40), seed: 1 };
    let written = commands::write_text(&offline, "\n", 160, &sampling)?;
    // The last line may be cut anywhere.
    Ok(written.trim_end().to_owned())
}

fn what_next(place: &Place) -> String {
    match place {
        Place::Temporary(_) => {
            "What to try next:\n  driftless demo --dir D                 keep the peers' folders\n  \
             driftless new NAME --data FILE...      found a session that others can join"
                .into()
        }
        Place::Kept(path) => {
            let path = path.display();
            format!(
                "What to try next:\n  driftless sample --dir {path}/peer-0 --prompt \"ROMEO:\"\n  \
                 driftless eval --dir {path}/peer-1\n  \
                 driftless export --dir {path}/peer-0 --out model\n  \
                 driftless new NAME --data FILE...   then, elsewhere:  driftless join INVITATION\n  \
                 (while a demo runs, `driftless join {path}/invitation` takes part in it)"
            )
        }
    }
}
