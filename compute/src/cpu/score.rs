//! What rows cost, and how many of them were told right.

use super::cross_entropy::loss_only;
use super::math::max;

/// The sum over some samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Score {
    /// Nats, all predictions together.
    pub nats: f64,
    /// Rows whose label has the largest logit; 0 for texts.
    pub correct: u64,
}

impl Score {
    /// Of `logits`, at least (R, classes), and R `labels`.
    pub(super) fn of_logits(logits: &[f32], classes: usize, labels: &[u32]) -> Score {
        let logits = &logits[..labels.len() * classes];
        let right = |(row, label): (&[f32], &u32)| {
            let largest = max(row);
            row.iter().position(|logit| *logit == largest) == Some(*label as usize)
        };
        let correct = logits.chunks_exact(classes).zip(labels).filter(|pair| right(*pair)).count();
        Score { nats: loss_only(logits, classes, labels), correct: correct as u64 }
    }
}

impl std::ops::Add for Score {
    type Output = Score;

    fn add(self, other: Score) -> Score {
        Score { nats: self.nats + other.nats, correct: self.correct + other.correct }
    }
}
