//! What a demo needs before its peers start: keys, texts, the manifest, the invitation.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use driftless_compute::Example;
use driftless_protocol::committee::{Committee, MAX_SEATS, QuorumRule};
use driftless_protocol::identity::Signer;
use driftless_protocol::invitation::{Invitation, Ticket};
use driftless_protocol::manifest::{Admission, DeadlineBounds, Pacing, Preset};
use driftless_protocol::method::Combine;

use super::children::ChildSpec;
use super::ledger::Facts;
use crate::commands::CommandError;
use crate::engine::shape_of;
use crate::store::Folder;
use crate::terms::{self, Terms};

/// What a demo runs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Peers.
    pub peers: usize,
    /// Model, method, training.
    pub preset: Preset,
    /// Counted tokens at which it ends.
    pub stop_at: u64,
    /// Texts; the embedded one if there are none.
    pub data: Vec<PathBuf>,
    /// Bounds of slot deadlines.
    pub deadline: DeadlineBounds,
    /// Compute threads of a peer.
    pub threads: usize,
    /// Further arguments of each peer.
    pub arguments: Vec<OsString>,
}

/// Everything ready to start.
#[derive(Debug)]
pub struct Stage {
    /// How each peer is started.
    pub children: Vec<ChildSpec>,
    /// The invitation; addresses come later.
    pub invitation: Invitation,
    /// Where it is written.
    pub invitation_path: PathBuf,
    /// For the ledger.
    pub facts: Facts,
}

/// Makes folders, keys, manifest and invitation in `dir`.
pub fn prepare(plan: &Plan, dir: &Path) -> Result<Stage, CommandError> {
    if dir.join("peer-0").exists() {
        return Err(CommandError::Failed(format!(
            "{} holds an earlier demo: choose another --dir or remove it. \
             `driftless sample --dir {}` looks at what it trained",
            dir.display(),
            dir.join("peer-0").display()
        )));
    }
    let dirs: Vec<PathBuf> = (0..plan.peers).map(|index| dir.join(format!("peer-{index}"))).collect();
    let signers = dirs.iter().map(|dir| Folder::create(dir)?.identity_or_new());
    let signers = signers.collect::<Result<Vec<Signer>, _>>()?;
    let data = data(plan, dir)?;
    let founder = signers.first().ok_or_else(|| CommandError::Usage("a demo has at least 1 peer".into()))?;
    let mut seats: Vec<_> = signers.iter().take(MAX_SEATS).map(Signer::key).collect();
    seats.sort_unstable();
    let terms = Terms {
        pacing: Pacing::Uniform,
        name: "demo".into(),
        preset: plan.preset.clone(),
        data: data.clone(),
        tokenizer: None,
        parameters: None,
        committee: Committee::Named { keys: seats.clone(), quorum: QuorumRule::TwoThirds },
        admission: Admission::Invitation { issuer: founder.key() },
        combine: Combine::Mean,
        stop_at: Some(plan.stop_at),
        deadline: plan.deadline,
    };
    let founding = terms::found(&terms, founder)?;
    let session = founding.manifest.id();
    let manifest = dir.join("manifest");
    write(&manifest, &founding.manifest.to_bytes())?;
    let ticket = Some(Ticket::issue(founder, session, 0));
    let invitation = Invitation { session, height: 0, block: session, seats, addresses: Vec::new(), ticket };
    let invitation_path = dir.join("invitation");
    write(&invitation_path, invitation.to_text()?.as_bytes())?;
    let path = PathBuf::from("this program");
    let program = std::env::current_exe().map_err(|source| CommandError::File { path, source })?;
    let child = |dir: &PathBuf| ChildSpec {
        program: program.clone(),
        dir: dir.clone(),
        arguments: arguments(plan, dir, &manifest, &invitation_path, &data),
    };
    let facts = Facts {
        peers: plan.peers,
        tokens_per_step: u64::from(plan.preset.training.batch) * u64::from(plan.preset.model.context()),
        parameters: plan.preset.model.parameters(),
        stop_at: plan.stop_at,
        rows: plan.preset.model.vocabulary().is_none(),
    };
    Ok(Stage { children: dirs.iter().map(child).collect(), invitation, invitation_path, facts })
}

fn arguments(plan: &Plan, dir: &Path, manifest: &Path, invitation: &Path, data: &[PathBuf]) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec!["--json".into(), "--dir".into(), dir.into(), "__peer".into()];
    all.extend(["--manifest".into(), manifest.into(), "--invitation".into(), invitation.into()]);
    all.extend(["--threads".into(), plan.threads.to_string().into()]);
    all.extend(plan.arguments.iter().cloned());
    all.push("--data".into());
    all.extend(data.iter().map(OsString::from));
    all
}

/// The files given, or the one that the program carries for such a model.
fn data(plan: &Plan, dir: &Path) -> Result<Vec<PathBuf>, CommandError> {
    if !plan.data.is_empty() {
        return Ok(plan.data.clone());
    }
    let example = Example::of(&shape_of(&plan.preset.model)).ok_or_else(|| {
        CommandError::Usage(
            "this program carries no data for such a model: give some with --data, or take mlp:64-32-10, \
             cnn:8x1-8-10 or logistic:14"
                .into(),
        )
    })?;
    let path = dir.join(example.name);
    write(&path, example.bytes)?;
    Ok(vec![path])
}

/// Writes a file as a whole.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let temporary = path.with_extension("tmp");
    let done = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    done.map_err(|source| CommandError::File { path: path.to_owned(), source })
}
