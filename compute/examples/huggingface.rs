//! The exchange with `transformers`, by hand: `-- export DIR` trains `gpt:tiny` for 50 steps, writes it and prints its
//! validation loss over 64 windows; `-- loss DIR` reads a folder and prints its loss over the same windows.

use driftless_compute::{
    Corpus, Engine, EngineOptions, GptShape, Optimizer, TINY_SHAKESPEARE, Trainer, evaluate, huggingface, rng,
};
use std::path::Path;

const WINDOWS: u64 = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [action, directory] = &arguments[..] else { return Err("usage: export|loss DIR".into()) };
    let loss = match action.as_str() {
        "export" => export(Path::new(directory))?,
        "loss" => loss(Path::new(directory))?,
        other => return Err(format!("unknown action {other}").into()),
    };
    println!("{loss:.6}");
    Ok(())
}

fn export(directory: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let shape = GptShape::named("gpt:tiny", 256).ok_or("no such model")?;
    let mut engine =
        Engine::new(shape, EngineOptions { threads: 2, batch: 12, optimizer: Optimizer::default() })?;
    engine.write(0..shape.parameter_count(), &rng::initialise(shape, 1));
    let corpus = Corpus::embedded(TINY_SHAKESPEARE, shape.context, [1; 32])?;
    let mut trainer = Trainer::new(engine, corpus)?;
    let samples: Vec<u64> = (0..50 * 12).collect();
    trainer.train(&samples, &[2e-3; 50])?;
    huggingface::export(directory, &shape, trainer.engine().parameters(), None)?;
    Ok(trainer.validation_loss(Some(WINDOWS))?)
}

fn loss(directory: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let imported = huggingface::import(directory)?;
    let options = EngineOptions { threads: 2, batch: 4, optimizer: Optimizer::default() };
    let mut engine = Engine::new(imported.shape, options)?;
    engine.write(0..imported.parameters.len(), &imported.parameters);
    let corpus = Corpus::embedded(TINY_SHAKESPEARE, imported.shape.context, [1; 32])?;
    Ok(evaluate(&mut engine, &corpus.into(), Some(WINDOWS))?.loss)
}
