//! The compute engine as a session drives it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use driftless_compute::{
    AdamW, CnnShape, Corpus, Data, DataError, Engine, EngineError, EngineOptions, GptShape, LogisticShape,
    MlpShape, Muon, Optimizer, Schedule, Sgd, Shape, ShapeError, Tensor, Tokenizer, TrainError, Trainer,
};
use driftless_protocol::charter::Charter;
use driftless_protocol::manifest::{self, Manifest};
use driftless_protocol::model::Model;
use driftless_protocol::planner;
use driftless_protocol::worker::{self, EngineFailure, Evaluation, Samples};

/// Why an engine could not be made for a session.
#[derive(Debug, thiserror::Error)]
pub enum EngineSetupError {
    /// The texts or the tokenizer.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model's shape or the options.
    #[error("the engine cannot train this model: {0}")]
    Engine(#[from] EngineError),
    /// The model's shape.
    #[error("the engine cannot train this model: {0}")]
    Shape(#[from] ShapeError),
    /// Training this model takes more memory than the machine has.
    #[error(
        "training this model takes about {} GB of memory, this machine has {}: a smaller model, or a larger machine",
        needed.div_ceil(1_000_000_000), total.div_ceil(1_000_000_000)
    )]
    Memory {
        /// Bytes that training takes.
        needed: u64,
        /// Bytes that the machine has.
        total: u64,
    },
    /// Texts and model do not fit each other.
    #[error(transparent)]
    Mismatch(#[from] TrainError),
    /// The manifest's number of samples is not that of these texts.
    #[error(
        "these files have {found} training samples, the manifest says {expected}: other files or another tokenizer"
    )]
    Samples {
        /// The manifest's number.
        expected: u64,
        /// The corpus' number.
        found: u64,
    },
}

/// A trainer with the session's learning-rate schedule.
pub struct TrainerEngine {
    trainer: Trainer,
    schedule: Schedule,
    /// The next sample of private data, which has no leases.
    own: u64,
}

/// A protocol model as an engine's shape.
pub fn shape_of(model: &Model) -> Shape {
    match *model {
        Model::Gpt(shape) => Shape::Gpt(GptShape {
            layers: usize::from(shape.layers),
            heads: usize::from(shape.heads),
            width: shape.width as usize,
            context: shape.context as usize,
            vocabulary: shape.vocabulary as usize,
        }),
        Model::Mlp(shape) => Shape::Mlp(MlpShape {
            inputs: shape.inputs as usize,
            hidden: shape.hidden as usize,
            layers: usize::from(shape.layers),
            classes: shape.classes as usize,
        }),
        Model::Cnn(shape) => Shape::Cnn(CnnShape {
            side: shape.side as usize,
            channels: shape.channels as usize,
            filters: shape.filters as usize,
            classes: shape.classes as usize,
        }),
        Model::Logistic(shape) => Shape::Logistic(LogisticShape {
            inputs: shape.inputs as usize,
            regularization: shape.regularization,
        }),
    }
}

/// Refuses a model that this machine cannot train, before anything is allocated for it.
///
/// # Errors
/// The engine's own limits, or the machine's memory where it is known.
pub fn check_size(manifest: &Manifest) -> Result<(), EngineSetupError> {
    shape_of(&manifest.model).check()?;
    // What comes and goes may be swapped out, or come when others went: `new` warns of it.
    let needed = planner::memory(manifest, 1, 1).held();
    match total_memory() {
        Some(total) if needed > total => Err(EngineSetupError::Memory { needed, total }),
        _ => Ok(()),
    }
}

/// Bytes of memory, where the system tells them as Linux does.
pub fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What a session trains on; tokens are cached in `cache`.
pub fn data_for(
    charter: &Charter,
    files: &[PathBuf],
    tokenizer: Option<&Path>,
    cache: &Path,
) -> Result<Data, DataError> {
    let shape = shape_of(&charter.manifest.model);
    let seed = charter.manifest.seed;
    match (tokenizer, shape.gpt()) {
        (Some(path), Some(gpt)) => {
            Ok(Corpus::tokenised(files, &Tokenizer::load(path)?, cache, gpt.context, seed)?.into())
        }
        _ => Data::open(files, &shape, seed),
    }
}

impl TrainerEngine {
    /// An engine for a session's model and training numbers.
    pub fn new(charter: &Charter, data: Data, threads: usize) -> Result<TrainerEngine, EngineSetupError> {
        let training = &charter.manifest.training;
        if let driftless_protocol::manifest::Data::Public { samples_per_epoch, .. } = &charter.manifest.data
            && *samples_per_epoch != data.samples()
        {
            return Err(EngineSetupError::Samples { expected: *samples_per_epoch, found: data.samples() });
        }
        let adamw = AdamW { weight_decay: training.weight_decay, clip: training.clip, ..AdamW::default() };
        let optimizer = match training.optimizer {
            manifest::Optimizer::AdamW => Optimizer::AdamW(adamw),
            manifest::Optimizer::Muon { learning_rate: peak } => {
                Optimizer::Muon { muon: Muon::new(peak / training.learning_rate), adamw }
            }
            manifest::Optimizer::Sgd => {
                Optimizer::Sgd(Sgd { weight_decay: training.weight_decay, clip: training.clip })
            }
        };
        let options = EngineOptions { threads, batch: training.batch as usize, optimizer };
        let engine = Engine::new(shape_of(&charter.manifest.model), options)?;
        let schedule =
            Schedule { peak: training.learning_rate, warm_up: training.warmup, floor: training.final_share };
        Ok(TrainerEngine { trainer: Trainer::new(engine, data)?, schedule, own: 0 })
    }

