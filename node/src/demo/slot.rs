//! `driftless bench slot`: how long a slot takes when there is next to nothing to train.
//!
//! A demo of a one-million-parameter model in f32 whose slots have one inner step on one short
//! sample: what is left is announcing, fetching, aggregating, deciding and applying. A slot's time
//! is from the first announcement until the last peer applied the block that closed it, as seen by
//! this process.

use std::ops::Add;

use driftless_protocol::codec::Codec;
use driftless_protocol::manifest::{DeadlineBounds, Manifest, Preset};
use driftless_protocol::method::Method;
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::time::Span;
use serde::Serialize;

use super::ledger::{Ledger, Peer};
use super::setup::{self, Plan};
use super::table::Table;
use super::troupe::Troupe;
use super::{Place, summary};
use crate::args::BenchSlotArguments;
use crate::blobs::bench::median;
use crate::commands::CommandError;
use crate::disk_use::DiskUse;
use crate::output::{Output, bytes};

/// Slots before the first measured one.
const WARM_UP: u32 = 3;

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct SlotReport {
    measured: &'static str,
    parameters: u64,
    peers: usize,
    slots: usize,
    /// Contributions counted per slot, mean.
    counted: f64,
    /// From the first announcement to the state applied everywhere, median.
    seconds: f64,
    fastest: f64,
    slowest: f64,
    /// Bytes that a peer sent per slot, mean over peers and slots.
    bytes_per_peer: f64,
    /// The same in multiples of the model.
    times_model: f64,
    /// What writing to the disk cost a peer per slot: barriers, bytes, seconds of all its threads.
    fsyncs: f64,
    bytes_written: f64,
    disk_seconds: f64,
    /// Those seconds in terms of the slot's.
    disk_share: f64,
    replicas_identical: bool,
}

/// Measures slots.
pub async fn run(options: &BenchSlotArguments, output: Output) -> Result<(), CommandError> {
    let plan = plan(options)?;
    let place = Place::new(None)?;
    let stage = setup::prepare(&plan, place.path())?;
    let dirs: Vec<_> = stage.children.iter().map(|child| child.dir.clone()).collect();
    output.note(&format!(
        "{} slots of {} parameters in f32 among {} peers",
        options.slots, stage.facts.parameters, plan.peers
    ));
    // Only the result goes to standard output.
    let quiet = Table::hidden();
    let ledger = Troupe::new(stage, quiet, Output::new(false))?.run().await?;
    let report = report(&ledger, summary::Summary::of(&ledger, &dirs).replicas_identical);
    output.result(&report, || {
        format!(
            "median {:.0} ms a slot ({:.0} to {:.0}), from the first announcement to the state applied \
             everywhere; each peer sends {} a slot, {:.2} times the model; it waits for {:.0} barriers and \
             writes {} in {:.0} ms, {:.0}% of the slot",
            report.seconds * 1e3,
            report.fastest * 1e3,
            report.slowest * 1e3,
            bytes(report.bytes_per_peer as u64),
            report.times_model,
            report.fsyncs,
            bytes(report.bytes_written as u64),
            report.disk_seconds * 1e3,
            report.disk_share * 100.0
        )
    });
    Ok(())
}

fn plan(options: &BenchSlotArguments) -> Result<Plan, CommandError> {
    let preset = Manifest::preset("gpt:tiny").map_err(|error| CommandError::Failed(error.to_string()))?;
    let mut method = preset.method;
    if let Method::StreamingDiLoCo(method) = &mut method {
        (method.fragments, method.period, method.tau, method.codec) = (1, 1, 0, Codec::F32);
    }
    let shape = GptShape { layers: 1, heads: 4, width: 280, context: 8, vocabulary: 256 };
    let mut training = preset.training;
    training.batch = 1;
    let peers = usize::from(options.peers);
    let stop_at = u64::from(options.slots + WARM_UP) * peers as u64 * u64::from(shape.context);
    training.budget_tokens = stop_at;
    Ok(Plan {
        peers,
        preset: Preset { model: Model::Gpt(shape), method, training },
        stop_at,
        data: Vec::new(),
        deadline: DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) },
        threads: 1,
        // Checkpoints are no part of a slot.
        arguments: vec!["--checkpoint-every".into(), "1000000".into()],
    })
}

fn report(ledger: &Ledger, replicas_identical: bool) -> SlotReport {
    let facts = ledger.facts;
    let measured = ledger.slots.values().skip(WARM_UP as usize);
    let seconds: Vec<f64> = measured
        .filter_map(|slot| Some(slot.applied?.saturating_sub(slot.announced).as_secs_f64()))
        .collect();
    let sent: u64 = ledger.peers.iter().map(Peer::bytes_sent).sum();
    let slots = ledger.slots.len().max(1) as f64;
    let bytes_per_peer = sent as f64 / facts.peers as f64 / slots;
    let model = 4.0 * facts.parameters as f64;
    let disk = ledger.peers.iter().map(Peer::disk_use).fold(DiskUse::default(), DiskUse::add);
    let per_slot = |total: f64| total / facts.peers as f64 / slots;
    let disk_seconds = per_slot(disk.seconds);
    let typical = median(&seconds);
    SlotReport {
        measured: "slot",
        parameters: facts.parameters,
        peers: facts.peers,
        slots: seconds.len(),
        counted: ledger.counted_bytes() as f64 / model / slots,
        seconds: typical,
        fastest: seconds.iter().copied().fold(f64::INFINITY, f64::min),
        slowest: seconds.iter().copied().fold(0.0, f64::max),
        bytes_per_peer,
        times_model: bytes_per_peer / model,
        fsyncs: per_slot(disk.fsyncs as f64),
        bytes_written: per_slot(disk.bytes_written as f64),
        disk_seconds,
        disk_share: if typical > 0.0 { disk_seconds / typical } else { 0.0 },
        replicas_identical,
    }
}
