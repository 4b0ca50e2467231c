//! The session computes what the paper's algorithm says: a plain loop over the same samples, with
//! no session, network or chain, ends with the same outer parameters, bit for bit.

use driftless_protocol::block::Slot;
use driftless_protocol::charter::Charter;
use driftless_protocol::codec::{Codec, TopK};
use driftless_protocol::method::{Co2, Contribution, Ef21, Method, Overrun, Rules, SparseLoCo, ef21};
use driftless_protocol::model::{GptShape, Model};
use driftless_protocol::state::Array;
use driftless_protocol::worker::{Engine, Samples, Work, WorkDone, Worker};
use driftless_sim::Setup;
use driftless_sim::engine::{EngineKind, SimEngine};

use crate::support::{complete, world};

const PEERS: usize = 3;

/// The order in which member `index` uses samples when everybody is counted in every slot: its
/// first lease of so many slots, then one slot's work each time.
fn positions(index: u64, per_slot: u64, slots: u64) -> impl Iterator<Item = u64> {
    let peers = PEERS as u64;
    let first = index * slots * per_slot..(index + 1) * slots * per_slot;
    let later = (0..).flat_map(move |slot| {
        let start = peers * slots * per_slot + (slot * peers + index) * per_slot;
        start..start + per_slot
    });
    first.chain(later)
}

struct Loop<'a> {
    charter: &'a Charter,
    workers: Vec<Worker<SimEngine>>,
    /// `arrays[a][fragment]`.
    arrays: Vec<Vec<Vec<f32>>>,
}

impl Loop<'_> {
    fn step(&mut self, step: u64, positions: &mut [impl Iterator<Item = u64>]) {
        let training = &self.charter.manifest.training;
        let tokens = step * PEERS as u64 * u64::from(training.batch) * self.charter.tokens_per_sample();
        let progress = ((tokens as f64 / training.budget_tokens as f64).min(1.0)) as f32;
        for (worker, positions) in self.workers.iter_mut().zip(positions) {
            let samples = Samples::Leased(positions.take(training.batch as usize).collect());
            let done = worker.execute(Work::Train { samples, progress: vec![progress] });
            assert!(matches!(done, WorkDone::Trained(_)), "{done:?}");
        }
    }

    /// Everybody's difference, the mean, the outer step. The result is used tau steps later.
    fn exchange(&mut self, fragment: usize) {
        let outer = Array::new(&self.arrays[0][fragment]);
        self.move_outer(fragment, outer);
    }

    fn move_outer(&mut self, fragment: usize, outer: Array) {
        let slot = Slot { stream: fragment as u16, ordinal: 0 };
        let contribution = |worker: &mut Worker<SimEngine>| match worker.execute(Work::Encode {
            slot,
            outer: outer.clone(),
            estimate: None,
            noise: 0,
        }) {
            WorkDone::Encoded { bytes, .. } => Contribution { bytes, tokens: 1, missed: 0 },
            other => panic!("{other:?}"),
        };
        let contributions: Vec<_> = self.workers.iter_mut().map(contribution).collect();
        let mut arrays: Vec<Vec<f32>> = self.arrays.iter().map(|array| array[fragment].clone()).collect();
        self.charter
            .manifest
            .method
            .outer_step(
                &mut arrays,
                &contributions,
                Rules::plain(self.charter.manifest.method.codec().unwrap()),
            )
            .unwrap();
        for (array, moved) in self.arrays.iter_mut().zip(arrays) {
            array[fragment] = moved;
        }
    }

    fn merge(&mut self, fragment: usize, alpha: f32) {
        let outer = Array::new(&self.arrays[0][fragment]);
        for worker in &mut self.workers {
            worker.execute(Work::Merge { fragment, outer: outer.clone(), alpha });
        }
    }
}

