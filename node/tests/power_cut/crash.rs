//! What a disk may hold after the power went.
//!
//! | what | survives |
//! |---|---|
//! | bytes and length of a file before its last barrier | yes |
//! | bytes written since | each sector of 512 bytes as after any of its writes, or as before them |
//! | a file's length since | as after any of its changes, or at any sector between |
//! | names in a folder before the folder's last barrier | yes |
//! | names made, moved or removed since | the first few; outside of sled's folder any of them |
//!
//! A barrier of a file says nothing about its name, and one of a folder nothing about what is in
//! the folders below. Nothing orders one file against another but barriers. sled renames its new
//! index before it removes the old one and waits for neither, so it needs what file systems with a
//! journal give: names change in order.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::recording::{Change, Recording};
use super::tree::{Node, Tree};

pub const SECTOR: usize = 512;

/// How one file or folder comes out of it.
#[derive(Debug, Clone, Copy)]
enum Survival {
    Nothing,
    Everything,
    /// The first changes, the last of them torn.
    Beginning,
    /// Each change, or not.
    Any,
    /// Each sector for itself.
    Sectors,
}

/// The disk after the power went behind the first `at` changes.
pub fn cut(recording: &Recording, at: usize, rng: &mut StdRng) -> Tree {
    let mut tree = recording.before.clone();
    let mut pending: Vec<Vec<&Change>> = vec![Vec::new(); tree.nodes.len()];
    for change in &recording.changes[..at] {
        match change {
            Change::Mark(_) => {}
            Change::Synced { inode } => {
                pending[*inode].drain(..).for_each(|change| apply(&mut tree.nodes[*inode], change));
            }
            Change::Made { folder, is_folder, .. } => {
                tree.nodes.push(if *is_folder {
                    Node::Folder(Default::default())
                } else {
                    Node::File(Vec::new())
                });
                pending.push(Vec::new());
                pending[*folder].push(change);
            }
            Change::Moved { folder, .. } | Change::Removed { folder, .. } => pending[*folder].push(change),
            Change::Write { file, .. } | Change::Length { file, .. } => pending[*file].push(change),
        }
    }
    use Survival::{Any, Beginning, Everything, Nothing, Sectors};
    let all = match rng.random_range(0..10) {
        0 => Some(Nothing),
        1 => Some(Everything),
        _ => None,
    };
    for (node, changes) in tree.nodes.iter_mut().zip(pending) {
        let each = [Nothing, Everything, Beginning, Any, Any, Sectors, Sectors].choose(rng).copied();
        let survival = all.or(each).unwrap();
        match node {
            _ if changes.is_empty() => {}
            Node::Folder(_) => survive_names(node, &changes, survival, rng),
            Node::File(bytes) => survive_bytes(bytes, &changes, survival, rng),
        }
    }
    tree
}

/// The disk if the power stayed on.
pub fn whole(recording: &Recording) -> Tree {
    let mut everything = recording.clone();
    let nodes = recording.changes.iter().filter(|change| matches!(change, Change::Made { .. })).count();
    let all = 0..recording.before.nodes.len() + nodes;
    everything.changes.extend(all.map(|inode| Change::Synced { inode }));
    cut(&everything, everything.changes.len(), &mut rand::SeedableRng::seed_from_u64(0))
}

fn apply(node: &mut Node, change: &Change) {
    match (node, change) {
        (Node::File(file), Change::Write { offset, bytes, .. }) => {
            let (from, to) = (*offset as usize, *offset as usize + bytes.len());
            file.resize(file.len().max(to), 0);
            file[from..to].copy_from_slice(bytes);
        }
        (Node::File(file), Change::Length { length, .. }) => file.resize(*length as usize, 0),
        (Node::Folder(names), Change::Made { name, inode, .. }) => drop(names.insert(name.clone(), *inode)),
        (Node::Folder(names), Change::Moved { from, to, inode, .. }) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        (Node::Folder(names), Change::Removed { name, .. }) => drop(names.remove(name)),
        (node, change) => panic!("{change:?} does not fit {node:?}"),
    }
}

