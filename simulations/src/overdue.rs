//! A height that is overdue: what bounds the wait for it, and whether the voters could have decided it.

use driftless_protocol::charter::Charter;
use driftless_protocol::event::Waiting;
use driftless_protocol::identity::PeerKey;
use driftless_protocol::time::Span;

use crate::checkers::{Promise, Terms};
use crate::engine::Nominal;
use crate::peer::Peer;
use crate::setup::{Lie, Setup};
use crate::world::{Violation, World};

impl World {
    /// A height is due: could the voters have decided it? If not, they have as long again from now on.
    pub(crate) fn look_at_progress(&mut self) -> Result<(), Violation> {
        let control = &self.certified().control;
        let complete = self.charter.manifest.stop_at.is_some_and(|stop_at| control.counted_tokens >= stop_at);
        let seats: Vec<PeerKey> = control.seats.clone();
        let there = seats.iter().filter(|key| control.seat_of(key).is_some());
        let able: Vec<usize> =
            there.filter_map(|key| self.index(key)).filter(|peer| self.can_decide(*peer)).collect();
        let reach = |peer: &usize| able.iter().filter(|other| self.network.joins(*peer, **other)).count();
        let together = able.iter().map(reach).max().unwrap_or(0);
        let enough = together >= self.charter.quorum(seats.len());
        if enough && !complete && !self.network.loses() {
            let what = self.checkers.progress.late(self.now, together, seats.len());
            return Err(self.violation(able[0], Promise::Progress.broken(what)));
        }
        self.checkers.progress.disturbed(self.now);
        Ok(())
    }

    /// Whether a voter is up and honest, and nothing keeps it from voting but time.
    fn can_decide(&self, peer: usize) -> bool {
        let Peer { session: Some(session), setup, miscomputes, unreadable, .. } = &self.peers[peer] else {
            return false;
        };
        let status = session.status();
        let honest = matches!(setup.lie, None | Some(Lie::Boasts)) && !miscomputes && !unreadable;
        let writes = self.peers[peer].full.is_none();
        honest
            && writes
            && status.halted.is_none()
            && status.barred.is_none()
            && status.waiting != Waiting::Repair
    }

    /// Seats that the quorum does without.
    pub(crate) fn spare_seats(&self) -> usize {
        let seats = self.certified().control.seats.len();
        seats.saturating_sub(self.charter.quorum(seats))
    }
}

/// What bounds the time until the next height.
pub(crate) fn progress_terms(setup: &Setup, charter: &Charter, nominal: Option<&Nominal>) -> Terms {
    let links = setup.special.iter().map(|(.., link)| link).chain([&setup.link]);
    let latency = links.clone().map(|link| link.latency + link.jitter).max().unwrap_or(Span::ZERO);
    let method = &charter.manifest.method;
    let lengths = charter.lengths.iter().map(|values| method.longest(*values));
    let one: u64 = lengths.map(|length| nominal.map_or(length, |nominal| nominal.length(length))).sum();
    let peers = setup.peers.len() as u64;
    // Over a path go the contributions of one peer, over a line those of all, or of one to all.
    let path = links.filter_map(|link| link.bandwidth).min().map(|rate| (one, rate));
    let rates = setup.peers.iter().flat_map(|peer| [peer.access.up, peer.access.down]);
    let line = rates.flatten().min().map(|rate| (one.saturating_mul(peers), rate));
    let time = |(bytes, rate): (u64, u64)| Span(bytes.saturating_mul(1_000_000) / rate.max(1));
    let blobs = path.map(time).into_iter().chain(line.map(time)).max().unwrap_or(Span::ZERO);
    let boasts = setup.peers.iter().any(|peer| peer.lie == Some(Lie::Boasts));
    let heartbeat = charter.manifest.heartbeat;
    let (detection, elected) = (setup.detection, setup.elected);
    Terms { heartbeat, latency, detection, blobs, peers, boasts, elected }
}
