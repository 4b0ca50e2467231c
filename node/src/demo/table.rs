//! The live table: a line per peer, drawn again as they report; plain lines where nothing can be
//! drawn.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::ledger::{Facts, Ledger, Peer};
use crate::output::{Output, bytes};

/// Shows a demo's peers.
#[derive(Debug)]
pub struct Table {
    output: Output,
    live: Option<Live>,
    /// Tell every block in a line.
    plain: bool,
}

#[derive(Debug)]
struct Live {
    all: MultiProgress,
    rows: Vec<ProgressBar>,
    total: ProgressBar,
}

impl Table {
    /// A table of `facts.peers` rows.
    pub fn new(output: Output, facts: Facts) -> Table {
        let live = output.is_live().then(|| Live::new(facts));
        Table { output, plain: live.is_none() && !output.is_json(), live }
    }

    /// No table: only notes.
    pub fn hidden() -> Table {
        Table { output: Output::new(false), live: None, plain: false }
    }

    /// Draws what the ledger knows.
    pub fn draw(&self, ledger: &Ledger) {
        let Some(live) = &self.live else { return };
        for (index, (row, peer)) in live.rows.iter().zip(&ledger.peers).enumerate() {
            row.set_message(row_text(index, peer, ledger.facts));
        }
        let speed: f64 = ledger.peers.iter().map(|peer| peer.steps_per_second).sum();
        live.total.set_message(format!("{:.0} tokens/s", speed * ledger.facts.tokens_per_step as f64));
        live.total.set_position(ledger.tokens().min(ledger.facts.stop_at));
    }

    /// A block that every peer has now.
    pub fn block(&self, ledger: &Ledger, height: u64, seconds: f64) {
        let Some(block) = ledger.heights.get(&height) else { return };
        if !self.plain {
            return;
        }
        let digest = block
            .agreed()
            .map_or("DIFFERENT digests".into(), |digest| format!("one digest {}", digest.short()));
        let losses: Vec<f32> = ledger.peers.iter().filter_map(|peer| peer.loss).collect();
        let loss = losses.iter().sum::<f32>() / losses.len().max(1) as f32;
        let peers = ledger.facts.peers;
        self.output.text(&format!(
            "{seconds:6.1} s  block {height}: {digest} on {peers} peers, {} tokens, training loss {loss:.3}",
            block.tokens
        ));
    }

    /// A line above the table.
    pub fn note(&self, text: &str) {
        match &self.live {
            // What cannot be drawn is not worth ending for.
            Some(live) => drop(live.all.println(text)),
            None => self.output.note(text),
        }
    }

    /// Leaves the last state of the table where it is.
    pub fn finish(&mut self, ledger: &Ledger) {
        self.draw(ledger);
        if let Some(live) = self.live.take() {
            live.rows.iter().for_each(ProgressBar::abandon);
            live.total.finish_and_clear();
        }
    }
}

impl Live {
    fn new(facts: Facts) -> Live {
        let style = |template: &str| {
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        let all = MultiProgress::new();
        let line = |text: String| {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style("{wide_msg}"));
            bar.set_message(text);
            bar
        };
        let mut rows = vec![line(header())];
        rows.extend((0..facts.peers).map(|_| line(String::new())));
        let total = all.add(ProgressBar::new(facts.stop_at));
        total.set_style(style("{bar:40} {percent:>3}% of {len} tokens, {msg}, {eta} left"));
        // The header is drawn once and never set again.
        let header = rows.remove(0);
        header.abandon();
        Live { all, rows, total }
    }
}

fn header() -> String {
    columns(
        ["peer", "state", "steps/s", "tokens/s", "loss", "height", "sent", "received", "digest"]
            .map(String::from),
    )
}

fn row_text(index: usize, peer: &Peer, facts: Facts) -> String {
    let speed = peer.steps_per_second;
    columns([
        index.to_string(),
        peer.state.chars().take(14).collect(),
        format!("{speed:.1}"),
        format!("{:.0}", speed * facts.tokens_per_step as f64),
        peer.loss.map_or("-".into(), |loss| format!("{loss:.3}")),
        peer.head.map_or("0".into(), |(height, _)| height.to_string()),
        bytes(peer.sent.total()),
        bytes(peer.received.total()),
        peer.head.map_or("-".into(), |(_, digest)| digest.short()),
    ])
}

fn columns(cells: [String; 9]) -> String {
    let [peer, state, steps, tokens, loss, height, sent, received, digest] = cells;
    format!(
        "{peer:>4}  {state:<14}  {steps:>7}  {tokens:>8}  {loss:>6}  {height:>6}  {sent:>8}  {received:>8}  {digest}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::ledger::tests::{block, facts};
    use super::*;

    #[test]
    fn rows_line_up_with_the_header() {
        let mut ledger = Ledger::new(facts(1));
        ledger.take(0, &block(7, b"state", 1_234_567), std::time::Duration::ZERO);
        let (header, row) = (header(), row_text(0, &ledger.peers[0], facts(1)));
        assert_eq!(header.find("digest"), row.rfind("  ").map(|at| at + 2), "{header}\n{row}");
        assert!(row.contains("1.23 MB") && row.contains("     7  "), "{row}");
    }
}
