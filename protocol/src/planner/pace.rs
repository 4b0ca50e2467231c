//! How long an exchange takes, and how much of it training waits for.
//!
//! A slot's blobs share the lines; its end is a number of ways through the network later. A peer trains on for
//! `tau + max_overrun` steps without the certificate (a slot and more where the window is 2), and contributes to
//! a slot once it is open. That is played for some periods, as `driftless-sim table streaming-diloco-4` does
//! for the paper's methods, and what part of the time was training is the utilization.
//! Not counted: candidate states and encodings, which take the processor's time, and packets that are lost.

use super::control::Words;
use super::deliveries::Deliveries;
use super::{ByRole, Circumstances, Line, Role};
use crate::manifest::Manifest;
use crate::method::Method;
use crate::rate::Rate;

/// Bytes on the wire for one of a blob: QUIC's framing and acknowledgements (1.023, measured), and the hash
/// tree's 64 bytes for every 16 KiB (1.004).
pub(super) const WIRE: f64 = 1.027;

/// Bytes that a line carries for one of those: the headers of UDP, IP and Ethernet, 42 bytes for a packet of 1,200
/// in the mean (1.035, measured by `driftless-throttled`). A process does not count them, nor does a cap of its own.
const HEADERS: f64 = 1.035;

/// Ways between two peers from a contribution to its certificate among voters: a push is offered, accepted, given
/// and acknowledged; then it is announced.
const PUSH_AND_ANNOUNCE: f64 = 5.0;
/// A request and its answer.
const FETCH: f64 = 2.0;
/// The proposal and two votes.
const VOTES: f64 = 3.0;
/// The block.
const BLOCK: f64 = 1.0;

/// Periods that are played, and how many of them do not count because they are the beginning.
const PERIODS: u32 = 24;
const BEGINNING: u32 = 4;

/// A session's times, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    /// From a contribution to the largest stream until its certificate is used: of it the blobs, ...
    pub transfer: f64,
    /// ... and with everything that is said.
    pub exchange: f64,
    /// For so long a contributor trains on without that.
    pub covered: f64,
    /// Between two contributions to a stream.
    pub period: f64,
    /// Share of the time that a drawn contributor trains.
    pub utilization: f64,
    /// Tokens counted in a second, all contributors together.
    pub tokens_per_second: f64,
    /// Until the tokens are counted.
    pub seconds: f64,
}

/// One exchange.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Exchange {
    /// For so long the busiest line carries nothing of the next one.
    line: f64,
    /// Until all contributors have all blobs, ...
    transfer: f64,
    /// ... and the certificate.
    whole: f64,
}

/// Steps that a peer trains on after a contribution, without its certificate.
fn covered(method: &Method, steps: u32) -> u64 {
    let allowed = u64::from(method.tau()) + u64::from(method.overrun_steps());
    // With a window of 2 the next slot is trained while this one is decided.
    allowed.max(u64::from(steps) * u64::from(method.window().saturating_sub(1)))
}

/// Plans the times of a session whose contributors take `steps` between contributions to a stream.
pub(super) fn pace(
    manifest: &Manifest,
    around: &Circumstances,
    steps: u32,
    blobs: &[u64],
    deliveries: &Deliveries,
    words: &ByRole<Words>,
) -> Pace {
    let exchanges: Vec<Exchange> =
        blobs.iter().map(|blob| exchange(around, *blob as f64 * WIRE * HEADERS, deliveries, words)).collect();
    let largest = exchanges.iter().copied().max_by(|a, b| a.whole.total_cmp(&b.whole));
    let largest = largest.unwrap_or(Exchange { line: 0.0, transfer: 0.0, whole: 0.0 });
    let step = 1.0 / around.steps_per_second;
    let mut method = manifest.method.clone();
    method.set_period(steps);
    let stride = stride(manifest, around, words, step, steps);
    let utilization = play(&method, stride, &exchanges) * step / stride;
    let drawn = around.peers.contributors.min(u32::from(manifest.max_contributors));
    let per_step = f64::from(manifest.training.batch) * f64::from(manifest.model.context());
    let tokens_per_second = f64::from(drawn) * per_step * around.steps_per_second * utilization;
    Pace {
        transfer: largest.transfer,
        exchange: largest.whole,
        covered: covered(&method, steps) as f64 * step,
        period: f64::from(steps) * step / utilization,
        utilization,
        tokens_per_second,
        seconds: around.tokens as f64 / tokens_per_second,
    }
}

/// Seconds between two steps. Where every step has a list, a peer waits for it, if it may not be so far ahead.
fn stride(manifest: &Manifest, around: &Circumstances, words: &ByRole<Words>, step: f64, steps: u32) -> f64 {
    let Some(method) = manifest.method.one_byte().filter(|_| around.peers.count() > 1) else { return step };
    let line = Role::ALL.into_iter().filter(|role| around.peers.with_role(*role) > 0).map(|role| {
        let (said, line) = (words.of(role), around.lines.of(role));
        (through(said.sent, line.up)).max(through(said.received, line.down)) / f64::from(steps)
    });
    // A list waits for whoever measures others' samples again.
    let others = around.peers.contributors.min(u32::from(manifest.max_contributors)).saturating_sub(1);
    let step = step * (1.0 + f64::from(method.audit) * f64::from(others));
    let there_and_back = 2.0 * around.latency.0 as f64 / 1e6;
    let line = line.fold(0.0, f64::max);
    // The first of the steps ahead is measured while the list of the one before comes.
    step.max((step + there_and_back + line) / f64::from(method.staleness + 1)).max(line)
}

