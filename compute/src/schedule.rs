//! The learning rate over the progress of a run.

use crate::cpu::math::cos_pi;

/// Linear warm-up, then a cosine down to a share of the peak. Its cosine is our own: the same bits on every machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f32,
    /// Share of the budget that warms up.
    pub warm_up: f32,
    /// What is left at the end, as a share of the peak.
    pub floor: f32,
}

impl Schedule {
    /// The default form: warm-up over the first 5% of the budget, cosine to 5% of `peak`.
    #[must_use]
    pub fn new(peak: f32) -> Schedule {
        Schedule { peak, warm_up: 0.05, floor: 0.05 }
    }

    /// The learning rate at `progress`, the used share of the budget: below 0 counts as 0, above 1 and NaN as 1.
    #[must_use]
    pub fn learning_rate(&self, progress: f64) -> f32 {
        let progress = if progress < 1.0 { progress.max(0.0) } else { 1.0 };
        let (peak, warm_up, floor) = (f64::from(self.peak), f64::from(self.warm_up), f64::from(self.floor));
        if progress < warm_up {
            return (peak * progress / warm_up) as f32;
        }
        let done = if warm_up < 1.0 { (progress - warm_up) / (1.0 - warm_up) } else { 1.0 };
        (peak * (floor + (1.0 - floor) * 0.5 * (1.0 + cos_pi(done)))) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_peaks_and_ends_at_the_floor() {
        let schedule = Schedule::new(1e-3);
        assert_eq!(schedule.learning_rate(0.0), 0.0);
        assert!((schedule.learning_rate(0.025) - 5e-4).abs() < 1e-9);
        assert!((schedule.learning_rate(0.05) - 1e-3).abs() < 1e-9);
        assert!((schedule.learning_rate(0.525) - 5.25e-4).abs() < 1e-9);
        assert!((schedule.learning_rate(1.0) - 5e-5).abs() < 1e-9);
        assert_eq!(schedule.learning_rate(7.0), schedule.learning_rate(1.0));
        assert_eq!(schedule.learning_rate(-1.0), 0.0);
        assert_eq!(schedule.learning_rate(f64::NAN), schedule.learning_rate(1.0));
    }
}
