//! `cargo run --release --example learn -- 2000 4e-3 1`: steps of `gpt:tiny` on the embedded text, peak learning rate,
//! seed; prints the validation loss in nats per byte, with the default schedule.

use driftless_compute::{
    Corpus, Engine, EngineOptions, GptShape, Optimizer, Schedule, TINY_SHAKESPEARE, Trainer, rng,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [steps, peak, seed] = &arguments[..] else { return Err("usage: STEPS PEAK SEED".into()) };
    let (steps, seed): (u32, u8) = (steps.parse()?, seed.parse()?);
    let schedule = Schedule::new(peak.parse()?);
    let shape = GptShape::named("gpt:tiny", 256).ok_or("no such model")?;
    let mut engine =
        Engine::new(shape, EngineOptions { threads: 1, batch: 12, optimizer: Optimizer::default() })?;
    engine.write(0..shape.parameter_count(), &rng::initialise(shape, seed.into()));
    let corpus = Corpus::embedded(TINY_SHAKESPEARE, shape.context, [seed; 32])?;
    let mut trainer = Trainer::new(engine, corpus)?;
    let samples: Vec<u64> = (0..u64::from(steps) * 12).collect();
    let rates: Vec<f32> =
        (0..steps).map(|step| schedule.learning_rate(f64::from(step) / f64::from(steps))).collect();
    trainer.train(&samples, &rates)?;
    println!("{:.4}", trainer.validation_loss(None)?);
    Ok(())
}
