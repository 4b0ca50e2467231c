//! The power goes at any instant: what was acknowledged is there afterwards.
//!
//! The store works on real files; every change of them is recorded on its way to the kernel
//! (`libc_calls`, `recorder`) while a peer lives through random records, restarts, kills and a full
//! disk (`life`, `session`). From the recording come disks as they may look after a power cut
//! (`crash`): what was not waited for is kept, dropped or torn. Each is opened with the store and
//! compared with what had been acknowledged (`check`).
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

mod check;
mod crash;
mod libc_calls;
mod life;
mod recorder;
mod recording;
mod session;
mod tree;

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use check::check;
use life::{Known, Life, Peer};
use recording::Change;
use session::Session;
use tree::Tree;

const SESSIONS: u64 = 6;
const LIVES: u64 = 5;
const IMAGES: u64 = 10;
const STEPS: usize = 60;

#[test]
fn nothing_acknowledged_is_lost_in_300_power_cuts() {
    let session = Session::new();
    let (mut images, mut opening, mut kills, mut full, mut failures) = (0, 0, 0, 0, Vec::new());
    for seed in 0..SESSIONS {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut disk, mut known) = (Tree::empty(), Known::default());
        for number in 0..LIVES {
            let life = lived(&session, &disk, known.clone(), rng.random());
            (kills, full) = (kills + life.kills, full + life.full);
            let mut next = None;
            for image in 0..IMAGES {
                let (at, tree) = power_cut(&life, rng.random());
                images += 1;
                opening += u64::from(at <= opened(&life));
                match checked(&session, &life, at, &tree) {
                    Ok(found) => next = Some((tree, found)),
                    Err(lost) => {
                        let of = life.recording.changes.len();
                        let place =
                            format!("session {seed}, life {number}, image {image}, change {at} of {of}");
                        failures.push(format!("{place}: {lost}"));
                    }
                }
            }
            // The power comes back, and goes again in the next life.
            (disk, known) = next.expect("one image of a life is whole");
        }
    }
    println!(
        "{images} images, {opening} of them cut while the store was opened, of lives with {kills} kills and \
         {full} times a full disk: {} failures",
        failures.len()
    );
    assert_eq!(images, 300);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// So that the test above means something: without one of the barriers it would fail.
#[test]
fn each_barrier_is_missed_when_it_is_gone() {
    type Forgets = fn(&Path) -> bool;
    let barriers: [(&str, Forgets); 8] = [
        ("blocks", |path| path.extension().is_some_and(|extension| extension == "blocks")),
        ("names of chain files", |path| path.ends_with("chain")),
        ("the database", |path| path.ends_with("sled/db")),
        ("checkpoints", |path| path.to_string_lossy().ends_with(".checkpoint.tmp")),
        ("names of checkpoints", |path| path.ends_with("checkpoints")),
        ("blobs and pages", |path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tmp-"))
        }),
        ("names of blobs", |path| path.ends_with("blobs") && !path.ends_with("sled/blobs")),
        ("names of pages", |path| path.ends_with("pages")),
    ];
    let session = Session::new();
    for (name, forgets) in barriers {
        let mut tried = 0;
        let lost = (0..8).find_map(|seed| {
            let mut life = lived(&session, &Tree::empty(), Known::default(), seed);
            life.recording = life.recording.without_barriers(forgets);
            (0..25).find_map(|cut| {
                tried += 1;
                let (at, tree) = power_cut(&life, cut);
                checked(&session, &life, at, &tree).err()
            })
        });
        println!(
            "without the barrier of {name}, image {tried}: {}",
            lost.as_deref().unwrap_or("nothing lost")
        );
        assert!(lost.is_some(), "{name}");
    }
}

#[test]
fn the_recorder_misses_nothing() {
    let (session, room) = (Session::new(), room());
    let life = Peer::live(&session, room.path(), Known::default(), 150, StdRng::seed_from_u64(1));
    let count =
        |kind: fn(&Change) -> bool| life.recording.changes.iter().filter(|change| kind(change)).count();
    let writes = count(|change| matches!(change, Change::Write { .. }));
    let barriers = count(|change| matches!(change, Change::Synced { .. }));
    println!("{writes} writes, {barriers} barriers");
    assert!(writes > 150 && barriers > 150);
    let (seen, there) = (crash::whole(&life.recording), Tree::read(room.path()));
    assert_eq!(seen.files().keys().collect::<Vec<_>>(), there.files().keys().collect::<Vec<_>>());
    for (path, bytes) in seen.files() {
        assert!(bytes == there.files()[&path], "{path:?} differs");
    }
}

/// A folder for disks: in memory where there is one.
fn room() -> tempfile::TempDir {
    let memory = PathBuf::from("/dev/shm");
    tempfile::tempdir_in(&memory).or_else(|_| tempfile::tempdir()).unwrap()
}

fn lived(session: &Session, disk: &Tree, known: Known, seed: u64) -> Life {
    let room = room();
    disk.write(room.path());
    Peer::live(session, room.path(), known, STEPS, StdRng::seed_from_u64(seed))
}

/// A disk of this life: cut anywhere, while the store was opened, or right behind something that
/// was acknowledged.
fn power_cut(life: &Life, seed: u64) -> (usize, Tree) {
    let mut rng = StdRng::seed_from_u64(seed);
    let changes = &life.recording.changes;
    let mut at = rng.random_range(0..=changes.len());
    match rng.random_range(0..6) {
        0 | 1 => {
            let mark = changes[..at].iter().rposition(|change| matches!(change, Change::Mark(_)));
            at = mark.map_or(0, |mark| mark + 1);
        }
        2 => at = rng.random_range(0..=opened(life)),
        _ => {}
    }
    (at, crash::cut(&life.recording, at, &mut rng))
}

/// The change at which the store was open for the first time.
fn opened(life: &Life) -> usize {
    let first = |change: &Change| matches!(change, Change::Mark(1));
    life.recording.changes.iter().position(first).expect("the store was opened")
}

/// Compares with what was acknowledged before change `at`.
fn checked(session: &Session, life: &Life, at: usize, tree: &Tree) -> Result<Known, String> {
    let last = life.recording.changes[..at].iter().rev().find_map(|change| match change {
        Change::Mark(number) => Some(*number),
        _ => None,
    });
    let room = room();
    tree.write(room.path());
    check(session, room.path(), &life.moments[last.unwrap_or(0)], life)
}
