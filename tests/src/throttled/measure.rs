//! What a session's peers did, from what they said. Pure: lines go in, numbers come out.
//!
//! A period ends with the step after which stream 0 is due, as in the plan. Steps between two such moments are
//! exact, and so is the time.

use driftless::report::{Line, Report};

/// What one peer did in the periods that count.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Inner steps in a second of training: waiting and everything else left out.
    pub steps_per_second: f64,
    /// Share of the time that it trained.
    pub utilization: f64,
    /// Share of the time in which it waited. What is left went into encoding, merging and saving.
    pub waited: f64,
    /// Seconds of each period.
    pub periods: Vec<f64>,
    /// Bytes that both planes sent in a period.
    pub sent: f64,
    /// Bytes that both planes received in a period.
    pub received: f64,
}

impl Measured {
    /// Seconds of a period in the mean.
    pub fn period(&self) -> f64 {
        self.periods.iter().sum::<f64>() / self.periods.len().max(1) as f64
    }

    /// The mean of peers.
    pub fn mean(peers: &[Measured]) -> Option<Measured> {
        let first = peers.first()?;
        let mean = |of: &dyn Fn(&Measured) -> f64| peers.iter().map(of).sum::<f64>() / peers.len() as f64;
        let periods = (0..first.periods.len()).map(|index| mean(&|peer| peer.periods[index])).collect();
        Some(Measured {
            // Of times, not of speeds: each peer takes as many steps.
            steps_per_second: 1.0 / mean(&|peer| 1.0 / peer.steps_per_second),
            utilization: mean(&|peer| peer.utilization),
            waited: mean(&|peer| peer.waited),
            periods,
            sent: mean(&|peer| peer.sent),
            received: mean(&|peer| peer.received),
        })
    }
}

/// An order of steps that was carried out.
struct Trained<'a> {
    line: &'a Line,
    step: u64,
    /// The peer's own measure of a step, in seconds: 7/8 of what it was and 1/8 of what the last one took.
    smoothed: f64,
}

/// Measures `count` periods of `steps` steps each, after the first `skip`. None if not all of them are there.
pub fn measure(lines: &[Line], steps: u32, skip: u32, count: u32) -> Option<Measured> {
    let trained: Vec<Trained> = lines.iter().filter_map(trained).collect();
    let ends = (skip..=skip + count)
        .map(|period| trained.iter().position(|one| one.step >= u64::from(period) * u64::from(steps)))
        .collect::<Option<Vec<usize>>>()?;
    let (first, last) = (*ends.first()?, *ends.last()?);
    // Seconds that orders took: what was smoothed is told apart again.
    let seconds = trained[first..=last].windows(2).map(|pair| {
        let took = 8.0 * pair[1].smoothed - 7.0 * pair[0].smoothed;
        took * (pair[1].step - pair[0].step) as f64
    });
    let seconds: f64 = seconds.sum();
    let (from, to) = (trained[first].line, trained[last].line);
    let wall = to.at - from.at;
    let done = (trained[last].step - trained[first].step) as f64;
    let periods = ends.windows(2).map(|pair| trained[pair[1]].line.at - trained[pair[0]].line.at).collect();
    let bytes = |of: fn(&Line) -> u64| (of(to) - of(from)) as f64 / f64::from(count);
    Some(Measured {
        steps_per_second: done / seconds,
        utilization: seconds / wall,
        waited: waited(lines, from.at, to.at) / wall,
        periods,
        sent: bytes(|line| line.bytes_sent),
        received: bytes(|line| line.bytes_received),
    })
}

fn trained(line: &Line) -> Option<Trained<'_>> {
    match &line.report {
        Report::Trained { step, steps_per_second, .. } if *steps_per_second > 0.0 => {
            Some(Trained { line, step: *step, smoothed: 1.0 / steps_per_second })
        }
        _ => None,
    }
}

/// Seconds between `from` and `to` in which training waited.
fn waited(lines: &[Line], from: f64, to: f64) -> f64 {
    let (mut sum, mut since) = (0.0, None);
    for line in lines {
        match &line.report {
            Report::Paused { .. } => since = since.or(Some(line.at)),
            Report::Resumed => {
                let begun = since.take().unwrap_or(line.at);
                sum += (line.at.min(to) - begun.max(from)).max(0.0);
            }
            _ => {}
        }
    }
    sum + since.map_or(0.0, |begun| (to - begun.max(from)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of 2 s, and after every fourth one a wait of 2 s; 100 bytes leave with each.
    fn lines(smoothing: bool) -> Vec<Line> {
        let (mut lines, mut at, mut smoothed) = (Vec::new(), 0.0, 1.0);
        for step in 1..=40 {
            at += 2.0;
            smoothed = if smoothing { (7.0 * smoothed + 2.0) / 8.0 } else { 2.0 };
            let report = Report::Trained { step, loss: 1.0, steps_per_second: 1.0 / smoothed };
            lines.push(Line { at, bytes_sent: 100 * step, ..Line::new(report) });
            if step % 4 == 0 {
                lines.push(Line { at, ..Line::new(Report::Paused { reason: "it".into() }) });
                at += 2.0;
                lines.push(Line { at, ..Line::new(Report::Resumed) });
            }
        }
        lines
    }

    #[test]
    fn what_is_waited_for_is_told_from_what_is_trained() {
        for smoothing in [false, true] {
            let measured = measure(&lines(smoothing), 4, 2, 5).unwrap();
            assert_eq!(measured.periods, [10.0; 5]);
            assert!((measured.steps_per_second - 0.5).abs() < 1e-9, "{measured:?}");
            assert!((measured.utilization - 0.8).abs() < 1e-9, "{measured:?}");
            assert!((measured.waited - 0.2).abs() < 1e-9, "{measured:?}");
            assert_eq!((measured.sent, measured.received), (400.0, 0.0));
        }
        assert_eq!(measure(&lines(false), 4, 2, 9), None, "there are ten periods");
    }

    #[test]
    fn peers_have_a_mean() {
        let one = measure(&lines(false), 4, 2, 5).unwrap();
        assert_eq!(Measured::mean(&[one.clone(), one.clone()]), Some(one));
        assert_eq!(Measured::mean(&[]), None);
    }
}