fn textbook(charter: &Charter, slots: u32) -> Vec<Vec<f32>> {
    let mut run = Loop::new(charter);
    let method = &charter.manifest.method;
    let per_slot = u64::from(method.period() * charter.manifest.training.batch);
    let mut positions: Vec<_> = (0..PEERS as u64).map(|index| positions(index, per_slot, 2)).collect();
    let schedule = method.schedule();
    let end = schedule.due(0, slots - 1);
    let due = |step: u64| {
        (0..method.fragments())
            .find(|fragment| (0..slots).any(|ordinal| schedule.due(*fragment, ordinal) == step))
    };
    for step in 0..=end {
        if let Some(fragment) = due(step) {
            run.exchange(usize::from(fragment));
        }
        if let Some(fragment) = step.checked_sub(u64::from(method.tau())).and_then(due) {
            run.merge(usize::from(fragment), method.alpha());
        }
        run.step(step, &mut positions);
    }
    run.arrays.swap_remove(0)
}

/// CO2: round t starts at x_t, and x_(t+1) follows from what was sent for round t - 1; x_1 is x_0.
fn textbook_of_rounds(charter: &Charter, slots: u32) -> Vec<Vec<f32>> {
    let mut run = Loop::new(charter);
    let period = charter.manifest.method.period();
    let per_slot = u64::from(period * charter.manifest.training.batch);
    let mut positions: Vec<_> = (0..PEERS as u64).map(|index| positions(index, per_slot, 3)).collect();
    let mut x = vec![run.arrays[0][0].clone(); 2];
    for round in 0..slots as usize {
        let start = Array::new(&x[round]);
        for worker in &mut run.workers {
            worker.execute(Work::Begin { fragment: 0, outer: start.clone() });
        }
        for step in 0..period {
            run.step(u64::from(round as u32 * period + step), &mut positions);
        }
        // x_(t+1), m and x_t become x_(t+2), the next m and x_(t+1).
        assert_eq!((&run.arrays[0][0], &run.arrays[2][0]), (&x[round + 1], &x[round]));
        run.move_outer(0, start);
        x.push(run.arrays[0][0].clone());
    }
    run.arrays.swap_remove(0)
}

/// EF21: gradients at x, of which everybody keeps what was sent; x moves along their mean.
fn textbook_of_gradients(charter: &Charter, slots: u32) -> Vec<Vec<f32>> {
    let Method::Ef21(method) = &charter.manifest.method else { panic!("another method") };
    let batch = charter.manifest.training.batch;
    let per_slot = u64::from(method.batches * batch);
    let mut positions: Vec<_> = (0..PEERS as u64).map(|index| positions(index, per_slot, 2)).collect();
    let engine = |_| SimEngine::new(&EngineKind::Cpu, charter).unwrap();
    let mut engines: Vec<SimEngine> = (0..PEERS).map(engine).collect();
    let tensors = engines[0].tensors();
    let tensors: Vec<_> = tensors.iter().map(|(name, at, len)| (name.as_str(), *at, *len)).collect();
    let ranges = charter.layout.locate(&tensors).unwrap().swap_remove(0);
    let mut x = charter.genesis_state().outer(0).to_vec();
    let mut g: Vec<Option<Vec<f32>>> = vec![None; PEERS];
    let mut v: Vec<Option<Vec<f32>>> = vec![None; PEERS];
    for _ in 0..slots {
        for (index, engine) in engines.iter_mut().enumerate() {
            let mut at = 0;
            for range in &ranges {
                engine.write(range.clone(), &x[at..at + range.len()]).unwrap();
                at += range.len();
            }
            let (mut sum, mut one) = (vec![0.0f32; x.len()], vec![0.0f32; x.len()]);
            for _ in 0..method.batches {
                let samples = positions[index].by_ref().take(batch as usize).collect();
                engine.gradient(&Samples::Leased(samples), &mut one).unwrap();
                sum.iter_mut().zip(&one).for_each(|(sum, one)| *sum += one);
            }
            let sums = ranges.iter().flat_map(|range| &sum[range.clone()]);
            let mut now: Vec<f32> = sums.map(|sum| sum / method.batches as f32).collect();
            if let Some(mut before) = v[index].take().filter(|_| method.eta < 1.0) {
                ef21::momentum(method.eta, &mut before, &now);
                now = before;
            }
            let c = ef21::encode(method.codec, &now, g[index].as_deref(), 0).unwrap();
            g[index] = Some(ef21::learn(method.codec, g[index].take(), &c, x.len()).unwrap());
            v[index] = Some(now);
        }
        let g: Vec<Vec<f32>> = g.iter().flatten().cloned().collect();
        let mut mean = vec![0.0; x.len()];
        ef21::mean(&g, None, &mut mean);
        x.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= method.gamma * mean);
    }
    vec![x]
}

