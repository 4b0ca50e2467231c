//! `driftless verify`: whether a folder's run is what its voters signed.

use std::path::{Path, PathBuf};

use driftless_protocol::block::Height;
use serde_json::json;

use super::CommandError;
use crate::args::VerifyArguments;
use crate::offline;
use crate::output::{Output, Progress, bytes};
use crate::store::{Folder, SessionFolder};
use crate::verify::{Step, Verified, verify};

/// Verifies one session, or all peers of a demo.
pub(super) fn run(options: &VerifyArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    let place = options.session.as_deref();
    let peers = peers_of(place.map_or(dir, Path::new))?;
    let folders = match peers.is_empty() {
        false => peers.iter().map(|peer| offline::find(peer, None)).collect::<Result<Vec<_>, _>>()?,
        true => vec![offline::find(dir, place)?],
    };
    let mut all: Vec<Verified> = Vec::new();
    for folder in &folders {
        let verified = verify_one(folder, options.replay, output)?;
        all.push(verified);
    }
    let problems: usize = all.iter().map(|verified| verified.problems.len()).sum();
    if let Some((height, other)) = contradiction(&all) {
        return Err(CommandError::Failed(format!(
            "{} and {} have different blocks at height {height}",
            folders[0].path().display(),
            folders[other].path().display()
        )));
    }
    if problems > 0 {
        return Err(CommandError::Failed(match problems {
            1 => "there is a problem".into(),
            several => format!("there are {several} problems"),
        }));
    }
    if folders.len() > 1 {
        output.text(&format!("all {} folders have the same block at every height", folders.len()));
    }
    Ok(())
}

/// The data folders of a demo's peers; none if it is no demo's folder.
fn peers_of(dir: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let mut peers = Vec::new();
    for number in 0.. {
        let peer = dir.join(format!("peer-{number}"));
        if !peer.join("sessions").is_dir() {
            break;
        }
        peers.push(Folder::open(peer)?.path().to_owned());
    }
    Ok(peers)
}

fn verify_one(folder: &SessionFolder, replay: bool, output: Output) -> Result<Verified, CommandError> {
    let mut progress = Progress::new(output, None);
    let mut told = |step: Step| match step {
        Step::Block(height) => progress.set(height, None, format!("block {height}")),
        Step::Bytes(done, all) => {
            progress.set(done, Some(all), format!("{} of {} hashed", bytes(done), bytes(all)));
        }
        Step::State(done, all) => {
            progress.set(done, Some(all), format!("{done} of {all} states computed again"));
        }
    };
    let verified = verify(folder, replay, &mut told);
    progress.clear();
    let verified = verified?;
    for problem in &verified.problems {
        output.object(&json!({
            "event": "problem",
            "file": problem.file,
            "height": problem.height,
            "root": problem.root,
            "reason": problem.reason,
        }));
        output.text(&format!("PROBLEM {problem}"));
    }
    let object = json!({
        "event": "verified",
        "dir": folder.path(),
        "first": verified.first,
        "gaps_before": verified.gaps,
        "height": verified.height,
        "digest": verified.digest,
        "replayed_from": verified.replayed_from,
        "contributions": verified.contributions,
        "problems": verified.problems.len(),
    });
    output.result(&object, || text_of(folder, &verified));
    Ok(verified)
}

fn text_of(folder: &SessionFolder, verified: &Verified) -> String {
    let Verified { first, height, digest, contributions, .. } = verified;
    let states = match verified.replayed_from {
        None => "states not computed again (--replay does)".to_owned(),
        Some(0) => "all states computed again from genesis".to_owned(),
        Some(from) => format!(
            "states computed again from height {from} on, since earlier contributions are not kept here"
        ),
    };
    let gaps = match verified.gaps.as_slice() {
        [] => String::new(),
        gaps => {
            let gaps: Vec<String> = gaps.iter().map(ToString::to_string).collect();
            format!(" (with gaps before {}: snapshots were taken over them)", gaps.join(", "))
        }
    };
    let problems = match verified.problems.len() {
        0 => "no problem found".to_owned(),
        several => format!("{several} problem(s)"),
    };
    format!(
        "{}\n  heights {first} to {height}{gaps}, {contributions} contributions, {} of files; {states}\n  \
         digest {digest}: {problems}",
        folder.path().display(),
        bytes(verified.bytes)
    )
}

/// A height at which a folder has another block than the first, and which folder.
fn contradiction(all: &[Verified]) -> Option<(Height, usize)> {
    let first = &all.first()?.hashes;
    all.iter().enumerate().skip(1).find_map(|(index, verified)| {
        let differs = |(height, hash): &(&Height, &driftless_protocol::Hash)| {
            first.get(height).is_some_and(|here| here != *hash)
        };
        verified.hashes.iter().find(differs).map(|(height, _)| (*height, index))
    })
}
