//! The end of a demo in numbers.

use std::path::PathBuf;

use driftless_protocol::Hash;
use serde::Serialize;

use super::ledger::{Ledger, Peer};
use crate::output::{bytes, duration};

/// The last object of `demo --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    event: &'static str,
    /// Nats per predicted byte or token of the final outer parameters.
    pub validation_loss: Option<f64>,
    /// Share of the validation rows whose class is told, where there are classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// A token is a row of a table.
    #[serde(skip)]
    pub rows: bool,
    /// Tokens counted.
    pub tokens: u64,
    /// Tokens trained, counted or not.
    pub tokens_trained: u64,
    /// Blocks.
    pub heights: u64,
    /// Every peer reported the same digest for every height, the last included.
    pub replicas_identical: bool,
    /// Bytes sent by all over the encoded bytes that had to be sent.
    pub wire_overhead: Option<f64>,
    /// Bytes of data-parallel training over the bytes sent.
    pub data_parallel_factor: Option<f64>,
    /// Seconds until the last block was applied everywhere.
    pub seconds: f64,
    /// Seconds until the first slot was closed.
    pub first_slot_seconds: Option<f64>,
    /// Why the replicas are not called identical.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// The peers.
    pub peers: Vec<PeerSummary>,
}

/// One peer at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerSummary {
    /// Its data folder.
    pub dir: PathBuf,
    /// The digest of its last state.
    pub digest: Option<Hash>,
    /// Bytes sent from the first announcement to the last certificate.
    pub bytes_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Tokens trained per second.
    pub tokens_per_second: f64,
}

impl Summary {
    /// Adds up what was reported. `dirs` are the peers' folders.
    pub fn of(ledger: &Ledger, dirs: &[PathBuf]) -> Summary {
        let facts = ledger.facts;
        let others = facts.peers.saturating_sub(1) as u64;
        let sent: u64 = ledger.peers.iter().map(Peer::bytes_sent).sum();
        let payload = ledger.counted_bytes() * others;
        let ratio = |above: f64, below: f64| (above > 0.0 && below > 0.0).then(|| above / below);
        let peers = facts.peers as f64;
        let steps = ledger.tokens() as f64 / (facts.tokens_per_step as f64 * peers);
        let ring = 2.0 * (peers - 1.0) / peers * 4.0 * facts.parameters as f64 * steps;
        let difference = difference(ledger);
        let peer = |(peer, dir): (&Peer, &PathBuf)| PeerSummary {
            dir: dir.clone(),
            digest: peer.head.map(|(_, digest)| digest),
            bytes_sent: peer.bytes_sent(),
            bytes_received: peer.bytes_received(),
            tokens_per_second: peer.tokens_per_second(facts),
        };
        Summary {
            event: "summary",
            validation_loss: validation_loss(ledger),
            accuracy: ledger.peers.iter().find_map(|peer| peer.accuracy),
            rows: facts.rows,
            tokens: ledger.tokens(),
            tokens_trained: ledger.peers.iter().map(|peer| peer.steps * facts.tokens_per_step).sum(),
            heights: ledger.heights.last_key_value().map_or(0, |(height, _)| *height),
            replicas_identical: difference.is_none(),
            wire_overhead: ratio(sent as f64, payload as f64),
            data_parallel_factor: ratio(ring, sent as f64 / peers),
            seconds: ledger.last_block.unwrap_or_default().as_secs_f64(),
            first_slot_seconds: ledger.first_slot.map(|time| time.as_secs_f64()),
            difference,
            peers: ledger.peers.iter().zip(dirs).map(peer).collect(),
        }
    }

    /// The same for a person.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        let digest = self.peers.first().and_then(|peer| peer.digest).map_or(String::new(), |d| d.short());
        lines.push(match &self.difference {
            None => format!(
                "All {} replicas are identical: {} blocks, each with one digest, the last {digest}.",
                self.peers.len(),
                self.heights
            ),
            Some(difference) => format!("The replicas cannot be called identical: {difference}."),
        });
        let seconds = duration(std::time::Duration::from_secs_f64(self.seconds));
        let loss = self.validation_loss.map_or("not evaluated".into(), |loss| format!("{loss:.3}"));
        let told = self.accuracy.map(|share| format!(", {:.1}% told right,", 100.0 * share));
        let (unit, tokens) = if self.rows { ("row", "rows") } else { ("byte", "tokens") };
        let (told, counted) = (told.unwrap_or_default(), self.tokens);
        lines.push(format!(
            "Validation loss {loss} nats per {unit}{told} after {counted} {tokens} in {seconds}."
        ));
        let sent: u64 =
            self.peers.iter().map(|peer| peer.bytes_sent).sum::<u64>() / self.peers.len().max(1) as u64;
        let overhead = self
            .wire_overhead
            .map_or(String::new(), |overhead| format!(", {overhead:.3} times the bare updates"));
        let factor = self.data_parallel_factor.map_or(String::new(), |factor| {
            format!("; data-parallel training sends {factor:.0} times as much")
        });
        lines.push(format!("Each peer sent {}{overhead}{factor}.", bytes(sent)));
        lines.join("\n")
    }
}

