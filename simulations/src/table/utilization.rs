//! The bandwidth that a method needs to keep its machines computing: Streaming DiLoCo's Table 4
//! (arXiv 2501.18512), by the cost model of the specification's check S5.
//!
//! A step of S seconds and L layers is a forward of S/(3L) per layer, then from the last layer to the
//! first an activation backward (none for the first layer) and a weight backward of the same length.
//! What a layer has to say is queued on one link when its weight backward ends, and the forward of
//! that layer `tau + 1` steps later waits until it is through.

use std::collections::VecDeque;

/// Steps between two exchanges of a layer.
const PERIOD: usize = 100;
/// Layers of a fragment of Streaming DiLoCo.
const FRAGMENT: usize = 3;
/// Periods that are run: so many that the beginning does not count.
const PERIODS: usize = 10;
/// Points of the axis of bandwidths, 0.1 to 1000 Gbit/s in equal ratios.
pub const POINTS: usize = 50;

/// A model as the paper gives it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Its name.
    pub name: &'static str,
    /// Parameters.
    pub parameters: f64,
    /// Transformer blocks.
    pub layers: usize,
    /// Seconds of a step that waits for nothing.
    pub step: f64,
}

/// A method of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exchange {
    /// Every layer after every step.
    DataParallel,
    /// Every layer after every H steps.
    DiLoCo,
    /// Fragments in turn, each every H steps.
    Streaming,
    /// The same, merged one step later.
    Overlapped,
    /// The same, in few bits.
    FewBits,
}

/// Bits per parameter: of exchanges in full precision, and of [`Exchange::FewBits`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bits {
    /// Full precision.
    pub full: f64,
    /// Few bits.
    pub few: f64,
}

/// The utilizations that a row asks for.
pub const TARGETS: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];

/// One row: a method at a size, and the Gbit/s that the paper gives for each target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The model.
    pub size: Size,
    /// The method.
    pub exchange: Exchange,
    /// What the paper gives.
    pub paper: [f64; 5],
}

const fn size(name: &'static str, parameters: f64, layers: usize, step: f64) -> Size {
    Size { name, parameters, layers, step }
}

const SMALL: Size = size("1B", 1e9, 24, 0.1);
const MIDDLE: Size = size("10B", 1e10, 48, 0.8);
const LARGE: Size = size("100B", 1e11, 108, 4.9);

const fn row(size: Size, exchange: Exchange, paper: [f64; 5]) -> Row {
    Row { size, exchange, paper }
}

/// The table.
pub const ROWS: [Row; 15] = [
    row(SMALL, Exchange::DataParallel, [86.8, 152.6, 184.2, 222.3, 569.0]),
    row(SMALL, Exchange::DiLoCo, [1.4, 6.2, 13.3, 23.3, 86.8]),
    row(SMALL, Exchange::Streaming, [1.4, 5.2, 9.1, 16.0, 28.1]),
    row(SMALL, Exchange::Overlapped, [1.4, 4.3, 6.2, 9.1, 11.0]),
    row(SMALL, Exchange::FewBits, [0.4, 0.9, 1.7, 2.0, 3.0]),
    row(MIDDLE, Exchange::DataParallel, [104.8, 222.3, 222.3, 268.3, 471.5]),
    row(MIDDLE, Exchange::DiLoCo, [1.7, 7.5, 16.0, 33.9, 104.8]),
    row(MIDDLE, Exchange::Streaming, [1.7, 5.2, 9.1, 13.3, 19.3]),
    row(MIDDLE, Exchange::Overlapped, [1.7, 3.6, 5.2, 6.2, 7.5]),
    row(MIDDLE, Exchange::FewBits, [0.4, 0.9, 1.4, 1.4, 1.7]),
    row(LARGE, Exchange::DataParallel, [184.2, 323.8, 390.7, 390.7, 471.5]),
    row(LARGE, Exchange::DiLoCo, [3.0, 11.0, 23.3, 49.4, 184.2]),
    row(LARGE, Exchange::Streaming, [2.4, 6.2, 9.1, 11.0, 19.3]),
    row(LARGE, Exchange::Overlapped, [1.7, 3.6, 4.3, 5.2, 5.2]),
    row(LARGE, Exchange::FewBits, [0.5, 0.9, 1.1, 1.1, 1.4]),
];

/// One target of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Gbit/s in the paper.
    pub paper: f64,
    /// Gbit/s of the first point that reaches the target; `None` if none does.
    pub ours: Option<f64>,
    /// Grid points that ours is above the paper's.
    pub distance: Option<i64>,
}

