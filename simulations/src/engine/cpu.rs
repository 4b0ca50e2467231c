//! The product's CPU engine on the embedded text, as a session's engine.

use std::ops::Range;
use std::path::PathBuf;

use driftless_compute::{
    AdamW, CnnShape, Data, DataError, Engine as ComputeEngine, EngineError, EngineOptions, Example, GptShape,
    LogisticShape, MlpShape, Muon, Optimizer, Schedule, Sgd, Shape, TrainError, Trainer,
};
use driftless_protocol::charter::Charter;
use driftless_protocol::manifest::{self, Training};
use driftless_protocol::model::Model;
use driftless_protocol::worker::{Engine, EngineFailure, Evaluation, Samples};

/// A trainer with the session's learning-rate schedule.
#[derive(Debug)]
pub struct CpuEngine {
    trainer: Trainer,
    schedule: Schedule,
    /// Samples taken of private data so far.
    own: u64,
}

/// The model of a charter in the engine's terms.
#[must_use]
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

impl CpuEngine {
    /// An engine on one thread and the data that the program carries for such a model; its parameters are still
    /// to be written.
    ///
    /// # Errors
    /// A model that the engine cannot have, or for which there is no such data.
    pub fn new(charter: &Charter) -> Result<CpuEngine, EngineFailure> {
        let shape = shape_of(&charter.manifest.model);
        let example = Example::of(&shape).ok_or_else(|| other("there is no data for such a model"))?;
        CpuEngine::on(charter, Data::embedded(example.bytes, &shape, charter.manifest.seed), 1)
    }

    /// The same on the files of a real session, whose bytes are the tokens where they are texts, and so many threads.
    ///
    /// # Errors
    /// A model that the engine cannot have, or files that cannot be read.
    pub fn on_files(
        charter: &Charter,
        files: &[PathBuf],
        threads: usize,
    ) -> Result<CpuEngine, EngineFailure> {
        let shape = shape_of(&charter.manifest.model);
        CpuEngine::on(charter, Data::open(files, &shape, charter.manifest.seed), threads)
    }

    fn on(
        charter: &Charter,
        data: Result<Data, DataError>,
        threads: usize,
    ) -> Result<CpuEngine, EngineFailure> {
        let Training { batch, optimizer, learning_rate, warmup, final_share, weight_decay, clip, .. } =
            charter.manifest.training;
        let data = data.map_err(other)?;
        let adamw = AdamW { weight_decay, clip, ..AdamW::default() };
        let optimizer = match optimizer {
            manifest::Optimizer::AdamW => Optimizer::AdamW(adamw),
            manifest::Optimizer::Muon { learning_rate: peak } => {
                Optimizer::Muon { muon: Muon::new(peak / learning_rate), adamw }
            }
            manifest::Optimizer::Sgd => Optimizer::Sgd(Sgd { weight_decay, clip }),
        };
        let options = EngineOptions { threads, batch: batch as usize, optimizer };
        let engine = ComputeEngine::new(shape_of(&charter.manifest.model), options).map_err(failure)?;
        let trainer = Trainer::new(engine, data).map_err(other)?;
        let schedule = Schedule { peak: learning_rate, warm_up: warmup, floor: final_share };
        Ok(CpuEngine { trainer, schedule, own: 0 })
    }

    fn positions(&mut self, samples: &Samples, steps: usize) -> Vec<u64> {
        let count = (steps * self.trainer.engine().batch()) as u64;
        let from = self.own;
        self.own += count;
        match samples {
            Samples::Leased(positions) => positions.clone(),
            Samples::Own => (from..from + count).collect(),
        }
    }

    /// The flat parameters.
    #[must_use]
    pub fn parameters(&self) -> &[f32] {
        self.trainer.engine().parameters()
    }
}

fn other(error: impl ToString) -> EngineFailure {
    EngineFailure::Other(error.to_string())
}

fn failure(error: EngineError) -> EngineFailure {
    match error {
        EngineError::NonFinite(what) => EngineFailure::NotFinite(format!("the {what}")),
        other => EngineFailure::Other(other.to_string()),
    }
}

impl Engine for CpuEngine {
    fn tensors(&self) -> Vec<(String, usize, usize)> {
        let tensors = self.trainer.tensors().iter();
        tensors.map(|tensor| (tensor.name.clone(), tensor.offset, tensor.len())).collect()
    }

    fn train(&mut self, samples: &Samples, progress: &[f32]) -> Result<Vec<f32>, EngineFailure> {
        let rates: Vec<f32> =
            progress.iter().map(|progress| self.schedule.learning_rate(f64::from(*progress))).collect();
        let positions = self.positions(samples, rates.len());
        let report = self.trainer.train(&positions, &rates).map_err(|error| match error {
            TrainError::Step { error, .. } => failure(error),
            other => EngineFailure::Other(other.to_string()),
        })?;
        Ok(report.losses)
    }

    fn loss(&mut self, samples: &Samples) -> Result<f32, EngineFailure> {
        let positions = self.positions(samples, 1);
        self.trainer.loss(&positions).map_err(failure)
    }

    fn gradient(&mut self, samples: &Samples, into: &mut [f32]) -> Result<f32, EngineFailure> {
        let positions = self.positions(samples, 1);
        self.trainer.gradient(&positions, into).map_err(failure)
    }

    fn read(&mut self, range: Range<usize>, into: &mut [f32]) -> Result<(), EngineFailure> {
        self.trainer.read(range, into);
        Ok(())
    }

    fn write(&mut self, range: Range<usize>, values: &[f32]) -> Result<(), EngineFailure> {
        self.trainer.write(range, values);
        Ok(())
    }

    fn evaluate(&mut self, windows: Option<u64>) -> Result<Evaluation, EngineFailure> {
        let found = self.trainer.evaluate(windows).map_err(failure)?;
        Ok(Evaluation { loss: found.loss, accuracy: found.accuracy })
    }

    fn save(&mut self) -> Result<Vec<u8>, EngineFailure> {
        Ok(self.trainer.save())
    }

    fn load(&mut self, bytes: &[u8]) -> Result<(), EngineFailure> {
        self.trainer.load(bytes).map_err(|error| EngineFailure::Other(error.to_string()))
    }
}
