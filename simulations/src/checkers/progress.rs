//! After the faults end, the chain goes on: whenever a quorum of voters is up, connected and honest, the
//! next height comes within a bound.
//!
//! # The bound
//! Nothing is waited for longer than this, from the moment a height was decided:
//! 1. *Heartbeat.* A voter enters a height once a slot can close, and at the latest when the heartbeat has
//!    passed since its own head, whatever became of the slots (their deadlines may be longer: a block of
//!    nothing closes none). From then on every proposer has something to propose.
//! 2. *Attempts.* One in whose time not all had entered, one of each seat that the quorum does without, and
//!    the one that decides. Attempt `a` takes at most 3 + a seconds for the proposal and 1 + a for either
//!    vote.
//! 3. *Blobs.* Every voter gets what the block counts, all contributions to the open slots, over the
//!    slowest line or path; the propose timer has twice that on top, once measured. Twice more: the
//!    proposer gets them before it proposes, the others after.
//! 4. *Statements* that were lost are said again after 10 s, and so are beacons; a reset gives ten seconds
//!    more.
//!
//! After a disturbance (a fault, a peer that starts, stops or ends, a wish) there is more to wait for:
//! 5. *Listening.* Whoever comes back listens for 20 s where others cannot be asked, and for 30 s where
//!    somebody claims a longer chain and does not show it. Its heartbeat runs meanwhile.
//! 6. *Noticing* that whoever could be asked is gone.
//! 7. *Catching up.* A question that is not answered is asked of the next peer after 3 s, of each in turn;
//!    a blob that cannot be had is asked for again every second.
//! 8. *Return.* Whoever was told to sign again with an older folder listens and leaves the running height
//!    out for 30 s.
//! 9. *Late attempts.* Attempts that came to nothing meanwhile make the next ones longer: by then as many
//!    passed as fit into what is waited for.
//!
//! Of the first thousand worlds of the search the slowest height takes 59% of its bound.
//!
//! It does not hold while messages are lost (nobody bounds how often), nor while too few voters can decide.
//! A voter cannot that is off, lies, computes wrongly, cannot read its disk, is barred or halted, rebuilds
//! its state with the help of others, or is out of reach of another that can.

use driftless_protocol::time::{Span, Time};

/// The terms of a world that the bound is made of.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The manifest's.
    pub heartbeat: Span,
    /// How long a message travels at most.
    pub latency: Span,
    /// Until peers notice that another is gone.
    pub detection: Span,
    /// Until every voter has what a block counts.
    pub blobs: Span,
    /// Peers that may be asked in turn.
    pub peers: u64,
    /// Whether somebody claims a chain that is longer than it is.
    pub boasts: bool,
    /// Whether a founder may reset the committee.
    pub elected: bool,
}

/// Until the next height comes.
#[derive(Debug)]
pub struct Progress {
    terms: Terms,
    decided: Time,
    disturbed: Time,
    /// Seats that the quorum does without.
    spare: usize,
    /// When the next height comes at the latest.
    due: Time,
    /// A folder was replaced by an older copy.
    returns: bool,
    fullest: u64,
}

impl Progress {
    /// A world of these terms, in which the quorum does without so many seats.
    pub fn new(terms: Terms, spare: usize) -> Progress {
        let start = Time(0);
        let mut progress = Progress {
            terms,
            decided: start,
            disturbed: start,
            spare,
            due: start,
            returns: false,
            fullest: 0,
        };
        progress.disturbed(start);
        progress
    }

    /// A height was decided; from now on the quorum does without so many seats.
    pub fn decided(&mut self, now: Time, spare: usize) {
        let since = self.decided.max(self.disturbed);
        let gap = now.since(since).0.saturating_mul(1000) / self.due.since(since).0.max(1);
        self.fullest = self.fullest.max(gap);
        (self.decided, self.spare) = (now, spare);
        self.set_due();
    }

    /// Something went wrong, or right again.
    pub fn disturbed(&mut self, now: Time) {
        self.disturbed = now;
        self.set_due();
    }

    /// A peer comes back with an older copy of its folder.
    pub fn returns(&mut self) {
        self.returns = true;
        self.set_due();
    }

    /// When the next height comes at the latest.
    pub fn due(&self) -> Time {
        self.due
    }

    /// The longest wait for a height, in thousandths of the bound that held for it.
    pub fn fullest(&self) -> u64 {
        self.fullest
    }

    /// What is wrong if a height is due now, and so many of the seats can decide.
    pub fn late(&self, now: Time, able: usize, seats: usize) -> String {
        let seconds = now.since(self.decided).0 as f64 / 1e6;
        let disturbed = now.since(self.disturbed).0 as f64 / 1e6;
        format!(
            "no height for {seconds:.1} s, the last disturbance {disturbed:.1} s ago, though {able} of {seats} \
             voters can decide"
        )
    }

    fn set_due(&mut self) {
        let steady = self.steady();
        self.due = (self.decided + steady).max(self.disturbed + steady + self.recovery());
    }

    fn steady(&self) -> Span {
        let Terms { heartbeat, latency, blobs, elected, .. } = self.terms;
        let last_call = if elected { Span::seconds(10) } else { Span::ZERO };
        heartbeat
            + attempts(0, self.spare)
            + blobs.times(4)
            + Span::seconds(10)
            + last_call
            + latency.times(16)
    }

    fn recovery(&self) -> Span {
        let Terms { heartbeat, detection, peers, boasts, .. } = self.terms;
        let listening = Span::seconds(if boasts { 30 } else { 20 });
        let asking = Span::seconds(3).times(peers);
        let returning = if self.returns { listening + Span::seconds(30) } else { Span::ZERO };
        // The heartbeat of whoever listens runs already.
        let waited = Span(listening.0.saturating_sub(heartbeat.0)) + detection + asking + returning;
        let mut passed = 0;
        while attempts(0, passed) < waited {
            passed += 1;
        }
        waited + Span(attempts(passed as u64, self.spare).0 - attempts(0, self.spare).0)
    }
}

/// What so many spare seats and two more attempts take, the first of which has this number.
fn attempts(first: u64, spare: usize) -> Span {
    let one = |attempt: u64| Span::seconds(3 + attempt) + Span::seconds(1 + attempt).times(2);
    (first..first + spare as u64 + 2).map(one).fold(Span::ZERO, |sum, span| sum + span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms {
        heartbeat: Span::seconds(20),
        latency: Span::millis(100),
        detection: Span::ZERO,
        blobs: Span::seconds(1),
        peers: 4,
        boasts: false,
        elected: false,
    };

    fn at(seconds: u64) -> Time {
        Time(Span::seconds(seconds).0)
    }

    #[test]
    fn a_quiet_world_has_the_heartbeat_and_three_attempts() {
        let mut progress = Progress::new(TERMS, 1);
        progress.decided(at(100), 1);
        // 20 + (5 + 8 + 11) + 4 + 10 + 1.6.
        assert_eq!(progress.due(), at(159) + Span::millis(600));
        progress.decided(at(110), 0);
        assert_eq!(progress.due(), at(158) + Span::millis(600));
    }

    #[test]
    fn a_disturbance_gives_more_time_and_an_older_folder_even_more() {
        let mut progress = Progress::new(TERMS, 1);
        progress.decided(at(100), 1);
        let quiet = progress.due();
        progress.disturbed(at(100));
        let disturbed = progress.due();
        assert!(disturbed >= quiet + Span::seconds(12));
        progress.returns();
        assert!(progress.due() > disturbed + Span::seconds(50));
        assert!(progress.late(at(300), 3, 4).contains("3 of 4 voters"));
    }
}
