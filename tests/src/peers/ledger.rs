//! What the peers said, and what they may never say. Pure: lines go in, questions are answered.

use std::collections::BTreeMap;

use driftless::report::{Line, Report, waiting_for};
use driftless_protocol::Hash;
use driftless_protocol::event::Waiting;

use super::failure::Failure;

/// What one peer said.
#[derive(Debug, Default)]
pub struct Peer {
    /// The height of the last block that its present process applied.
    pub head: Option<u64>,
    /// Inner steps that its present process knows of.
    pub step: u64,
    /// Why its training waits.
    pub waits_for: Option<String>,
    /// Everything it ever announced, by stream and ordinal.
    pub announced: BTreeMap<(u16, u32), Hash>,
    /// Announcements of its present process.
    pub announcements: usize,
    /// It said that its disk is full, since it was last asked to listen for it.
    pub disk_full: bool,
    /// It said that it signs nothing more.
    pub barred: Option<String>,
    /// How the session ended for its present process.
    pub ended: Option<String>,
}

/// What all of them said.
#[derive(Debug)]
pub struct Ledger {
    /// The peers.
    pub peers: Vec<Peer>,
    /// Every certified height that anybody ever reported, with its digest.
    pub certificates: BTreeMap<u64, Hash>,
    /// Tokens counted so far.
    pub tokens: u64,
    /// The one peer that may say that it signs nothing more.
    pub may_be_barred: Option<usize>,
}

impl Ledger {
    /// Nothing was said yet.
    pub fn new(peers: usize) -> Ledger {
        let peers = (0..peers).map(|_| Peer::default()).collect();
        Ledger { peers, certificates: BTreeMap::new(), tokens: 0, may_be_barred: None }
    }

    /// The highest certified height that anybody reported.
    pub fn highest(&self) -> u64 {
        self.certificates.last_key_value().map_or(0, |(height, _)| *height)
    }

    /// Whether all of these peers' present processes are at `height` or above.
    pub fn are_at(&self, peers: &[usize], height: u64) -> bool {
        peers.iter().all(|peer| self.peers[*peer].head.is_some_and(|head| head >= height))
    }

    /// Whether all of these peers say that too few voters answer.
    pub fn say_no_quorum(&self, peers: &[usize]) -> bool {
        let words = waiting_for(Waiting::Quorum);
        peers.iter().all(|peer| self.peers[*peer].waits_for.as_deref() == Some(words))
    }

    /// A peer's process begins again.
    pub fn restarted(&mut self, peer: usize) {
        let peer = &mut self.peers[peer];
        let announced = std::mem::take(&mut peer.announced);
        *peer = Peer { announced, ..Peer::default() };
    }

    /// A line of a peer's log.
    pub fn logged(&mut self, peer: usize, text: &str) -> Result<(), Failure> {
        self.peers[peer].disk_full |= text.contains("not voting: ") && text.contains("trying again");
        match text.contains("panicked at") {
            true => Failure::broken(format!("peer {peer} panicked: {text}")),
            false => Ok(()),
        }
    }

    /// A line of a peer. A promise may have broken with it.
    pub fn take(&mut self, peer: usize, line: &Line) -> Result<(), Failure> {
        let of = &mut self.peers[peer];
        match &line.report {
            Report::Block { height, digest, tokens, .. } => {
                of.head = Some(*height);
                self.tokens = self.tokens.max(*tokens);
                self.certified(peer, *height, *digest)
            }
            Report::Trained { step, .. } => {
                of.step = *step;
                Ok(())
            }
            Report::Announced { stream, ordinal, root, .. } => {
                of.announcements += 1;
                match of.announced.insert((*stream, *ordinal), *root) {
                    Some(before) if before != *root => Failure::broken(format!(
                        "peer {peer} signed two contents for slot {ordinal} of stream {stream}: {} and {}",
                        before.short(),
                        root.short()
                    )),
                    _ => Ok(()),
                }
            }
            Report::Paused { reason } => {
                of.waits_for = Some(reason.clone());
                Ok(())
            }
            Report::Resumed => {
                of.waits_for = None;
                Ok(())
            }
            Report::Ended { ending } => {
                of.ended = Some(ending.clone());
                Ok(())
            }
            Report::Warning { text } => self.warned(peer, text),
            Report::Error { text } => Failure::broken(format!("peer {peer} failed: {text}")),
            _ => Ok(()),
        }
    }