impl Row {
    /// The cells, by target.
    #[must_use]
    pub fn cells(&self, bits: Bits) -> [Cell; 5] {
        let curve: Vec<f64> =
            (0..POINTS).map(|point| self.exchange.utilization(self.size, bits, bandwidth(point))).collect();
        std::array::from_fn(|target| {
            let point = curve.iter().position(|utilization| *utilization >= TARGETS[target]);
            let paper = self.paper[target];
            Cell {
                paper,
                ours: point.map(bandwidth),
                distance: point.map(|point| point as i64 - nearest(paper) as i64),
            }
        })
    }
}

/// Gbit/s of a point of the axis.
fn bandwidth(point: usize) -> f64 {
    10f64.powf(-1.0 + 4.0 * point as f64 / (POINTS - 1) as f64)
}

/// The point of the axis that a printed figure is of.
fn nearest(gigabits: f64) -> usize {
    let distance = |point: &usize| (bandwidth(*point) / gigabits).ln().abs();
    (0..POINTS).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or_default()
}

impl Exchange {
    /// Its name in the paper.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Exchange::DataParallel => "data parallel",
            Exchange::DiLoCo => "DiLoCo",
            Exchange::Streaming => "Streaming DiLoCo",
            Exchange::Overlapped => "+ overlap",
            Exchange::FewBits => "+ 4 bit",
        }
    }

    /// Compute time over total time at so many Gbit/s.
    fn utilization(self, size: Size, bits: Bits, gigabits: f64) -> f64 {
        let per_parameter = if self == Exchange::FewBits { bits.few } else { bits.full };
        let transfer = per_parameter * size.parameters / size.layers as f64 / (gigabits * 1e9);
        let tau = usize::from(matches!(self, Exchange::Overlapped | Exchange::FewBits));
        let part = size.step / (3 * size.layers) as f64;
        let steps = PERIOD * PERIODS;
        let (mut now, mut link_is_free) = (0.0_f64, 0.0_f64);
        // By layer: the steps whose result is under way, and when it is through.
        let mut under_way: Vec<VecDeque<(usize, f64)>> = vec![VecDeque::new(); size.layers];
        for step in 0..steps {
            for queue in &mut under_way {
                if let Some((_, through)) = queue.pop_front_if(|(sent, _)| *sent + 1 + tau <= step) {
                    now = now.max(through);
                }
                now += part;
            }
            for layer in (0..size.layers).rev() {
                now += if layer == 0 { part } else { 2.0 * part };
                if self.is_due(step, layer, size.layers) {
                    link_is_free = link_is_free.max(now) + transfer;
                    under_way[layer].push_back((step, link_is_free));
                }
            }
        }
        let compute = (3 * size.layers - 1) as f64 * part * steps as f64;
        compute / now
    }

    /// Whether a layer is exchanged after a step.
    fn is_due(self, step: usize, layer: usize, layers: usize) -> bool {
        match self {
            Exchange::DataParallel => true,
            Exchange::DiLoCo => (step + 1).is_multiple_of(PERIOD),
            Exchange::Streaming | Exchange::Overlapped | Exchange::FewBits => {
                let fragments = layers / FRAGMENT;
                // The turns that are over after so many steps: one every H/P steps, not rounded.
                let turns = |steps: usize| steps * fragments / PERIOD;
                let (before, after) = (turns(step), turns(step + 1));
                (before..after).any(|turn| turn % fragments == layer % fragments)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many cells are within so many grid points of the paper's.
    fn within(bits: Bits, points: u64) -> usize {
        let cells = ROWS.iter().flat_map(|row| row.cells(bits));
        cells.filter(|cell| cell.distance.is_some_and(|distance| distance.unsigned_abs() <= points)).count()
    }

    #[test]
    fn s5_nearly_every_cell_of_the_papers_table_is_within_one_grid_step() {
        let nominal = Bits { full: 16.0, few: 4.0 };
        assert_eq!((within(nominal, 1), within(nominal, 2)), (73, 75));
        assert_eq!(within(Bits { full: 13.25, few: 3.45 }, 1), 75);
    }

    #[test]
    fn a_link_without_limits_wastes_nothing_and_a_slow_one_nearly_everything() {
        let bits = Bits { full: 16.0, few: 4.0 };
        for exchange in [Exchange::DataParallel, Exchange::DiLoCo, Exchange::FewBits] {
            assert!(exchange.utilization(SMALL, bits, 1e9) > 0.9999);
        }
        // 16 Gbit in 0.1 s steps at 1 Gbit/s: sixteen seconds a step, nearly.
        let slow = Exchange::DataParallel.utilization(SMALL, bits, 1.0);
        assert!((slow - 0.1 / 16.0).abs() < 0.001, "{slow}");
    }
}
