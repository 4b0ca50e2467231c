//! What does not fit, with the numbers, and the nearest thing that does.

use std::fmt;

use super::{Circumstances, Line, Memory, Peers, Plan, Role, pace, plan};
use crate::manifest::{Manifest, Preset};
use crate::method::MethodName;
use crate::model::Model;

/// What a peer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of disk.
    pub disk: Option<u64>,
}

/// One reason why a session cannot run as planned.
#[derive(Clone, PartialEq, Debug)]
pub enum Misfit {
    /// More memory than there is.
    Memory {
        /// What it takes.
        needed: Memory,
        /// What there is.
        limit: u64,
    },
    /// More disk than there is.
    Disk {
        /// Whose.
        role: Role,
        /// What it takes.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// A line that is slower than the manifest admits: its pushes are given up.
    Line {
        /// Whose.
        role: Role,
        /// Its bytes per second, in the slower direction.
        rate: u64,
        /// The slowest admitted.
        slowest: u64,
    },
    /// The slowest line that the manifest admits never has a slot's contributions before the slot ends.
    Slot {
        /// Bytes that a contributor takes or gives for one slot.
        bytes: u64,
        /// Contributions of a slot.
        drawn: u32,
        /// Bytes of one.
        blob: u64,
        /// The slowest admitted, in bytes per second.
        slowest: u64,
        /// The longest that a slot waits, in seconds.
        longest: u64,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Memory { needed, limit } => {
                let sum: Vec<String> =
                    needed.items().map(|(what, bytes)| format!("{} {what}", size(*bytes))).collect();
                let (total, limit) = (size(needed.total()), size(*limit));
                write!(f, "memory: {} = {total}, and there are {limit}", sum.join(" + "))
            }
            Misfit::Disk { role, needed, limit } => {
                let (needed, limit) = (size(*needed), size(*limit));
                write!(f, "disk: a {} takes {needed}, and there are {limit}", role.as_str())
            }
            Misfit::Line { role, rate, slowest } => write!(
                f,
                "line: a {} has {}/s, the slowest that the session admits is {}/s (`slowest_link`)",
                role.as_str(),
                size(*rate),
                size(*slowest)
            ),
            Misfit::Slot { bytes, drawn, blob, slowest, longest } => write!(
                f,
                "slowest line: {} contributions of {} to a slot are {} with all overhead, which take {} s at the \
                 {}/s that the session admits (`slowest_link`), and a slot ends after {longest} s at most \
                 (`deadline.maximum`)",
                drawn.saturating_sub(1),
                size(*blob),
                size(*bytes),
                bytes / slowest.max(&1),
                size(*slowest)
            ),
        }
    }
}

/// Every reason against a plan.
pub fn misfits(manifest: &Manifest, around: &Circumstances, limits: Limits, plan: &Plan) -> Vec<Misfit> {
    let mut found = Vec::new();
    let present = Role::ALL.into_iter().filter(|role| around.peers.with_role(*role) > 0);
    let roles: Vec<Role> = present.collect();
    let memory = roles.iter().map(|role| &plan.roles.of(*role).memory).max_by_key(|memory| memory.total());
    if let (Some(limit), Some(needed)) = (limits.memory, memory)
        && needed.total() > limit
    {
        found.push(Misfit::Memory { needed: needed.clone(), limit });
    }
    let slowest = manifest.slowest_link;
    for role in roles {
        let needed = plan.roles.of(role).disk.total();
        if let Some(limit) = limits.disk.filter(|limit| needed > *limit) {
            found.push(Misfit::Disk { role, needed, limit });
        }
        let Line { up, down } = *around.lines.of(role);
        let rate = [up.limit(), down.limit()].into_iter().flatten().min();
        if let Some(rate) = rate.filter(|rate| *rate < slowest) {
            found.push(Misfit::Line { role, rate, slowest });
        }
    }
    let longest = manifest.deadline.maximum.0 / 1_000_000;
    // The first contribution of a member may be much longer than the next ones.
    let fragments = manifest.layout().fragments.into_iter().map(|fragment| fragment.len as usize);
    let blob = fragments.map(|values| manifest.method.blob_bytes(values)).max().unwrap_or(0);
    let bytes = (f64::from(plan.drawn.saturating_sub(1)) * blob as f64 * pace::WIRE) as u64;
    if bytes / slowest.max(1) > longest {
        found.push(Misfit::Slot { bytes, drawn: plan.drawn, blob, slowest, longest });
    }
    found
}

/// Something near a session that fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nearest {
    /// The same with another method.
    Method(MethodName),
    /// The same with so many contributors.
    Contributors(u32),
    /// The same method with a smaller model.
    Model(&'static str),
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Nearest::Method(name) => write!(f, "--method {name} fits"),
            Nearest::Contributors(1) => write!(f, "1 contributor fits"),
            Nearest::Contributors(count) => write!(f, "{count} contributors fit"),
            Nearest::Model(name) => write!(f, "--model {name} fits"),
        }
    }
}

/// The nearest session that fits: another method, else fewer contributors, else a smaller model.
pub fn nearest(
    manifest: &Manifest,
    name: Option<MethodName>,
    around: &Circumstances,
    limits: Limits,
) -> Option<Nearest> {
    let fits = |manifest: &Manifest, around: &Circumstances| {
        let plan = plan(manifest, around);
        manifest.check().is_ok() && misfits(manifest, around, limits, &plan).is_empty()
    };
    let others = MethodName::ALL.into_iter().filter(|other| Some(*other) != name && !other.is_fine_tuning());
    let with = |other: MethodName| Some((other, changed(manifest, manifest.model, other)?));
    let mut methods = others.filter_map(with);
    if let Some((other, _)) = methods.find(|(_, manifest)| fits(manifest, around)) {
        return Some(Nearest::Method(other));
    }
    let fewer = |contributors: u32| {
        let peers = Peers { contributors, voters: around.peers.voters.min(contributors), ..around.peers };
        fits(manifest, &Circumstances { peers, ..*around })
    };
    if let Some(count) = most(around.peers.contributors.saturating_sub(1), fewer) {
        return Some(Nearest::Contributors(count));
    }
    let size = manifest.model.parameters();
    let smaller = Model::NAMES.into_iter().rev().find(|smaller| {
        let model = Model::named(smaller).ok().filter(|model| model.parameters() < size);
        let changed = model.and_then(|model| changed(manifest, model, name.unwrap_or(MethodName::DEFAULT)));
        changed.is_some_and(|changed| fits(&changed, around))
    });
    smaller.map(Nearest::Model)
}

/// The session with a named model and a method that suits it; none if the model has no name.
fn changed(manifest: &Manifest, model: Model, name: MethodName) -> Option<Manifest> {
    let known = Model::NAMES.into_iter().find(|known| Model::named(known) == Ok(model))?;
    let preset = Manifest::preset(known).ok()?.with_method(name);
    let Preset { model, method, training } = preset;
    Some(Manifest { model, method, training, ..manifest.clone() })
}

/// The largest count from 1 to `high` for which it holds, if a larger one never does where a smaller one does
/// not.
fn most(high: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut low, mut high) = (0, high);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    (low > 0).then_some(low)
}

/// Bytes as people say them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, f64); 4] = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let value = bytes as f64;
    match UNITS.iter().find(|(_, unit)| value >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", value / unit),
        None => format!("{bytes} B"),
    }
}
