//! What a peer sends in a whole training: Streaming DiLoCo's traffic against data parallelism (arXiv
//! 2501.18512, the specification's check S1), and what our codec makes of it.

use driftless_protocol::codec::Codec;

/// Parameters of the paper's 1B model.
pub const PARAMETERS: u64 = 1_273_495_552;
/// Tokens of a step.
const TOKENS_PER_STEP: f64 = (1 << 20) as f64;
/// H.
const PERIOD: f64 = 100.0;
/// Units per parameter: what a ring moves in a step of data parallelism, and one exchange at 4 bits.
const UNITS: (f64, f64) = (16.0, 4.0);
/// 2^40.
const TERA: f64 = (1_u64 << 40) as f64;

/// One token budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Tokens.
    pub tokens: f64,
    /// The paper's figures in 2^40 units: data parallel, Streaming DiLoCo.
    pub paper: (f64, f64),
}

/// The table.
pub const ROWS: [Row; 3] = [
    Row { tokens: 25e9, paper: (441.83, 1.1046) },
    Row { tokens: 100e9, paper: (1767.33, 4.4183) },
    Row { tokens: 250e9, paper: (4418.33, 11.0458) },
];

impl Row {
    fn steps(&self) -> f64 {
        self.tokens / TOKENS_PER_STEP
    }

    /// Ours in 2^40 units: data parallel, Streaming DiLoCo.
    #[must_use]
    pub fn ours(&self) -> (f64, f64) {
        let sent = |units: f64, exchanges: f64| PARAMETERS as f64 * units * exchanges / TERA;
        (sent(UNITS.0, self.steps()), sent(UNITS.1, self.steps() / PERIOD))
    }

    /// Bytes of all blobs that one peer makes, scales of the codec's blocks included.
    #[must_use]
    pub fn blobs(&self) -> f64 {
        Codec::E3M0.encoded_len(PARAMETERS as usize) as f64 * self.steps() / PERIOD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_the_papers_traffic_to_its_last_digit() {
        for row in ROWS {
            let ours = row.ours();
            assert!((ours.0 - row.paper.0).abs() < 0.005 && (ours.1 - row.paper.1).abs() < 0.00005);
            // Half a byte per parameter, and a scale per 256.
            let bits = row.blobs() * 8.0 / (row.steps() / PERIOD) / PARAMETERS as f64;
            assert!((bits - 4.125).abs() < 1e-6, "{bits}");
        }
    }
}
