//! How fast the engine trains, as a share of what its matrix products alone would take.
//!
//! Absolute times say little on a busy machine, so training steps and bare matrix products of the same model's shapes
//! alternate within one run, and the share is the median of the pairs' ratios.

use crate::cpu::Buffer;
use crate::cpu::matmul::{Matrix, Write, multiply};
use crate::engine::{Batch, Engine, EngineError, EngineOptions};
use crate::model::GptShape;
use crate::optimizer::Optimizer;
use crate::rng;
use rand_chacha::rand_core::Rng;
use std::time::{Duration, Instant};

/// What a benchmark measured. Medians over the pairs of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchReport {
    /// Tokens trained per second of wall time.
    pub tokens_per_second: f64,
    /// Tokens trained per second of CPU time, all threads together.
    pub tokens_per_cpu_second: f64,
    /// Tokens per second over those that the matrix products alone would allow, wall time.
    pub ceiling_share: f64,
    /// The same by CPU time: steadier where other programs run.
    pub ceiling_share_cpu: f64,
    /// Speed of the bare products on all threads, 10^9 operations per second of wall time.
    pub ceiling_gflops: f64,
    /// Threads used.
    pub threads: usize,
    /// Loss of each step, warm-up included: the same bits for any number of threads.
    pub losses: Vec<f32>,
}

/// Steps before the first measured one.
const WARM_UP: usize = 2;

/// Passes of the forward products beside each step: forward and backward have three times their operations, so both
/// sides of a pair take about as long and other programs disturb them alike.
const PASSES: usize = 3;

/// Trains a model of `shape` on random tokens for about `seconds`, alternating with bare products.
///
/// # Errors
/// An impossible shape, batch or number of threads.
pub fn run(shape: GptShape, batch: usize, threads: usize, seconds: f64) -> Result<BenchReport, EngineError> {
    let mut engine = Engine::new(shape, EngineOptions { threads, batch, optimizer: Optimizer::default() })?;
    engine.write(0..engine.parameter_count(), &rng::initialise(shape, 1));
    let mut random = rng::stream([2; 32], 0);
    let mut losses = Vec::new();
    let mut step = || {
        let count = batch * (shape.context + 1);
        let tokens: Vec<u32> = (0..count).map(|_| random.next_u32() % shape.vocabulary as u32).collect();
        let clock = Clock::start();
        let report = engine.step(Batch::Tokens(&tokens), 1e-3)?;
        losses.push(report.loss);
        Ok::<_, EngineError>(clock.elapsed())
    };
    let mut products: Vec<Products> = (0..threads).map(|_| Products::new(&shape, batch)).collect();
    let flops = products.iter().map(|products| products.flops).sum::<f64>();

    for _ in 0..WARM_UP {
        step()?;
        measure(&mut products);
    }
    let tokens = (batch * shape.context) as f64;
    let step_flops = tokens * shape.training_flops_per_token();
    let mut pairs: Vec<Pair> = Vec::new();
    let begin = Instant::now();
    while pairs.is_empty() || begin.elapsed().as_secs_f64() < seconds {
        pairs.push(Pair { step: step()?, products: measure(&mut products) });
    }
    let share = |step: f64, products: f64| step_flops / step / (flops / products);
    Ok(BenchReport {
        tokens_per_second: median(&pairs, |pair| tokens / pair.step.wall),
        tokens_per_cpu_second: median(&pairs, |pair| tokens / pair.step.cpu),
        ceiling_share: median(&pairs, |pair| share(pair.step.wall, pair.products.wall)),
        ceiling_share_cpu: median(&pairs, |pair| share(pair.step.cpu, pair.products.cpu)),
        ceiling_gflops: median(&pairs, |pair| flops / pair.products.wall / 1e9),
        threads,
        losses,
    })
}

/// One training step and one pass of bare products, next to each other in time.
struct Pair {
    step: Elapsed,
    products: Elapsed,
}

