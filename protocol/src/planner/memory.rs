//! What a peer holds in memory, item by item: the one place that says what a session takes
//! (`node` refuses by it what a machine cannot train).
//!
//! The numbers are those of `compute`'s engine on the CPU, which every peer has: a follower evaluates with it.

use crate::manifest::Manifest;
use crate::model::Model;

/// Parts of a batch that have gradients of their own.
const SHARDS: u64 = 4;
/// The program, its threads' stacks and buffers, without a session.
const PROGRAM: u64 = 60 << 20;

/// Bytes of memory, by what they are for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    /// What is there all the time, and how many bytes.
    pub held: Vec<(&'static str, u64)>,
    /// What comes and goes, with the most that it may be.
    pub passing: Vec<(&'static str, u64)>,
}

impl Memory {
    /// The most of it.
    pub fn total(&self) -> u64 {
        sum(&self.held).saturating_add(sum(&self.passing))
    }

    /// What a session cannot run without.
    pub fn held(&self) -> u64 {
        sum(&self.held)
    }

    /// All of it, item by item.
    pub fn items(&self) -> impl Iterator<Item = &(&'static str, u64)> {
        self.held.iter().chain(&self.passing)
    }
}

fn sum(items: &[(&'static str, u64)]) -> u64 {
    items.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
}

/// What a session takes whose slots count `drawn` contributions, with so many compute threads.
pub fn memory(manifest: &Manifest, drawn: u32, threads: u32) -> Memory {
    let method = &manifest.method;
    let n = manifest.model.parameters();
    let fragment = manifest.layout().fragments.iter().map(|fragment| fragment.len).max().unwrap_or(0);
    let blob = method.blob_bytes(fragment as usize);
    let arrays = method.arrays() as u64;
    let parts = SHARDS.min(u64::from(manifest.training.batch));
    let times = |count: u64, bytes: u64| count.saturating_mul(bytes);
    // Of the next state only the fragment of the slot is new; it is computed on plain copies, with the mean.
    let members = u64::from(method.estimates().unwrap_or(0));
    let estimates = times(n, 4 * members);
    // Where they are kept, plain copies of all estimates too, and new pages of those who were counted.
    let counted = members.min(u64::from(drawn));
    let candidate = times(fragment, 4 * (arrays + arrays + 1 + members + counted));
    let kept = if method.feedback().is_some() { 4 } else { 0 };
    // The engine's bytes, and the record that they are put into.
    let checkpoint = times(n, 2 * (12 + kept));
    let encoding = times(fragment, 8 + kept).saturating_add(blob);
    let sent = if method.feedback().is_some() { times(fragment, 4) } else { 0 };
    let window = u64::from(method.window());
    let returning = if window > 1 { times(blob, window + 1) } else { 0 };
    if let Some(method) = method.one_byte() {
        return forward_only(manifest, threads, method.blob_bytes().saturating_mul(u64::from(drawn)));
    }
    let held = [
        ("the program", PROGRAM),
        ("parameters, and their transposes", times(n, 8)),
        // Both moments are there for every parameter; Muon leaves the second one of its matrices unused.
        ("optimizer moments", times(n, 8)),
        ("gradients of the batch's parts", times(n, 4 * parts)),
        ("activations", activations(manifest, threads)),
        ("outer state", times(n, 4 * arrays)),
        // 4 bytes per parameter and member.
        ("what is known of every member's gradient", estimates),
        ("own gradient and momentum", if members > 0 { times(n, 16) } else { 0 }),
        ("residual", times(n, kept).saturating_add(sent)),
        ("what was sent and may come back", returning),
    ];
    let passing = [
        ("candidate state", candidate),
        // Its pages are shared until the state has moved on.
        ("a snapshot being written", times(n, 4 * (arrays + counted))),
        ("a slot's contributions", times(blob, u64::from(drawn))),
        ("a checkpoint or contribution being written", checkpoint.max(encoding)),
    ];
    // Pages are taken and given back all the time. Two real peers of gpt:small had a fifth more than the rest comes to.
    let kept_free = sum(&held).saturating_add(sum(&passing)) / 5;
    let passing = passing.into_iter().chain([("what the allocator keeps", kept_free)]);
    let there = |(_, bytes): &(&str, u64)| *bytes > 0;
    Memory { held: held.into_iter().filter(there).collect(), passing: passing.filter(there).collect() }
}

/// What a session takes that trains by forward passes alone.
fn forward_only(manifest: &Manifest, threads: u32, contributions: u64) -> Memory {
    let n = manifest.model.parameters();
    let times = |bytes: u64| n.saturating_mul(bytes);
    let held = [
        ("the program", PROGRAM),
        ("parameters, and their transposes", times(8)),
        ("theta, and where it is moved along a direction", times(8)),
        ("activations of a layer", one_layer(manifest, threads)),
        ("outer state", times(4)),
    ];
    let passing = [
        ("candidate state", times(8)),
        ("a snapshot being written", times(4)),
        ("a slot's contributions", contributions),
    ];
    let kept_free = (sum(&held) + sum(&passing)) / 5;
    let passing = passing.into_iter().chain([("what the allocator keeps", kept_free)]);
    Memory { held: held.into(), passing: passing.collect() }
}

/// Activations of one layer's forward pass, for each thread.
fn one_layer(manifest: &Manifest, threads: u32) -> u64 {
    let all = activations(manifest, threads);
    match manifest.model {
        Model::Gpt(shape) => all / u64::from(shape.layers.max(1)),
        Model::Mlp(_) | Model::Cnn(_) | Model::Logistic(_) => all,
    }
}

/// What lies between forward and backward, for each thread that has a part of the batch.
fn activations(manifest: &Manifest, threads: u32) -> u64 {
    let batch = u64::from(manifest.training.batch);
    let parts = SHARDS.min(batch).max(1);
    let workers = parts.min(u64::from(threads.max(1)));
    let rows = batch.div_ceil(parts).saturating_mul(u64::from(manifest.model.context()));
    let values = match manifest.model {
        Model::Gpt(shape) => {
            let (layers, width) = (u64::from(shape.layers), u64::from(shape.width));
            let head = ((1 << 18) / u64::from(shape.vocabulary.max(1))).max(256).min(rows);
            let row = (12 * layers + 16).saturating_mul(width) + 2 * layers * u64::from(shape.heads);
            row.saturating_mul(rows).saturating_add(2 * head.saturating_mul(u64::from(shape.vocabulary)))
        }
        Model::Mlp(shape) => {
            let hidden = u64::from(shape.layers).saturating_mul(u64::from(shape.hidden));
            (2 * hidden + u64::from(shape.inputs) + 2 * u64::from(shape.classes)).saturating_mul(rows)
        }
        // Maps and their columns of nine, before and after each maximum.
        Model::Cnn(shape) => {
            let area = u64::from(shape.side).saturating_mul(u64::from(shape.side));
            let maps = u64::from(shape.channels) + 8 * u64::from(shape.filters);
            (10 * area.saturating_mul(maps) + 2 * u64::from(shape.classes)).saturating_mul(rows)
        }
        Model::Logistic(shape) => u64::from(shape.inputs).saturating_mul(rows),
    };
    values.saturating_mul(4).saturating_mul(workers)
}
