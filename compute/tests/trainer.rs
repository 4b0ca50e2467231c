//! Engine and corpus together: training, its errors, and text.

use driftless_compute::sample::{SampleError, Sampling, generate};
use driftless_compute::{
    Batch, Corpus, Data, Engine, EngineError, EngineOptions, GptShape, Optimizer, TINY_SHAKESPEARE,
    TrainError, Trainer, rng,
};

const SHAPE: GptShape = GptShape { layers: 1, heads: 2, width: 16, context: 8, vocabulary: 256 };

fn engine(shape: GptShape) -> Engine {
    let options = EngineOptions { threads: 1, batch: 2, optimizer: Optimizer::default() };
    let mut engine = Engine::new(shape, options).unwrap();
    engine.write(0..shape.parameter_count(), &rng::initialise(shape, 1));
    engine
}

fn corpus(context: usize) -> Corpus {
    Corpus::embedded(TINY_SHAKESPEARE, context, [3; 32]).unwrap()
}

#[test]
fn two_calls_train_like_one_and_a_checkpoint_continues() {
    let (samples, rates) = ((0..12).collect::<Vec<u64>>(), [1e-2; 6]);
    let mut whole = Trainer::new(engine(SHAPE), corpus(8)).unwrap();
    let report = whole.train(&samples, &rates).unwrap();
    assert_eq!(report.losses.len(), 6);

    let mut parts = Trainer::new(engine(SHAPE), corpus(8)).unwrap();
    let mut losses = parts.train(&samples[..4], &rates[..2]).unwrap().losses;
    let saved = parts.save();
    let mut resumed = Trainer::new(engine(SHAPE), corpus(8)).unwrap();
    resumed.load(&saved).unwrap();
    losses.extend(resumed.train(&samples[4..], &rates[2..]).unwrap().losses);
    assert_eq!(losses, report.losses);
    assert!(resumed.save() == whole.save());

    let last = SHAPE.parameter_count();
    assert_eq!(resumed.tensors().last().unwrap().range().end, last);
    let mut values = [0.0; 3];
    resumed.write(last - 3..last, &[1.0, 2.0, 3.0]);
    resumed.read(last - 3..last, &mut values);
    assert_eq!(values, [1.0, 2.0, 3.0]);
}

#[test]
fn validation_reads_as_many_windows_as_asked() {
    let mut trainer = Trainer::new(engine(SHAPE), corpus(8)).unwrap();
    let mut engine = engine(SHAPE);
    let mut total = 0.0;
    let Data::Texts(corpus) = trainer.data() else { panic!("texts") };
    for index in [0, corpus.validation_windows() / 2] {
        let mut window = [0; 9];
        corpus.fill_validation(index, &mut window);
        total += engine.loss(Batch::Tokens(&window)).unwrap();
    }
    let loss = trainer.validation_loss(Some(2)).unwrap();
    assert!((loss - total / 2.0).abs() < 1e-5);
    let all = trainer.validation_loss(None).unwrap();
    assert!((all - trainer.validation_loss(Some(u64::MAX)).unwrap()).abs() < 1e-12);
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(matches!(Trainer::new(engine(SHAPE), corpus(9)), Err(TrainError::Mismatch { .. })));
    let narrow = GptShape { vocabulary: 255, ..SHAPE };
    assert!(matches!(Trainer::new(engine(narrow), corpus(8)), Err(TrainError::Mismatch { .. })));
    let mut trainer = Trainer::new(engine(SHAPE), corpus(8)).unwrap();
    let error = trainer.train(&[0, 1, 2], &[1e-2]).unwrap_err();
    assert!(matches!(error, TrainError::SampleCount { expected: 2, got: 3, .. }));
    let error = trainer.train(&[0, 1, 2, 3], &[1e-2, f32::NAN]).unwrap_err();
    assert!(matches!(error, TrainError::Step { step: 1, error: EngineError::LearningRate(_) }));
    assert_eq!(trainer.engine().optimizer_steps(), 1);
    trainer.write(0..1, &[f32::NAN]);
    trainer.write(SHAPE.width * 32..SHAPE.width * 33, &[f32::NAN; 16]);
    let error = trainer.train(&[0, 1], &[1e-2]).unwrap_err();
    assert!(error.to_string().contains("not finite"), "{error}");
}

#[test]
fn text_depends_on_the_seed_alone() {
    let mut engine = engine(SHAPE);
    let mut run = |sampling: Sampling| {
        let mut heard = Vec::new();
        let tokens = generate(&mut engine, &[10, 20], 30, &sampling, |token| heard.push(token)).unwrap();
        assert_eq!(tokens, heard);
        tokens
    };
    let first = run(Sampling::default());
    assert_eq!(first.len(), 30);
    assert_eq!(first, run(Sampling::default()));
    assert_ne!(first, run(Sampling { seed: 1, ..Sampling::default() }));

    let mut fails =
        |prompt: &[u32], sampling| generate(&mut engine, prompt, 1, &sampling, |_| {}).unwrap_err();
    let default = Sampling::default();
    assert!(matches!(fails(&[], default), SampleError::EmptyPrompt));
    assert!(matches!(fails(&[256], default), SampleError::Engine(EngineError::Token { .. })));
    let broken = Sampling { temperature: f32::NAN, ..default };
    assert!(matches!(fails(&[1], broken), SampleError::Temperature(_)));
    assert!(matches!(fails(&[1], Sampling { top_k: Some(0), ..default }), SampleError::TopK));
}