    /// A joiner's fresh inner optimizer starts with small steps.
    pub fn ramp(&mut self, steps: u32) {
        self.trainer.engine_mut().set_ramp(steps);
    }

    fn samples(&mut self, samples: &Samples, steps: usize) -> Vec<u64> {
        match samples {
            Samples::Leased(samples) => samples.clone(),
            Samples::Own => {
                let count = (steps * self.trainer.engine().batch()) as u64;
                let from = self.own;
                self.own += count;
                (from..from + count).collect()
            }
        }
    }

    fn check(&self, range: &Range<usize>, len: usize) -> Result<(), EngineFailure> {
        let fits = range.len() == len && range.end <= self.trainer.engine().parameter_count();
        if fits { Ok(()) } else { Err(EngineFailure::Other(format!("no parameters at {range:?}"))) }
    }
}

fn failure(error: EngineError) -> EngineFailure {
    match error {
        EngineError::NonFinite(what) => EngineFailure::NotFinite(format!("the {what}")),
        other => EngineFailure::Other(other.to_string()),
    }
}

impl worker::Engine for TrainerEngine {
    fn tensors(&self) -> Vec<(String, usize, usize)> {
        let tensor = |tensor: &Tensor| (tensor.name.clone(), tensor.offset, tensor.shape.iter().product());
        self.trainer.tensors().iter().map(tensor).collect()
    }

    fn train(&mut self, samples: &Samples, progress: &[f32]) -> Result<Vec<f32>, EngineFailure> {
        let samples = self.samples(samples, progress.len());
        let rates: Vec<f32> =
            progress.iter().map(|progress| self.schedule.learning_rate(f64::from(*progress))).collect();
        let report = self.trainer.train(&samples, &rates).map_err(|error| match error {
            TrainError::Step { error: EngineError::NonFinite(_), .. } => {
                EngineFailure::NotFinite("the loss or its gradient".into())
            }
            other => EngineFailure::Other(other.to_string()),
        })?;
        Ok(report.losses)
    }

    fn loss(&mut self, samples: &Samples) -> Result<f32, EngineFailure> {
        let samples = self.samples(samples, 1);
        self.trainer.loss(&samples).map_err(failure)
    }

    fn gradient(&mut self, samples: &Samples, into: &mut [f32]) -> Result<f32, EngineFailure> {
        self.check(&(0..into.len()), self.trainer.engine().parameter_count())?;
        let samples = self.samples(samples, 1);
        self.trainer.gradient(&samples, into).map_err(failure)
    }

    fn read(&mut self, range: Range<usize>, into: &mut [f32]) -> Result<(), EngineFailure> {
        self.check(&range, into.len())?;
        self.trainer.read(range, into);
        Ok(())
    }

    fn write(&mut self, range: Range<usize>, values: &[f32]) -> Result<(), EngineFailure> {
        self.check(&range, values.len())?;
        self.trainer.write(range, values);
        Ok(())
    }

    fn evaluate(&mut self, windows: Option<u64>) -> Result<Evaluation, EngineFailure> {
        let found = self.trainer.evaluate(windows);
        let found = found.map_err(|error| EngineFailure::Other(error.to_string()))?;
        Ok(Evaluation { loss: found.loss, accuracy: found.accuracy })
    }

    fn save(&mut self) -> Result<Vec<u8>, EngineFailure> {
        Ok(self.trainer.save())
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), EngineFailure> {
        self.trainer.load(bytes).map_err(|error| EngineFailure::Other(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftless_protocol::committee::Committee;
    use driftless_protocol::manifest::Data;

    /// What a hostile invitation may name: allowed by the manifest, 4 TB as numbers alone.
    #[test]
    fn a_model_that_no_machine_holds_is_refused_before_it_is_allocated() {
        let shape = |layers, width| driftless_protocol::model::GptShape {
            layers,
            heads: 1,
            width,
            context: 64,
            vocabulary: 256,
        };
        let check = |shape| {
            let (committee, data) = (
                Committee::Elected { founder: Default::default() },
                Data::Private { max_tokens_per_slot: 1 },
            );
            let preset = Manifest::preset("gpt:tiny").unwrap();
            check_size(&Manifest { model: Model::Gpt(shape), ..preset.manifest(committee, data) })
        };
        let refused = check(shape(300, 1 << 14));
        assert!(matches!(refused, Err(EngineSetupError::Shape(_))), "{refused:?}");
        // Possible, and 25 TB.
        let refused = check(shape(60, 1 << 15));
        let possible = total_memory().is_none_or(|total| total > 20_000_000_000_000);
        let memory = matches!(refused, Err(EngineSetupError::Memory { .. } | EngineSetupError::Shape(_)));
        assert!(possible || memory, "{refused:?}");
        check(shape(4, 128)).unwrap();
    }
}