    fn certified(&mut self, peer: usize, height: u64, digest: Hash) -> Result<(), Failure> {
        match self.certificates.insert(height, digest) {
            Some(before) if before != digest => Failure::broken(format!(
                "two states of height {height}: {} before, {} at peer {peer}",
                before.short(),
                digest.short()
            )),
            _ => Ok(()),
        }
    }

    fn warned(&mut self, peer: usize, text: &str) -> Result<(), Failure> {
        if text.contains("signs nothing more") {
            self.peers[peer].barred = Some(text.to_owned());
            if self.may_be_barred == Some(peer) {
                return Ok(());
            }
            return Failure::broken(format!(
                "peer {peer} signs nothing more, and its folder is no copy: {text}"
            ));
        }
        let grave =
            ["contradicted itself", "two certified blocks", "the certified block of height", "is rebuilt"];
        match grave.iter().any(|words| text.contains(words)) {
            true => Failure::broken(format!("peer {peer} warns: {text}")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(height: u64, state: &str) -> Line {
        Line::new(Report::Block {
            height,
            digest: Hash::of(state.as_bytes()),
            closed: Vec::new(),
            counted: 0,
            tokens: 7 * height,
            counted_bytes: 0,
            last: false,
        })
    }

    fn announced(ordinal: u32, content: &str) -> Line {
        Line::new(Report::Announced { stream: 0, ordinal, root: Hash::of(content.as_bytes()), length: 1 })
    }

    fn warning(text: &str) -> Line {
        Line::new(Report::Warning { text: text.into() })
    }

    #[test]
    fn heights_are_told_and_each_has_one_digest() {
        let mut ledger = Ledger::new(2);
        ledger.take(0, &block(1, "a")).unwrap();
        ledger.take(0, &block(2, "b")).unwrap();
        ledger.take(1, &block(1, "a")).unwrap();
        assert_eq!((ledger.highest(), ledger.tokens), (2, 14));
        assert!(ledger.are_at(&[0, 1], 1) && !ledger.are_at(&[0, 1], 2));
        ledger.restarted(0);
        assert!(!ledger.are_at(&[0], 0), "its new process said nothing yet");
        let error = ledger.take(1, &block(2, "c")).unwrap_err().to_string();
        assert!(error.contains("two states of height 2"), "{error}");
    }

    #[test]
    fn a_slot_is_signed_once_also_by_a_later_process() {
        let mut ledger = Ledger::new(1);
        ledger.take(0, &announced(3, "x")).unwrap();
        ledger.restarted(0);
        ledger.take(0, &announced(3, "x")).unwrap();
        ledger.take(0, &announced(4, "y")).unwrap();
        assert_eq!(ledger.peers[0].announcements, 2);
        let error = ledger.take(0, &announced(4, "z")).unwrap_err().to_string();
        assert!(error.contains("two contents for slot 4"), "{error}");
    }

    #[test]
    fn warnings_that_break_a_promise_are_known() {
        let mut ledger = Ledger::new(2);
        ledger.take(0, &warning("blob 12 could not be read")).unwrap();
        assert!(ledger.take(0, &warning("ab contradicted itself: it signed two")).is_err());
        let barred = warning("an older copy. It signs nothing more");
        assert!(ledger.take(0, &barred).is_err());
        ledger.may_be_barred = Some(1);
        ledger.take(1, &barred).unwrap();
        assert!(ledger.peers[1].barred.is_some() && ledger.take(0, &barred).is_err());
        assert!(ledger.take(0, &Line::new(Report::Error { text: "x".into() })).is_err());
        assert!(ledger.logged(0, "thread 'store' panicked at x.rs").is_err());
    }

    #[test]
    fn a_lost_quorum_is_a_wait_of_all_who_are_asked() {
        let mut ledger = Ledger::new(2);
        let reason = waiting_for(Waiting::Quorum).to_owned();
        ledger.take(0, &Line::new(Report::Paused { reason })).unwrap();
        assert!(ledger.say_no_quorum(&[0]) && !ledger.say_no_quorum(&[0, 1]));
        ledger.take(0, &Line::new(Report::Resumed)).unwrap();
        assert!(!ledger.say_no_quorum(&[0]));
    }
}
