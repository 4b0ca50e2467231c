//! What is said in the end: a table for people, or an object for each method.

use serde_json::{Value, json};

use crate::compare::Compared;

/// The columns' names.
pub const HEADER: &str = "method             H  steps/s |  trains  planned     diff |  period  planned | waits | \
                          MB sent  planned | dropped";

/// A line of the table.
pub fn row(compared: &Compared) -> String {
    let Compared { name, steps, measured, plan, .. } = compared;
    let packets: u64 = compared.carried.iter().map(|end| end.packets).sum();
    let drops: u64 = compared.carried.iter().map(|end| end.drops).sum();
    format!(
        "{name:<16} {steps:>3} {:>8.3} | {:>7.3} {:>8.3} {:>+7.1}% | {:>6.1}s {:>7.1}s | {:>5.3} | {:>7.2} {:>8.2} | {:>6.2}%",
        measured.steps_per_second,
        measured.utilization,
        plan.pace.utilization,
        100.0 * compared.difference(),
        measured.period(),
        plan.pace.period,
        measured.waited,
        measured.sent / 1e6,
        compared.planned_bytes() / 1e6,
        100.0 * drops as f64 / packets.max(1) as f64,
    )
}

/// The same and more for programs.
pub fn object(compared: &Compared) -> Value {
    let Compared { name, steps, measured, plan, range, .. } = compared;
    let [up, down] =
        compared.carried.map(|end| json!({ "bytes": end.bytes, "packets": end.packets, "drops": end.drops }));
    json!({
        "event": "method", "method": name, "period": steps,
        "steps_per_second": measured.steps_per_second,
        "utilization": { "measured": measured.utilization, "planned": plan.pace.utilization,
            "difference": compared.difference(), "least": range.0, "most": range.1 },
        "waited": measured.waited,
        "seconds": { "measured": measured.period(), "planned": plan.pace.period, "each": measured.periods,
            "exchange_planned": plan.pace.exchange },
        "bytes_sent": { "measured": measured.sent, "planned": compared.planned_bytes() },
        "bytes_received": measured.received,
        "lines": { "up": up, "down": down },
    })
}
