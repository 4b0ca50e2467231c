//! `driftless verify`: whether a folder's run is what its voters signed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driftless_protocol::Hash;
use driftless_protocol::block::Height;
use serde_json::json;

use super::CommandError;
use crate::args::VerifyArguments;
use crate::offline;
use crate::output::{Output, Progress, bytes};
use crate::store::{Folder, SessionFolder};
use crate::verify::{FoundedOn, Step, Verified, verify};

/// Verifies one session, or all peers of a demo.
pub(super) fn run(options: &VerifyArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    let place = options.session.as_deref();
    let peers = peers_of(place.map_or(dir, Path::new))?;
    let folders = match peers.is_empty() {
        false => peers.iter().map(|peer| offline::find(peer, None)).collect::<Result<Vec<_>, _>>()?,
        true => vec![offline::find(dir, place)?],
    };
    let mut all: Vec<(&SessionFolder, Verified)> = Vec::new();
    let mut problems = 0;
    for folder in &folders {
        match verify_one(folder, options.replay, output) {
            Ok(verified) => {
                problems += verified.problems.len();
                all.push((folder, verified));
            }
            // The other peers of a demo are worth a look all the same.
            Err(error) if folders.len() > 1 => {
                problems += 1;
                output.object(
                    &json!({"event": "problem", "file": text(folder.path()), "reason": error.to_string()}),
                );
                output.text(&format!("PROBLEM {}: {error}", text(folder.path())));
            }
            Err(error) => return Err(error),
        }
    }
    if let Some((height, one, other)) = contradiction(&all) {
        let (one, other) = (text(one.path()), text(other.path()));
        return Err(CommandError::Failed(format!(
            "{one} and {other} have different blocks at height {height}"
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

/// Runs what verifies a folder, and says how far it is.
pub(super) fn with_progress<T>(output: Output, work: impl FnOnce(&mut dyn FnMut(Step)) -> T) -> T {
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
    let result = work(&mut told);
    progress.clear();
    result
}

fn verify_one(folder: &SessionFolder, replay: bool, output: Output) -> Result<Verified, CommandError> {
    let verified = with_progress(output, |told| verify(folder, replay, told))?;
    for problem in &verified.problems {
        output.object(&json!({
            "event": "problem",
            "file": text(&problem.file),
            "height": problem.height,
            "root": problem.root,
            "reason": problem.reason,
        }));
        output.text(&format!("PROBLEM {problem}"));
    }
    let object = json!({
        "event": "verified",
        "dir": text(folder.path()),
        "session": verified.session,
        "name": verified.name,
        "founded_on": verified.founded_on.as_ref().map(|parent| json!({
            "session": parent.session,
            "height": parent.height,
            "digest": parent.digest,
            "certified": parent.certified,
        })),
        "voters": verified.voters,
        "first": verified.first,
        "gaps_before": verified.gaps,
        "height": verified.height,
        "digest": verified.digest,
        "unfollowed": verified.unfollowed,
        "replayed_from": verified.replayed_from,
        "contributions": verified.contributions,
        "problems": verified.problems.len(),
    });
    output.result(&object, || text_of(folder, &verified));
    Ok(verified)
}

fn text_of(folder: &SessionFolder, verified: &Verified) -> String {
    let Verified { session, name, first, height, digest, contributions, .. } = verified;
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
    let unfollowed = match verified.unfollowed {
        0 => String::new(),
        blocks => format!(
            "; of {blocks} blocks only links and certificates were checked, since the state before them is \
             not kept here"
        ),
    };
    let voters: Vec<String> = verified.voters.iter().map(|key| key.short()).collect();
    format!(
        "{}\n  session {session}, {name:?}, voters {}: compare the id with your invitation's\n{}  \
         heights {first} to {height}{gaps}, {contributions} contributions, {} of files; {states}{unfollowed}\n  \
         digest {digest}: {problems}",
        text(folder.path()),
        voters.join(" "),
        verified.founded_on.as_ref().map(text_of_parent).unwrap_or_default(),
        bytes(verified.bytes)
    )
}

fn text_of_parent(parent: &FoundedOn) -> String {
    let FoundedOn { session, height, digest, certified } = parent;
    let known = match certified {
        true => "certified there, as its folder beside this one says",
        false => "whether it was certified there is not known here",
    };
    format!("  founded on session {session} height {height} digest {digest}: {known}\n")
}

/// A path as text; what is not text in it is replaced.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A height at which two folders have different blocks, and these two.
fn contradiction<'a>(
    all: &[(&'a SessionFolder, Verified)],
) -> Option<(Height, &'a SessionFolder, &'a SessionFolder)> {
    let mut seen: BTreeMap<Height, (Hash, &SessionFolder)> = BTreeMap::new();
    for (folder, verified) in all {
        for (height, hash) in &verified.hashes {
            match seen.entry(*height).or_insert((*hash, folder)) {
                (known, other) if known != hash => return Some((*height, other, folder)),
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_between_any_two_folders_is_found() {
        let folders = ["a", "b", "c"].map(|name| SessionFolder::at(Path::new(name)));
        let verified = |hashes: &[(Height, u8)]| Verified {
            hashes: hashes.iter().map(|(height, byte)| (*height, Hash([*byte; 32]))).collect(),
            ..Verified::default()
        };
        let chains = [verified(&[(1, 1)]), verified(&[(1, 1), (2, 2)]), verified(&[(1, 1), (2, 3)])];
        let all: Vec<_> = folders.iter().zip(chains).collect();
        let found = contradiction(&all).map(|(height, one, other)| (height, one.path(), other.path()));
        assert_eq!(found, Some((2, Path::new("b"), Path::new("c"))));
        assert!(contradiction(&all[..2]).is_none());
    }
}