fn survive_names(node: &mut Node, changes: &[&Change], survival: Survival, rng: &mut StdRng) {
    let beginning = rng.random_range(0..=changes.len());
    let of_sled = |change: &&Change| matches!(change, Change::Moved { to, .. } if to.to_string_lossy().starts_with("snap."));
    let ordered = changes.iter().any(of_sled);
    for (index, change) in changes.iter().enumerate() {
        let survives = match survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Any if !ordered => rng.random(),
            _ => index < beginning,
        };
        if survives {
            apply(node, change);
        }
    }
}

fn survive_bytes(file: &mut Vec<u8>, changes: &[&Change], survival: Survival, rng: &mut StdRng) {
    let count = changes.len();
    let beginning = rng.random_range(0..=count);
    let mut lengths = vec![file.len()];
    for change in changes {
        let before = lengths[lengths.len() - 1];
        lengths.push(match change {
            Change::Write { offset, bytes, .. } => before.max(*offset as usize + bytes.len()),
            Change::Length { length, .. } => *length as usize,
            _ => before,
        });
    }
    let longest = *lengths.iter().max().unwrap();
    let mut bytes = std::mem::take(file);
    let before = bytes.len();
    bytes.resize(longest, 0);
    // How many of its changes each sector is behind.
    let mut limits: Vec<usize> = match survival {
        Survival::Sectors => (0..longest.div_ceil(SECTOR)).map(|_| rng.random_range(0..=count)).collect(),
        Survival::Everything => vec![count; longest.div_ceil(SECTOR)],
        _ => vec![beginning; longest.div_ceil(SECTOR)],
    };
    if let (Survival::Beginning, Some(Change::Write { offset, bytes, .. })) =
        (survival, changes.get(beginning))
    {
        let sectors = *offset as usize / SECTOR..(*offset as usize + bytes.len()).div_ceil(SECTOR);
        let torn = rng.random_range(sectors.start..=sectors.end);
        limits[sectors.start..torn].fill(beginning + 1);
    }
    for (index, change) in changes.iter().enumerate() {
        let whole = match survival {
            Survival::Nothing => continue,
            Survival::Any => rng.random(),
            _ => false,
        };
        if matches!(survival, Survival::Any) && !whole {
            continue;
        }
        let (from, content): (usize, &[u8]) = match change {
            Change::Write { offset, bytes, .. } => (*offset as usize, bytes),
            Change::Length { length, .. } => (*length as usize, &[]),
            _ => continue,
        };
        let to = if content.is_empty() { longest } else { from + content.len() };
        let mut at = from;
        while at < to {
            let end = to.min((at / SECTOR + 1) * SECTOR);
            if whole || index < limits[at / SECTOR] {
                match content {
                    [] => bytes[at..end].fill(0),
                    content => bytes[at..end].copy_from_slice(&content[at - from..end - from]),
                }
            }
            at = end;
        }
    }
    let length = match survival {
        Survival::Nothing => before,
        Survival::Everything => lengths[count],
        Survival::Beginning => lengths[(beginning + usize::from(rng.random::<bool>())).min(count)],
        Survival::Any | Survival::Sectors => any_length(&lengths, rng),
    };
    bytes.truncate(length);
    *file = bytes;
}

/// As after one of the changes, or at a sector between.
fn any_length(lengths: &[usize], rng: &mut impl Rng) -> usize {
    let (least, most) = (*lengths.iter().min().unwrap(), *lengths.iter().max().unwrap());
    let sector = rng.random_range(least.div_ceil(SECTOR)..=most.div_ceil(SECTOR)) * SECTOR;
    if rng.random() { sector.clamp(least, most) } else { lengths[rng.random_range(0..lengths.len())] }
}
