//! The engine from outside: bits for any number of threads, errors that change nothing, checkpoints.

use driftless_compute::{
    AdamW, Batch, CheckpointError, Engine, EngineError, EngineOptions, GptShape, Muon, Optimizer, Sgd, rng,
};

const SHAPE: GptShape = GptShape { layers: 2, heads: 2, width: 24, context: 12, vocabulary: 40 };

fn engine(threads: usize, batch: usize) -> Engine {
    engine_with(Optimizer::default(), threads, batch)
}

fn engine_with(optimizer: Optimizer, threads: usize, batch: usize) -> Engine {
    let options = EngineOptions { threads, batch, optimizer };
    let mut engine = Engine::new(SHAPE, options).unwrap();
    engine.write(0..SHAPE.parameter_count(), &rng::initialise(SHAPE, 5));
    engine
}

/// Tokens with some structure, different for every step.
fn tokens(rows: usize, step: usize) -> Vec<u32> {
    (0..rows * (SHAPE.context + 1)).map(|i| ((i * i + 7 * step + i / 13) % SHAPE.vocabulary) as u32).collect()
}

/// AdamW for everything; Muon for the blocks' matrices; gradient descent.
fn optimizers() -> [Optimizer; 3] {
    let muon = Muon { rate: 5.0, momentum: 0.95 };
    let adamw = AdamW::default();
    [Optimizer::AdamW(adamw), Optimizer::Muon { muon, adamw }, Optimizer::Sgd(Sgd::default())]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The largest batch is more than the caller does alone.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (batch, optimizer) in
        [1, 2, 3, 5, 8, 13].into_iter().flat_map(|batch| optimizers().map(|optimizer| (batch, optimizer)))
    {
        let mut runs = [1, 2, 3, 8].map(|threads| {
            let mut engine = engine_with(optimizer, threads, batch);
            let reports: Vec<_> =
                (0..5).map(|step| engine.step(Batch::Tokens(&tokens(batch, step)), 1e-2).unwrap()).collect();
            let loss = engine.loss(Batch::Tokens(&tokens(7, 99))).unwrap();
            (reports, loss.to_bits(), bits(engine.parameters()), engine.save())
        });
        let first = runs[0].clone();
        assert!(runs.iter_mut().all(|run| *run == first), "batch {batch}, {optimizer:?}");
        assert!(first.0.iter().all(|report| report.loss > 0.0 && report.gradient_norm > 0.0));
    }
}

#[test]
fn a_step_lowers_the_loss_of_its_own_batch() {
    let mut engine = engine(2, 4);
    let batch = tokens(4, 0);
    let first = engine.step(Batch::Tokens(&batch), 1e-2).unwrap().loss;
    for _ in 0..30 {
        engine.step(Batch::Tokens(&batch), 1e-2).unwrap();
    }
    let last = engine.loss(Batch::Tokens(&batch)).unwrap();
    assert!(last < 0.7 * f64::from(first), "{last} after {first}");
}

#[test]
fn broken_input_changes_nothing() {
    let mut engine = engine(2, 4);
    engine.step(Batch::Tokens(&tokens(4, 0)), 1e-2).unwrap();
    let before = engine.save();
    let good = tokens(4, 1);

    let mut bad = good.clone();
    bad[17] = 40;
    assert!(matches!(
        engine.step(Batch::Tokens(&bad), 1e-2),
        Err(EngineError::Token { token: 40, position: 17, vocabulary: 40 })
    ));
    assert!(matches!(
        engine.step(Batch::Tokens(&good[1..]), 1e-2),
        Err(EngineError::TokenCount { got: 51, .. })
    ));
    assert!(matches!(engine.loss(Batch::Tokens(&good[1..])), Err(EngineError::TokenCount { .. })));
    assert!(matches!(engine.logits_last(&[]), Err(EngineError::TokenCount { .. })));
    assert!(matches!(engine.logits_last(&[1; 13]), Err(EngineError::TokenCount { .. })));
    for rate in [f32::NAN, f32::INFINITY, -1.0] {
        assert!(matches!(engine.step(Batch::Tokens(&good), rate), Err(EngineError::LearningRate(_))));
    }
    assert!(engine.save() == before);
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    for broken in [f32::NAN, f32::INFINITY, 3e38] {
        for index in [3, SHAPE.vocabulary * SHAPE.width + 2, SHAPE.parameter_count() - 1] {
            let mut engine = engine(2, 4);
            engine.step(Batch::Tokens(&tokens(4, 0)), 1e-2).unwrap();
            // Two values of 3e38 overflow where one may pass through a norm unharmed.
            engine.write(index..index + 1, &[broken]);
            let before = engine.save();
            match engine.step(Batch::Tokens(&tokens(4, 1)), 1e-2) {
                Err(EngineError::NonFinite(_)) => {
                    assert!(engine.save() == before);
                }
                Err(error) => panic!("{error}"),
                Ok(report) => assert!(broken == 3e38 && report.loss.is_finite()),
            }
        }
    }
}

#[test]
fn a_checkpoint_continues_with_the_same_bits() {
    for optimizer in optimizers() {
        let mut first = engine_with(optimizer, 2, 4);
        for step in 0..3 {
            first.step(Batch::Tokens(&tokens(4, step)), 1e-2).unwrap();
        }
        let saved = first.save();
        let mut second = engine_with(optimizer, 1, 4);
        second.load(&saved).unwrap();
        assert_eq!(second.optimizer_steps(), 3);
        assert!(second.save() == saved);
        for step in 3..6 {
            let reports = [&mut first, &mut second]
                .map(|engine| engine.step(Batch::Tokens(&tokens(4, step)), 1e-2).unwrap());
            assert_eq!(reports[0], reports[1]);
        }
        assert_eq!(bits(first.parameters()), bits(second.parameters()));
    }
}

