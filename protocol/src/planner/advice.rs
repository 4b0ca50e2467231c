//! Which method to take: the least time to as low a loss.
//!
//! Time to a token budget alone would always choose whoever sends least. Methods learn differently much from as
//! many tokens, and how much is known for one small task only ([`MEASURED`]); that is what the advice rests on,
//! and its sentence says so.

use super::Plan;

/// Losses in nats per byte at equal tokens, measured on `gpt:tiny`, H 15, four peers, 1,536,000 tokens
/// (`driftless-sim table methods`; synchronous AdamW 1.84, synchronous Muon 1.63).
pub const MEASURED: [(&str, f64); 4] =
    [("muloco", 1.74), ("streaming-diloco", 2.00), ("sparse-loco", 2.26), ("co2", 2.25)];

/// A loss r times as high is taken to cost r^7 times the tokens: an assumption, as if loss fell with the 1/7th power of
/// tokens.
const TOKENS_FOR_LOSS: u32 = 7;

/// What the advice rests on.
const BASIS: &str = ". Losses are of gpt:tiny at H 15, a run so short that a round's delay is dear; \
                     one that is r times as high is taken to cost r^7 times the tokens";

/// What is recommended.
#[derive(Clone, PartialEq, Debug)]
pub struct Advice {
    /// Which of the plans.
    pub index: usize,
    /// Why, in a sentence.
    pub reason: String,
}

/// The measured loss of a method, if it was measured.
pub fn measured_loss(name: &str) -> Option<f64> {
    MEASURED.iter().find(|(known, _)| *known == name).map(|(_, loss)| *loss)
}

/// Chooses among plans that fit, by the names of their methods. None where none does.
pub fn recommend(plans: &[(&str, &Plan)]) -> Option<Advice> {
    let lowest = plans.iter().filter_map(|(name, _)| measured_loss(name)).fold(f64::INFINITY, f64::min);
    let weighed = |(name, plan): &(&str, &Plan)| {
        let factor = measured_loss(name).map(|loss| power(loss / lowest, TOKENS_FOR_LOSS));
        // Of an unknown method only its time is known: it is chosen where there is no other.
        (factor.is_none(), plan.pace.seconds * factor.unwrap_or(1.0))
    };
    let order = |a: &(bool, f64), b: &(bool, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
    let index = (0..plans.len()).min_by(|a, b| order(&weighed(&plans[*a]), &weighed(&plans[*b])))?;
    let fastest = plans.iter().map(|(_, plan)| plan.pace.seconds).fold(f64::INFINITY, f64::min);
    let (name, plan) = plans[index];
    let slower = plan.pace.seconds / fastest;
    let time = match slower {
        ..1.02 => "the budget takes no longer with it than with any other that fits".to_owned(),
        _ => format!("the budget takes {slower:.2} times as long with it as with the fastest"),
    };
    let learns = match measured_loss(name) {
        None => "how much it learns from as many tokens was not measured".to_owned(),
        Some(_) if plans.len() == 1 => "no other was planned that fits".to_owned(),
        Some(loss) if loss <= lowest => {
            format!("it learns most from as many tokens ({loss:.2} nats per byte)")
        }
        Some(loss) => format!(
            "what it learns less from as many tokens ({loss:.2} nats per byte, not {lowest:.2}) is made up for sooner \
             than the others are through"
        ),
    };
    let measured = measured_loss(name).filter(|_| plans.len() > 1).map_or("", |_| BASIS);
    let reason = format!("{time}; {learns}{measured}");
    Some(Advice { index, reason })
}

/// By multiplication: the core has no powers.
fn power(base: f64, exponent: u32) -> f64 {
    (0..exponent).fold(1.0, |product, _| product * base)
}
