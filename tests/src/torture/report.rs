//! What the run says: lines for people, or one object a line; the last one is the summary.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::args::Arguments;
use crate::checks::Findings;
use crate::failure::Failure;
use crate::plan::{Fault, Kind};

/// A fault that was injected.
struct Injected {
    fault: Fault,
    height: u64,
    /// How long it took the session to be whole again, once that was due.
    recovered: Option<Duration>,
}

/// Writes lines and keeps what the summary needs.
pub struct Report {
    json: bool,
    begun: Instant,
    seed: u64,
    parameters: Value,
    injected: Vec<Injected>,
    skipped: BTreeMap<Kind, String>,
    /// How often an older copy of a folder was told by its peer.
    barred: u32,
}

impl Report {
    /// Says what was asked for.
    pub fn new(args: &Arguments) -> Report {
        let counts = Kind::ALL.map(|kind| (kind.word().to_owned(), kind.asked(args).into()));
        let mut parameters = json!({ "seed": args.seed, "peers": args.peers, "period": args.period, "batch": args.batch,
            "tokens": args.tokens, "budget": args.budget, "data": args.data, "tcp": args.tcp });
        if let Some(object) = parameters.as_object_mut() {
            object.extend(counts);
        }
        let report = Report {
            json: args.json,
            begun: Instant::now(),
            seed: args.seed,
            parameters,
            injected: Vec::new(),
            skipped: BTreeMap::new(),
            barred: 0,
        };
        report.line("parameters", &format!("parameters {}", report.parameters), report.parameters.clone());
        report
    }

    /// Something worth knowing.
    pub fn note(&self, text: &str) {
        self.line("note", text, json!({ "text": text }));
    }

    /// Faults of a kind do not take place.
    pub fn skipped(&mut self, kind: Kind, reason: &str) {
        self.line(
            "skipped",
            &format!("skipped: {}: {reason}", kind.word()),
            json!({ "kind": kind.word(), "reason": reason }),
        );
        self.skipped.insert(kind, reason.to_owned());
    }

    /// A fault begins.
    pub fn injected(&mut self, fault: &Fault, height: u64) {
        let object = object(fault, height);
        self.injected.push(Injected { fault: fault.clone(), height, recovered: None });
        self.line("fault", &words(fault, height), object);
    }

    /// The last fault is over and the session whole again.
    pub fn recovered(&mut self, height: u64, took: Duration, how: &str) {
        let Some(last) = self.injected.last_mut() else { return };
        last.recovered = Some(took);
        let number = last.fault.number;
        let seconds = seconds(took);
        let text = format!("  {number:>3} over at height {height} after {seconds} s: {how}");
        let object = json!({ "number": number, "height": height, "seconds": seconds, "how": how });
        self.line("recovered", &text, object);
    }

    /// A peer told that its folder is an older copy.
    pub fn barred(&mut self) {
        self.barred += 1;
    }

    /// The run ended early: with what to replay it.
    pub fn failed(&self, failure: &Failure) {
        let event = if matches!(failure, Failure::Broken(_)) { "violation" } else { "error" };
        self.line(event, &format!("{event}: {failure}"), json!({ "text": failure.to_string() }));
        let faults: Vec<Value> =
            self.injected.iter().map(|injected| object(&injected.fault, injected.height)).collect();
        let mut text = format!("to replay: {}\nfaults so far:", self.parameters);
        for Injected { fault, height, .. } in &self.injected {
            text.push_str(&format!("\n  {}", words(fault, *height)));
        }
        self.line("replay", &text, json!({ "parameters": self.parameters, "faults": faults }));
    }

    /// The last line.
    pub fn summary(&self, findings: &Findings) {
        let mut counts = serde_json::Map::new();
        let mut recoveries = serde_json::Map::new();
        for kind in Kind::ALL {
            let of_kind = self.injected.iter().filter(|injected| injected.fault.kind == kind);
            let mut took: Vec<Duration> = of_kind.filter_map(|injected| injected.recovered).collect();
            took.sort_unstable();
            counts.insert(kind.word().into(), took.len().into());
            if let (Some(median), Some(longest)) = (took.get(took.len() / 2), took.last()) {
                let value = json!({ "median": seconds(*median), "longest": seconds(*longest) });
                recoveries.insert(kind.word().into(), value);
            }
        }
        let skipped: Vec<&str> = self.skipped.keys().map(|kind| kind.word()).collect();
        let mut object = json!({
            "seed": self.seed, "faults": counts, "recovery_seconds": recoveries, "skipped": skipped,
            "old_copies_told": self.barred, "violations": 0,
        });
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), findings.object()) {
            object.extend(more);
        }
        self.line("summary", &format!("summary {object}"), object.clone());
    }

    fn line(&self, event: &str, text: &str, object: Value) {
        let at = seconds(self.begun.elapsed());
        if !self.json {
            return println!("{at:8.3}  {text}");
        }
        let mut line = json!({ "event": event, "at": at });
        if let (Some(line), Value::Object(more)) = (line.as_object_mut(), object) {
            line.extend(more);
        }
        println!("{line}");
    }
}

fn words(fault: &Fault, height: u64) -> String {
    let Fault { number, kind, targets, phase, lasts } = fault;
    let kind = kind.word();
    format!(
        "{number:>3} {kind} of {targets:?} at height {height}, phase {phase}, lasts {} s",
        seconds(*lasts)
    )
}

fn object(fault: &Fault, height: u64) -> Value {
    let Fault { number, kind, targets, phase, lasts } = fault;
    json!({ "number": number, "kind": kind.word(), "targets": targets, "height": height,
        "phase": phase, "lasts": seconds(*lasts) })
}

/// Seconds to the millisecond.
fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e3).round() / 1e3
}
