//! Whole trainings on real text, for tables about learning.

use driftless_protocol::block::Payload;
use driftless_protocol::charter::Charter;
use driftless_protocol::time::Time;
use driftless_protocol::worker::{Engine, Samples, Work, WorkDone, Worker};

use super::Progress;
use crate::engine::{EngineKind, SimEngine};
use crate::setup::Setup;
use crate::world::World;

/// One run's result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Validation loss of the outer parameters, nats per byte or row.
    pub loss: f64,
    /// Share of the validation rows whose class is told, where there are classes.
    pub accuracy: Option<f64>,
    /// Counted tokens.
    pub tokens: u64,
    /// Contributions counted.
    pub contributions: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Synchronous data parallelism, as one engine with the whole batch: the setup's first peer trains all
/// `tokens` without a session, on the same samples from the same start.
///
/// # Errors
/// What went wrong, in words.
pub fn one_engine(setup: &Setup, tokens: u64, progress: &Progress) -> Result<Outcome, String> {
    let charter = Charter::new(setup.sealed_manifest()).map_err(|error| error.to_string())?;
    let engine = SimEngine::new(&EngineKind::Cpu, &charter).map_err(|error| error.to_string())?;
    let mut worker = Worker::new(engine, &charter).map_err(|error| error.to_string())?;
    worker.execute(Work::Reset { outer: charter.genesis_state().arrays[0].clone(), forget: true });
    let batch = u64::from(setup.manifest.training.batch);
    let per_step = batch * charter.tokens_per_sample();
    let steps = tokens / per_step;
    for step in 0..steps {
        let samples = Samples::Leased((step * batch..(step + 1) * batch).collect());
        let share = step as f32 / steps as f32;
        if let WorkDone::Failed(failure) = worker.execute(Work::Train { samples, progress: vec![share] }) {
            return Err(failure.to_string());
        }
        progress.add(per_step);
    }
    let found = worker.engine().evaluate(None).map_err(|error| error.to_string())?;
    let (loss, accuracy) = (found.loss, found.accuracy);
    Ok(Outcome { loss, accuracy, tokens: steps * per_step, contributions: 0, bytes: 0 })
}

/// A session in virtual time, to its end.
///
/// # Errors
/// A broken promise, or no end.
pub fn session(setup: Setup, progress: &Progress) -> Result<Outcome, String> {
    let mut world = World::new(setup).map_err(|error| error.to_string())?;
    let mut booked = 0;
    let evaluated = world.run_until(Time(u64::MAX), |world| {
        let counted = world.certified().control.counted_tokens;
        progress.add(counted - booked);
        booked = counted;
        world.peers().iter().any(|peer| peer.validation_loss().is_some())
    });
    let peers = world.peers();
    let loss = peers.iter().find_map(|peer| Some((peer.validation_loss()?, peer.disk())));
    let (loss, disk) = match (evaluated, loss) {
        (Err(violation), _) => return Err(violation.to_string()),
        (Ok(_), None) => return Err("the session did not come to its end".into()),
        (Ok(_), Some(found)) => found,
    };
    let closings = disk.blocks().values().flat_map(|certified| certified.block.closings());
    let (mut contributions, mut bytes) = (0, 0);
    for counted in closings.flat_map(|closing| &closing.counted) {
        contributions += 1;
        bytes += match &counted.payload {
            Payload::Blob { length, .. } => *length,
            Payload::Inline(inline) => inline.len() as u64,
        };
    }
    let accuracy = world.peers().iter().find_map(crate::peer::Peer::accuracy);
    Ok(Outcome { loss, accuracy, tokens: booked, contributions, bytes })
}
