//! What was measured beside what is planned under the same circumstances.

use driftless_protocol::manifest::Manifest;
use driftless_protocol::planner::{ByRole, Circumstances, Line, Peers, Plan, Role, plan};
use driftless_protocol::rate::Rate;
use driftless_protocol::session::WRITES_PER_DAY;
use driftless_protocol::time::Span;
use driftless_tests::peers::netns::Carried;

use crate::measure::Measured;

/// One way between two peers with nothing else on their lines: below what anybody would notice.
const LATENCY: Span = Span::millis(1);

/// A method's session, and its plan.
pub struct Compared {
    /// The method's name.
    pub name: String,
    /// Inner steps of a period.
    pub steps: u32,
    /// Streams, each with a slot a period.
    pub streams: usize,
    /// The peers' mean.
    pub measured: Measured,
    /// Of them, the slowest's and the fastest's share of the time.
    pub range: (f64, f64),
    /// What is planned for peers as fast as these.
    pub plan: Plan,
    /// What the lines carried, all peers together.
    pub carried: [Carried; 2],
}

impl Compared {
    /// Plans what `peers` did. None without peers.
    pub fn new(
        name: String,
        manifest: &Manifest,
        rate: Rate,
        peers: &[Measured],
        carried: &[[Carried; 2]],
    ) -> Option<Compared> {
        let measured = Measured::mean(peers)?;
        let shares = || peers.iter().map(|peer| peer.utilization);
        let range = (shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max));
        let around = Circumstances {
            peers: Peers::all_voting(peers.len() as u32),
            lines: ByRole::new(|_| Line { up: rate, down: rate }),
            latency: LATENCY,
            steps_per_second: measured.steps_per_second,
            threads: 1,
            tokens: manifest.training.budget_tokens,
            writes_per_day: WRITES_PER_DAY,
        };
        let sum = |end: usize| {
            let none = Carried { bytes: 0, packets: 0, drops: 0 };
            carried.iter().fold(none, |sum, ends| Carried {
                bytes: sum.bytes + ends[end].bytes,
                packets: sum.packets + ends[end].packets,
                drops: sum.drops + ends[end].drops,
            })
        };
        Some(Compared {
            name,
            steps: manifest.method.period(),
            streams: usize::from(manifest.method.streams()),
            measured,
            range,
            plan: plan(manifest, &around),
            carried: [sum(0), sum(1)],
        })
    }

    /// By how much more of the time than was planned the peers trained, as a share of that.
    pub fn difference(&self) -> f64 {
        self.measured.utilization / self.plan.pace.utilization - 1.0
    }

    /// Bytes that a peer is planned to send in a period.
    pub fn planned_bytes(&self) -> f64 {
        let (sent, _) = self.plan.total(Role::Voter);
        sent / self.plan.slots * self.streams as f64
    }
}