fn median(pairs: &[Pair], value: impl Fn(&Pair) -> f64) -> f64 {
    let mut values: Vec<f64> = pairs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs every thread's products at the same time.
fn measure(products: &mut [Products]) -> Elapsed {
    let clock = Clock::start();
    match products {
        [one] => one.run(),
        many => std::thread::scope(|scope| {
            for products in many {
                scope.spawn(|| products.run());
            }
        }),
    }
    clock.elapsed()
}

/// The forward products of one training step on one thread, at the model's shapes.
struct Products {
    /// (rows, inner, columns) and how often.
    shapes: Vec<([usize; 3], usize)>,
    a: Buffer,
    b: Buffer,
    c: Buffer,
    flops: f64,
}

impl Products {
    fn new(shape: &GptShape, batch: usize) -> Products {
        let (rows, c, l) = (batch * shape.context, shape.width, shape.layers);
        let block = [[rows, c, 3 * c], [rows, c, c], [rows, c, 4 * c], [rows, 4 * c, c]];
        // The head is cut as the engine cuts it where the vocabulary is large.
        let head_rows = rows.min((1 << 22) / shape.vocabulary).max(1);
        let mut shapes: Vec<_> = block.into_iter().map(|product| (product, l)).collect();
        shapes.push(([head_rows, c, shape.vocabulary], rows.div_ceil(head_rows)));
        let largest = |size: fn([usize; 3]) -> usize| {
            let zeros = shapes.iter().map(|(product, _)| size(*product)).max().unwrap_or(0);
            let mut buffer = Buffer::zeros(zeros);
            buffer.fill(0.5);
            buffer
        };
        let flops = shapes.iter().map(|([m, k, n], count)| 2.0 * (m * k * n * count * PASSES) as f64).sum();
        let (a, b, c) = (largest(|[m, k, _]| m * k), largest(|[_, k, n]| k * n), largest(|[m, _, n]| m * n));
        Products { shapes, a, b, c, flops }
    }

    fn run(&mut self) {
        for ([m, k, n], count) in &self.shapes {
            for _ in 0..PASSES * count {
                let (a, b) = (Matrix::new(&self.a, *m, *k, *k), Matrix::new(&self.b, *k, *n, *n));
                multiply(&mut self.c, *n, Write::Replace, 1.0, a, b);
            }
        }
    }
}

/// Wall and CPU time from a start.
struct Clock {
    wall: Instant,
    cpu: Option<Duration>,
}

/// Seconds.
struct Elapsed {
    wall: f64,
    cpu: f64,
}

impl Clock {
    fn start() -> Clock {
        Clock { cpu: process_cpu_time(), wall: Instant::now() }
    }

    /// Where the system tells no CPU time, wall time stands in for it.
    fn elapsed(&self) -> Elapsed {
        let wall = self.wall.elapsed().as_secs_f64();
        let cpu = self.cpu.zip(process_cpu_time()).map(|(from, to)| (to - from).as_secs_f64());
        Elapsed { wall, cpu: cpu.unwrap_or(wall) }
    }
}

/// CPU time of all threads of this process so far.
#[cfg(unix)]
fn process_cpu_time() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec to the pointer, which is to a local one.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    (answer == 0).then(|| Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
}

/// CPU time of all threads of this process so far.
#[cfg(not(unix))]
fn process_cpu_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_do_not_change_losses_and_the_numbers_make_sense() {
        let shape = GptShape { layers: 1, heads: 2, width: 32, context: 16, vocabulary: 64 };
        let one = run(shape, 4, 1, 0.0).unwrap();
        let two = run(shape, 4, 2, 0.0).unwrap();
        assert_eq!(one.losses.len(), WARM_UP + 1);
        assert_eq!(one.losses, two.losses);
        assert!(one.tokens_per_second > 0.0 && one.ceiling_share > 0.0 && one.ceiling_gflops > 0.0);
    }
}