/// Seconds that so many bytes take.
fn through(bytes: f64, rate: Rate) -> f64 {
    rate.limit().map_or(0.0, |limit| bytes / limit as f64)
}

/// An exchange of blobs of so many bytes. Followers are not waited for.
fn exchange(around: &Circumstances, blob: f64, deliveries: &Deliveries, words: &ByRole<Words>) -> Exchange {
    let peers = &around.peers;
    let present = [Role::Voter, Role::Contributor].into_iter().filter(|role| peers.with_role(*role) > 0);
    let roles: Vec<Role> = present.collect();
    let slowest = |time: &dyn Fn(Role, Line) -> f64| {
        roles.iter().map(|role| time(*role, *around.lines.of(*role))).fold(0.0, f64::max)
    };
    let line = slowest(&|role, line| {
        let (one, said) = (deliveries.per_peer.of(role), words.of(role));
        let up = through(one.sent * blob + said.sent, line.up);
        up.max(through(one.received * blob + said.received, line.down))
    });
    // First what voters need: pushes, and the mirrors' service; ...
    let first = slowest(&|role, line| {
        let one = deliveries.per_peer.of(role);
        let down = if role == Role::Voter { one.received } else { one.pushed };
        through(one.sent_first * blob, line.up).max(through(down * blob, line.down))
    });
    // ... then, where others wait for it too, what they fetch from its authors.
    let others = peers.with_role(Role::Contributor) > 0;
    let second = slowest(&|role, line| {
        let one = deliveries.per_peer.of(role);
        let down = if role == Role::Contributor { one.received - one.pushed } else { 0.0 };
        through((one.sent - one.sent_first) * blob, line.up).max(through(down * blob, line.down))
    });
    let transfer = (first + if others { second } else { 0.0 }).max(line);
    let mut ways = 0.0;
    if peers.count() > 1 {
        ways += PUSH_AND_ANNOUNCE;
        ways += if deliveries.voters_fetch { FETCH } else { 0.0 };
        ways += if peers.voters > 1 { VOTES } else { 0.0 };
        ways += if others { BLOCK + FETCH } else { 0.0 };
    }
    Exchange { line, transfer, whole: transfer + ways * around.latency.0 as f64 / 1e6 }
}

/// A contribution whose certificate is awaited.
struct Flight {
    stream: usize,
    ordinal: u32,
    /// The step that is not gone past without it.
    limit: u64,
    ready: f64,
}

/// The share of the time in which one peer trains whose steps take so long.
fn play(method: &Method, step_time: f64, exchanges: &[Exchange]) -> f64 {
    let steps = method.period();
    let schedule = method.schedule();
    let cover = covered(method, steps);
    let streams = (0..exchanges.len()).map(|stream| stream as u16);
    let turns = streams.flat_map(|stream| (0..PERIODS).map(move |ordinal| (stream, ordinal)));
    let mut turns: Vec<(u64, u16, u32)> =
        turns.map(|(stream, ordinal)| (schedule.due(stream, ordinal), stream, ordinal)).collect();
    turns.sort_unstable();
    let (mut now, mut step, mut line_is_free) = (0.0_f64, 0_u64, 0.0_f64);
    let mut flights: Vec<Flight> = Vec::new();
    let mut counted_from = None;
    for (due, stream, ordinal) in turns {
        if ordinal == BEGINNING && counted_from.is_none() {
            counted_from = Some((now, step));
        }
        // Training goes past no limit without the certificate; ...
        flights.sort_by_key(|flight| flight.limit);
        while let Some(flight) = flights.first().filter(|flight| flight.limit < due) {
            now += flight.limit.saturating_sub(step) as f64 * step_time;
            (now, step) = (now.max(flight.ready), step.max(flight.limit));
            flights.remove(0);
        }
        now += (due - step) as f64 * step_time;
        step = due;
        // ... and a slot opens once one before it closed.
        let stream = usize::from(stream);
        let open = |flight: &Flight| flight.stream != stream || flight.ordinal + method.window() > ordinal;
        for closed in flights.extract_if(.., |flight| !open(flight)) {
            now = now.max(closed.ready);
        }
        let begun = now.max(line_is_free);
        line_is_free = begun + exchanges[stream].line;
        let ready = begun + exchanges[stream].whole;
        flights.push(Flight { stream, ordinal, limit: due + cover, ready });
    }
    let (from, first) = counted_from.unwrap_or((0.0, 0));
    ((step - first) as f64 * step_time / (now - from)).min(1.0)
}