/// Why the replicas are not identical as far as anybody can tell; `None` if they are.
fn difference(ledger: &Ledger) -> Option<String> {
    if let Some(height) = ledger.contradictions.first() {
        return Some(format!("different digests were reported at height {height}"));
    }
    let Some((last, _)) = ledger.heights.last_key_value() else { return Some("no block was made".into()) };
    for height in 1..=*last {
        let digests = ledger.heights.get(&height).map_or(&[][..], |block| &block.digests);
        let missing = (0..ledger.facts.peers).find(|peer| digests.get(*peer).copied().flatten().is_none());
        if let Some(peer) = missing {
            return Some(format!("peer {peer} did not report block {height}"));
        }
    }
    None
}

/// The loss at the last height; `None` unless it was evaluated there.
fn validation_loss(ledger: &Ledger) -> Option<f64> {
    let (last, _) = ledger.heights.last_key_value()?;
    let mut losses = ledger.peers.iter().filter_map(|peer| peer.evaluated);
    losses.find(|(height, _)| height == last).map(|(_, loss)| loss)
}

/// Whether peers found different losses for one state: they compute differently.
pub fn losses_differ(ledger: &Ledger) -> bool {
    let mut losses = ledger.peers.iter().filter_map(|peer| peer.evaluated);
    losses.next().is_some_and(|first| losses.any(|other| other.0 == first.0 && other.1 != first.1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::ledger::tests::{announced, block, facts};
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn dirs() -> Vec<PathBuf> {
        vec!["a".into(), "b".into()]
    }

    #[test]
    fn overhead_and_factor_are_those_of_the_definition() {
        let mut ledger = Ledger::new(facts(2));
        for peer in 0..2 {
            ledger.take(peer, &announced(0), NOW);
        }
        for peer in 0..2 {
            ledger.take(peer, &block(1, b"a", 60), NOW);
        }
        let summary = Summary::of(&ledger, &dirs());
        // 100 counted bytes to one other peer; 120 were sent.
        assert_eq!(summary.wire_overhead, Some(1.2));
        let steps = 1000.0 / (768.0 * 2.0);
        assert_eq!(summary.data_parallel_factor, Some(4.0 * 834_304.0 * steps / 60.0));
        assert!(summary.replicas_identical && summary.text().contains("All 2 replicas are identical"));
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!((json["event"].as_str(), json["peers"][0]["dir"].as_str()), (Some("summary"), Some("a")));
        assert_eq!(json["peers"][1]["digest"], json["peers"][0]["digest"]);
    }

    #[test]
    fn who_missed_a_block_is_not_called_identical() {
        let mut ledger = Ledger::new(facts(2));
        ledger.take(0, &block(1, b"a", 1), NOW);
        ledger.take(0, &block(2, b"b", 1), NOW);
        ledger.take(1, &block(2, b"b", 1), NOW);
        let summary = Summary::of(&ledger, &dirs());
        assert_eq!(summary.difference.as_deref(), Some("peer 1 did not report block 1"));
        assert!(!summary.replicas_identical);
        assert!(!Summary::of(&Ledger::new(facts(2)), &dirs()).replicas_identical, "no block, no claim");
    }

    #[test]
    fn the_loss_is_that_of_the_last_height() {
        use crate::report::{Line, Report};
        let mut ledger = Ledger::new(facts(1));
        ledger.take(0, &block(1, b"a", 1), NOW);
        ledger.take(0, &Line::new(Report::Evaluated { height: 1, loss: 2.5, accuracy: None }), NOW);
        assert_eq!(Summary::of(&ledger, &dirs()).validation_loss, Some(2.5));
        ledger.take(0, &block(2, b"b", 1), NOW);
        assert_eq!(Summary::of(&ledger, &dirs()).validation_loss, None);
    }
}
