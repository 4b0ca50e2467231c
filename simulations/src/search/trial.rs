//! One world from its start to its end.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use driftless_protocol::event::{Command, Ending};
use driftless_protocol::time::{Span, Time};

use super::draw::Draw;
use crate::checkers::Promise;
use crate::faults::Fault;
use crate::peer::SetupError;
use crate::world::{Violation, World};

/// So long after the last fault, whoever is barred is told that its newer folder is gone.
const TOLD: Span = Span::seconds(12);
/// The end must have come by then, a bound on liveness: the longest sessions have 500 heights, over lines that
/// carry less than a kilobyte a second.
const END: Time = Time(Span::seconds(1_200).0);

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A promise was broken.
    Violation(Promise, String),
    /// Not all voters came to the end in time: where they stand.
    Stuck(String),
    /// Code of the product or of the simulator panicked.
    Panic(String),
}

impl Finding {
    /// Whether another finding is of the same kind.
    #[must_use]
    pub fn is_like(&self, other: &Finding) -> bool {
        match (self, other) {
            (Finding::Violation(promise, _), Finding::Violation(other, _)) => promise == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Who found it: a checker, the end that did not come, or a panic.
    #[must_use]
    pub fn by(&self) -> String {
        match self {
            Finding::Violation(promise, _) => promise.to_string(),
            Finding::Stuck(_) => "stuck".into(),
            Finding::Panic(_) => "panic".into(),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Finding::Violation(_, text) => write!(f, "a promise is broken: {text}"),
            Finding::Stuck(text) => write!(f, "not at the end after {} s\n{text}", END.0 / 1_000_000),
            Finding::Panic(text) => write!(f, "panicked: {text}"),
        }
    }
}

/// Runs a world to its end.
///
/// # Errors
/// What went wrong.
pub fn try_out(draw: &Draw) -> Result<(), Finding> {
    match panic::catch_unwind(AssertUnwindSafe(|| live(draw))) {
        Ok(result) => result,
        Err(cause) => Err(Finding::Panic(LAST.take().unwrap_or_else(|| message(cause.as_ref())))),
    }
}

fn live(draw: &Draw) -> Result<(), Finding> {
    let violated = |violation: Violation| Finding::Violation(violation.promise, violation.to_string());
    let impossible = |error: SetupError| Finding::Violation(Promise::Driver, error.to_string());
    let mut world = World::new(draw.setup.clone()).map_err(impossible)?;
    for wish in &draw.wishes {
        world.command(wish.at, wish.peer, wish.command);
    }
    world.run_until(draw.faults_end() + TOLD, |_| false).map_err(violated)?;
    for peer in 0..draw.setup.peers.len() {
        world.command(world.now(), peer, Command::VoteAgain);
    }
    // Voters come to the end; others may have lost their last words to the end of the others.
    let voters = |world: &World| -> Vec<usize> {
        let seats = &world.certified().control.seats;
        (0..world.peers().len()).filter(|peer| seats.contains(&world.peers()[*peer].key)).collect()
    };
    let over = |world: &World| voters(world).into_iter().all(|voter| world.peers()[voter].ending().is_some());
    world.run_until(END, over).map_err(violated)?;
    // One that came back with an old copy after it had seen the end finds nobody to ask, and one that
    // needs a snapshot of others may find that no more are made. One that computes wrongly halts.
    let late = |peer: usize| {
        draw.setup.faults.iter().any(|(_, fault)| match fault {
            Fault::Restore { peer: of, .. }
            | Fault::Unreadable { peer: of }
            | Fault::Miscompute { peer: of } => *of == peer,
            _ => false,
        })
    };
    let halts = |peer: usize| {
        let status = world.peers()[peer].session().map(|session| session.status());
        !late(peer) && status.is_some_and(|status| status.halted.is_some())
    };
    let ended = |peer: usize| match world.peers()[peer].ending() {
        // At four seats nobody may take the place of whoever left.
        Some(Ending::Left) => draw.setup.elected,
        Some(ending) => ending == Ending::Complete,
        None => late(peer),
    };
    let come_to_the_end = voters(&world).into_iter().all(ended) && !(0..world.peers().len()).any(halts);
    if come_to_the_end { Ok(()) } else { Err(Finding::Stuck(standing(&world))) }
}

/// Where every peer stands.
fn standing(world: &World) -> String {
    let line = |(index, peer): (usize, &crate::peer::Peer)| {
        let status = peer.session().map(|session| session.status());
        let stands = match (peer.ending(), status) {
            (Some(ending), _) => format!("{ending:?}"),
            (None, None) => "switched off".into(),
            (None, Some(status)) => {
                let why = status.halted.or(status.barred).map_or(String::new(), |why| format!(" ({why})"));
                format!("height {}, step {}, waiting: {:?}{why}", status.height, status.step, status.waiting)
            }
        };
        format!("  peer {index}: {stands}\n")
    };
    world.peers().iter().enumerate().map(line).collect()
}

thread_local! {
    /// The last panic of this thread, with its place.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps panics for [`try_out`] instead of printing them.
pub fn quietly() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map_or(String::new(), |at| format!(" at {}:{}", at.file(), at.line()));
        LAST.set(Some(format!("{}{place}", message(info.payload()))));
    }));
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".into())
}
