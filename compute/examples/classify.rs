//! `cargo run --release --example classify -- cnn 2000 0.1 64 1 FILE...`: model (mlp, cnn or logistic), steps of gradient
//! descent, peak learning rate of a cosine to zero, batch, seed, files of rows; prints loss and accuracy of the rows for
//! validation, and seconds.

use driftless_compute::{
    CnnShape, Engine, EngineOptions, LogisticShape, MlpShape, Optimizer, Schedule, Sgd, Shape, Table,
    TableOptions, Trainer, rng,
};
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, steps, peak, batch, seed, files @ ..] = &arguments[..] else {
        return Err("usage: mlp|cnn|logistic STEPS PEAK BATCH SEED FILE...".into());
    };
    let (steps, batch, seed): (u64, usize, u8) = (steps.parse()?, batch.parse()?, seed.parse()?);
    let paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let table = Table::open(&paths, TableOptions::default(), [seed; 32])?;
    let (inputs, classes) = (table.shape().inputs, table.shape().classes);
    let shape: Shape = match model.as_str() {
        "mlp" => MlpShape { inputs, hidden: 64, layers: 1, classes }.into(),
        "cnn" => CnnShape { side: inputs.isqrt(), channels: 1, filters: 8, classes }.into(),
        "logistic" => LogisticShape { inputs, regularization: 0.0 }.into(),
        other => return Err(format!("unknown model {other}").into()),
    };
    let options = EngineOptions { threads: 1, batch, optimizer: Optimizer::Sgd(Sgd::default()) };
    let mut engine = Engine::new(shape, options)?;
    engine.write(0..shape.parameter_count(), &rng::initialise(shape, seed.into()));
    let mut trainer = Trainer::new(engine, table)?;
    let schedule = Schedule { peak: peak.parse()?, warm_up: 0.0, floor: 0.0 };
    let positions: Vec<u64> = (0..steps * batch as u64).collect();
    let rates: Vec<f32> = (0..steps).map(|step| schedule.learning_rate(step as f64 / steps as f64)).collect();
    let start = Instant::now();
    trainer.train(&positions, &rates)?;
    let seconds = start.elapsed().as_secs_f64();
    let found = trainer.evaluate(None)?;
    println!("loss {:.4} accuracy {:.4} seconds {seconds:.2}", found.loss, found.accuracy.unwrap_or(0.0));
    Ok(())
}