impl<'a> Loop<'a> {
    fn new(charter: &'a Charter) -> Loop<'a> {
        let genesis = charter.genesis_state();
        let worker = |_| {
            let engine = SimEngine::new(&EngineKind::Cpu, charter).unwrap();
            let mut worker = Worker::new(engine, charter).unwrap();
            worker.execute(Work::Reset { outer: genesis.arrays[0].clone(), forget: true });
            worker
        };
        let arrays = genesis.arrays.iter().map(|array| array.iter().map(Array::to_vec).collect()).collect();
        Loop { charter, workers: (0..PEERS).map(worker).collect(), arrays }
    }
}

#[test]
fn a_session_in_lockstep_is_the_papers_algorithm_bit_for_bit() {
    let top = Codec::TopK(TopK { keep: 4, of: 64, whole: false, statistical: true });
    same_as_the_textbook(|_| {});
    same_as_the_textbook(|method| {
        let Method::StreamingDiLoCo(method) = method else { unreachable!() };
        (method.codec, method.feedback) = (top, Some(0.9));
    });
    same_as_the_textbook(|method| {
        *method = Method::SparseLoCo(SparseLoCo { period: 7, eta: 0.8, beta: 0.95, codec: top });
    });
    same_as_the_textbook(|method| {
        let (eta, beta, phi, codec) = (0.9, 0.2, 1.0, Codec::E3M0);
        *method = Method::Co2(Co2 { period: 7, eta, beta, phi, penalty: true, codec });
    });
    let exact = Codec::TopK(TopK { keep: 4, of: 64, whole: false, statistical: false });
    for (eta, codec) in [(1.0, exact), (0.3, exact), (1.0, top)] {
        same_as_the_textbook(|method| {
            *method = Method::Ef21(Ef21 { batches: 7, gamma: 0.3, eta, members: 3, codec });
        });
    }
}

fn same_as_the_textbook(change: impl Fn(&mut Method)) {
    let slots = 6;
    let mut setup = Setup::real(5, PEERS, "gpt:tiny", 1).unwrap();
    setup.manifest.model =
        Model::Gpt(GptShape { layers: 2, heads: 2, width: 32, context: 16, vocabulary: 256 });
    setup.manifest.training.batch = 4;
    let tokens = PEERS as u64 * u64::from(slots) * 7 * 4 * 16;
    setup.manifest.training.budget_tokens = tokens;
    setup.manifest.stop_at = Some(tokens);
    setup.method().period = 7;
    setup.method().max_overrun = Overrun::Strict;
    change(&mut setup.manifest.method);
    let mut world = world(setup);
    complete(&mut world, 600);
    let expected = match world.charter().manifest.method {
        Method::Co2(_) => textbook_of_rounds(world.charter(), slots),
        Method::Ef21(_) => textbook_of_gradients(world.charter(), slots),
        _ => textbook(world.charter(), slots),
    };
    for (fragment, expected) in expected.iter().enumerate() {
        let found = world.certified().outer(fragment).to_vec();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(
            bits(&found),
            bits(expected),
            "fragment {fragment}, {:?}",
            world.charter().manifest.method
        );
    }
}