/// One step from the same start: AdamW's tensors move as they do without Muon, the blocks' matrices by updates of
/// Muon's size.
#[test]
fn muon_moves_the_matrices_of_the_blocks_and_nothing_else() {
    let [adamw, muon, _] = optimizers().map(|optimizer| {
        let mut engine = engine_with(optimizer, 2, 4);
        engine.step(Batch::Tokens(&tokens(4, 0)), 1e-2).unwrap();
        engine
    });
    let start = rng::initialise(SHAPE, 5);
    for tensor in adamw.tensors() {
        let of = |engine: &Engine| bits(&engine.parameters()[tensor.range()]);
        let is_blocks = tensor.name.starts_with("h.") && tensor.is_matrix();
        assert_eq!(of(&adamw) != of(&muon), is_blocks, "{}", tensor.name);
        if is_blocks {
            // rate 0.05, scaled so that a value of a full-rank update is 0.2 of it, singular values within .67 and 1.21
            // of one; the matrices of heads may have less than full rank.
            let moved =
                tensor.range().map(|i| f64::from(muon.parameters()[i] - start[i]).powi(2)).sum::<f64>();
            let size = (moved / tensor.len() as f64).sqrt() / (0.05 * 0.2);
            assert!((0.1..1.3).contains(&size), "{}: {size}", tensor.name);
        }
    }
}

#[test]
fn a_checkpoint_with_any_byte_changed_is_refused() {
    let shape = GptShape { layers: 1, heads: 1, width: 2, context: 2, vocabulary: 3 };
    let options = EngineOptions { threads: 1, batch: 1, optimizer: Optimizer::default() };
    let mut engine = Engine::new(shape, options).unwrap();
    engine.write(0..shape.parameter_count(), &rng::initialise(shape, 1));
    engine.step(Batch::Tokens(&[0, 1, 2]), 1e-2).unwrap();
    let saved = engine.save();
    for index in 0..saved.len() {
        let mut damaged = saved.clone();
        damaged[index] ^= 1 << (index % 8);
        assert!(engine.load(&damaged).is_err(), "byte {index}");
        assert!(engine.load(&saved[..index]).is_err(), "cut at {index}");
    }
    assert!(engine.save() == saved);

    let longer = [saved.as_slice(), &[0]].concat();
    assert!(matches!(engine.load(&longer), Err(CheckpointError::Length { .. })));
    let mut version = saved.clone();
    version[8] = 9;
    assert_eq!(engine.load(&version), Err(CheckpointError::Version(9)));
    assert_eq!(engine.load(b"not a checkpoint"), Err(CheckpointError::Magic));
    let other = GptShape { vocabulary: 4, ..shape };
    let other = Engine::new(other, options).unwrap().save();
    assert_eq!(engine.load(&other), Err(CheckpointError::Shape));
    engine.write(0..1, &[f32::NAN]);
    let broken = engine.save();
    assert_eq!(engine.load(&broken), Err(CheckpointError::NonFinite));
}

#[test]
fn a_ramp_scales_the_first_learning_rates() {
    let change = |ramp: u32, rate: f32| {
        let mut engine = engine(1, 4);
        engine.set_ramp(ramp);
        let before = engine.parameters().to_vec();
        engine.step(Batch::Tokens(&tokens(4, 0)), rate).unwrap();
        bits(engine.parameters()) != bits(&before)
            && engine.parameters().iter().zip(&before).all(|(a, b)| (a - b).abs() <= rate * 1.2)
    };
    assert!(change(0, 1e-2));
    let mut ramped = engine(1, 4);
    ramped.set_ramp(20);
    let mut plain = engine(1, 4);
    for step in 0..25 {
        let share = ((step + 1) as f32 / 20.0).min(1.0);
        ramped.step(Batch::Tokens(&tokens(4, step)), 1e-2).unwrap();
        plain.step(Batch::Tokens(&tokens(4, step)), 1e-2 * share).unwrap();
    }
    assert_eq!(bits(ramped.parameters()), bits(plain.parameters()));
    ramped.reset_optimizer();
    assert_eq!(ramped.optimizer_steps(), 0);
}

#[test]
fn logits_agree_with_the_loss() {
    let mut engine = engine(2, 4);
    let row = tokens(1, 3);
    let mut nats = 0.0;
    for length in 1..=SHAPE.context {
        let logits = engine.logits_last(&row[..length]).unwrap();
        let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
        nats += sum.ln() - f64::from(logits[row[length] as usize]);
    }
    let loss = engine.loss(Batch::Tokens(&row)).unwrap() * SHAPE.context as f64;
    assert!((loss - nats).abs() < 1e-4 * nats, "{loss} and {nats}");
}

#[test]
fn impossible_engines_are_refused() {
    let options = EngineOptions { threads: 1, batch: 1, optimizer: Optimizer::default() };
    let new = |shape, options| Engine::new(shape, options).err().map(|error| error.to_string());
    assert!(new(GptShape { heads: 5, ..SHAPE }, options).unwrap().contains("multiple"));
    assert!(new(SHAPE, EngineOptions { threads: 0, ..options }).unwrap().contains("threads"));
    assert!(new(SHAPE, EngineOptions { batch: 0, ..options }).unwrap().contains("batch"));
    let optimizer = Optimizer::AdamW(AdamW { beta1: 2.0, ..AdamW::default() });
    assert!(new(SHAPE, EngineOptions { optimizer, ..options }).unwrap().contains("adamw"));
}
