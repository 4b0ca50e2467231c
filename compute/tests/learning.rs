//! Golden learning: `gpt:tiny` learns tiny shakespeare as fast as an independent PyTorch model did.

use driftless_compute::{
    Corpus, Engine, EngineOptions, GptShape, Optimizer, Schedule, TINY_SHAKESPEARE, Trainer, rng,
};

/// 300 steps of 768 tokens with their own cosine: PyTorch reached 2.385 and 2.402 nats per byte with two seeds.
#[test]
fn three_hundred_steps_reach_the_reference() {
    let shape = GptShape::named("gpt:tiny", 256).unwrap();
    let options = EngineOptions { threads: 2, batch: 12, optimizer: Optimizer::default() };
    let mut engine = Engine::new(shape, options).unwrap();
    engine.write(0..shape.parameter_count(), &rng::initialise(shape, 1));
    let corpus = Corpus::embedded(TINY_SHAKESPEARE, shape.context, [1; 32]).unwrap();
    let mut trainer = Trainer::new(engine, corpus).unwrap();
    let schedule = Schedule { peak: 1e-3, warm_up: 0.1, floor: 0.1 };
    let samples: Vec<u64> = (0..3600).collect();
    let rates: Vec<f32> = (1..=300).map(|step| schedule.learning_rate(f64::from(step) / 300.0)).collect();
    let report = trainer.train(&samples, &rates).unwrap();
    assert!((report.losses[0] - 256_f32.ln()).abs() < 0.1, "first loss {}", report.losses[0]);
    let loss = trainer.validation_loss(None).unwrap();
    println!("validation loss after 300 steps: {loss:.3}");
    assert!(loss < 2.50, "validation loss {loss}");
}
