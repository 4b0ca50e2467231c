//! Models of rows from outside: learning, bits for any number of threads, gradients and losses without a step, errors.

use driftless_compute::{
    AUSTRALIAN, AdamW, Batch, CheckpointError, CnnShape, Corpus, DIGITS, Engine, EngineError, EngineOptions,
    GptShape, LogisticShape, Mismatch, MlpShape, Muon, Optimizer, Scaling, Schedule, Sgd, Shape, Split,
    TINY_SHAKESPEARE, Table, TableOptions, TrainError, Trainer, evaluate, rng,
};

const MLP: MlpShape = MlpShape { inputs: 64, hidden: 64, layers: 1, classes: 10 };
const CNN: CnnShape = CnnShape { side: 8, channels: 1, filters: 8, classes: 10 };
const LOGISTIC: LogisticShape = LogisticShape { inputs: 14, regularization: 1e-3 };
const GPT: GptShape = GptShape { layers: 2, heads: 2, width: 16, context: 8, vocabulary: 256 };

fn engine(shape: impl Into<Shape>, threads: usize, batch: usize, optimizer: Optimizer) -> Engine {
    let shape = shape.into();
    let mut engine = Engine::new(shape, EngineOptions { threads, batch, optimizer }).unwrap();
    engine.write(0..shape.parameter_count(), &rng::initialise(shape, 1));
    engine
}

fn sgd() -> Optimizer {
    Optimizer::Sgd(Sgd::default())
}

fn digits() -> Table {
    Table::embedded(DIGITS, TableOptions::default(), [3; 32]).unwrap()
}

/// All 690 rows, raw and in order.
fn australian() -> Table {
    let options = TableOptions { inputs: None, scaling: Scaling::Raw, split: Split::Whole };
    Table::embedded(AUSTRALIAN, options, [3; 32]).unwrap()
}

/// Trains with a cosine to zero.
fn train(trainer: &mut Trainer, steps: u64, peak: f32) {
    let schedule = Schedule { peak, warm_up: 0.0, floor: 0.0 };
    let positions: Vec<u64> = (0..steps * trainer.engine().batch() as u64).collect();
    let rates: Vec<f32> = (0..steps).map(|step| schedule.learning_rate(step as f64 / steps as f64)).collect();
    trainer.train(&positions, &rates).unwrap();
}

/// The digits of the spec's check C2: an independent model reached .975 to .983 with 8 peers.
#[test]
fn an_mlp_learns_digits() {
    let mut trainer = Trainer::new(engine(MLP, 1, 16, sgd()), digits()).unwrap();
    let before = trainer.evaluate(None).unwrap();
    assert!(before.accuracy.unwrap() < 0.3 && before.samples == 360);
    train(&mut trainer, 960 * 8, 0.2);
    let after = trainer.evaluate(None).unwrap();
    println!("mlp: {after:?}");
    assert!(after.accuracy.unwrap() >= 0.96 && after.loss < 0.2, "{after:?}");
    assert_eq!(trainer.validation_loss(None).unwrap(), after.loss);
}

#[test]
fn a_cnn_learns_digits() {
    let mut trainer = Trainer::new(engine(CNN, 2, 16, sgd()), digits()).unwrap();
    train(&mut trainer, 700, 0.2);
    let after = trainer.evaluate(None).unwrap();
    println!("cnn: {after:?}");
    assert!(after.accuracy.unwrap() >= 0.96, "{after:?}");
}

/// One trainer of each kind of model.
fn trainers(threads: usize, batch: usize, optimizer: Optimizer) -> [Trainer; 4] {
    let corpus = Corpus::embedded(TINY_SHAKESPEARE, GPT.context, [3; 32]).unwrap();
    let mut logistic = Trainer::new(engine(LOGISTIC, threads, batch, optimizer), australian()).unwrap();
    logistic.write(0..14, &[1e-4; 14]);
    [
        Trainer::new(engine(MLP, threads, batch, optimizer), digits()).unwrap(),
        Trainer::new(engine(CNN, threads, batch, optimizer), digits()).unwrap(),
        logistic,
        Trainer::new(engine(GPT, threads, batch, optimizer), corpus).unwrap(),
    ]
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The largest batch of the neural networks is more than the caller does alone.
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (batch, optimizer) in [(1, sgd()), (3, Optimizer::default()), (90, sgd())] {
        let runs = [1, 2, 3, 8].map(|threads| {
            trainers(threads, batch, optimizer).map(|mut trainer| {
                let positions: Vec<u64> = (0..4 * batch as u64).collect();
                let report = trainer.train(&positions, &[1e-4; 4]).unwrap();
                let mut gradient = vec![0.0; trainer.engine().parameter_count()];
                // One batch and a rest, or many.
                let positions: Vec<u64> = (5..128).collect();
                let loss = trainer.gradient(&positions, &mut gradient).unwrap();
                let evaluation = trainer.evaluate(Some(77)).unwrap();
                (report, bits(&gradient), loss, trainer.loss(&positions).unwrap(), evaluation, trainer.save())
            })
        });
        assert!(runs.iter().all(|run| *run == runs[0]), "batch {batch}");
    }
}

/// With B samples the gradient is the step's own: a step of gradient descent is predicted to the bit.
#[test]
fn a_gradient_is_that_of_a_step_and_changes_nothing() {
    for mut trainer in trainers(2, 6, sgd()) {
        let positions = [3, 1, 4, 1, 5, 9];
        let saved = trainer.save();
        let mut gradient = vec![f32::NAN; trainer.engine().parameter_count()];
        let loss = trainer.gradient(&positions, &mut gradient).unwrap();
        let forward = trainer.loss(&positions).unwrap();
        assert!((forward - loss).abs() <= 1e-6 * loss, "{forward} and {loss}");
        assert!(trainer.save() == saved, "nothing is updated");

        let before = trainer.engine().parameters().to_vec();
        let report = trainer.train(&positions, &[0.01]).unwrap();
        assert_eq!(report.losses, [loss]);
        let expected: Vec<f32> = before.iter().zip(&gradient).map(|(w, g)| w - 0.01 * g).collect();
        assert_eq!(bits(trainer.engine().parameters()), bits(&expected), "{:?}", trainer.engine().shape());
    }
}

/// The gradient over two batches and a half is the weighted mean of theirs.
#[test]
fn a_gradient_over_many_samples_is_their_mean() {
    for mut trainer in trainers(2, 4, sgd()) {
        let positions: Vec<u64> = (20..30).collect();
        let mut room = vec![0.0; trainer.engine().parameter_count()];
        let whole_loss = f64::from(trainer.gradient(&positions, &mut room).unwrap());
        let whole = room.clone();
        let (mut mean, mut loss) = (vec![0.0; room.len()], 0.0);
        for part in positions.chunks(3) {
            let share = part.len() as f64 / 10.0;
            loss += share * f64::from(trainer.gradient(part, &mut room).unwrap());
            mean.iter_mut().zip(&room).for_each(|(mean, value)| *mean += share * f64::from(*value));
        }
        assert!((loss - whole_loss).abs() < 1e-6 * loss);
        let largest = mean.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        assert!(whole.iter().zip(&mean).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-5 * largest));
    }
}

/// All losses at w = 0 are ln 2, and the gradient is the mean of -y x / 2 (computed in f64 by NumPy).
#[test]
fn logistic_regression_on_raw_rows_from_zero() {
    let mut trainer = Trainer::new(engine(LOGISTIC, 2, 100, sgd()), australian()).unwrap();
    let positions: Vec<u64> = (0..690).collect();
    let mut gradient = [0.0; 14];
    let loss = trainer.gradient(&positions, &mut gradient).unwrap();
    assert!((loss - std::f32::consts::LN_2).abs() < 1e-6);
    let expected = [
        0.040_579_710,
        0.787_159_448,
        -0.247_913_046,
        0.055_797_101,
        -0.277_536_232,
        0.014_492_754,
        -0.413_463_768,
        -0.15,
        -0.089_130_435,
        -0.849_275_362,
        0.017_391_304,
        0.089_130_435,
        18.681_159_4,
        -398.397_101,
    ];
    for (found, expected) in gradient.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found}, {expected}");
    }
    // Whatever is not above zero counts as label 0, which 383 rows have.
    let evaluation = trainer.evaluate(None).unwrap();
    assert_eq!(evaluation.accuracy, Some(383.0 / 690.0));

    // The objective at another point, regularizer included.
    let weights: [f32; 14] = std::array::from_fn(|i| -1e-4 + 2e-4 * i as f32 / 13.0);
    trainer.write(0..14, &weights);
    let loss = trainer.evaluate(None).unwrap().loss;
    assert!((loss - 0.673_543_037_79).abs() < 1e-6, "{loss}");
    assert!((f64::from(trainer.loss(&positions).unwrap()) - loss).abs() < 1e-6);
}

#[test]
fn checkpoints_continue_and_those_of_other_models_are_refused() {
    for optimizer in [sgd(), Optimizer::default()] {
        let saved: Vec<Vec<u8>> = trainers(2, 4, optimizer)
            .into_iter()
            .map(|mut first| {
                let positions: Vec<u64> = (0..16).collect();
                first.train(&positions[..8], &[1e-4; 2]).unwrap();
                let saved = first.save();
                first.train(&positions[8..], &[1e-4; 2]).unwrap();
                let fresh = trainers(1, 4, optimizer);
                let mut second =
                    fresh.into_iter().find(|other| other.engine().shape() == first.engine().shape()).unwrap();
                second.load(&saved).unwrap();
                second.train(&positions[8..], &[1e-4; 2]).unwrap();
                assert!(second.save() == first.save());
                saved
            })
            .collect();
        for (own, mut trainer) in trainers(1, 4, optimizer).into_iter().enumerate() {
            for (other, bytes) in saved.iter().enumerate().filter(|(other, _)| *other != own) {
                assert_eq!(trainer.load(bytes), Err(CheckpointError::Shape), "{other} for {own}");
            }
        }
    }
    // What another optimizer wrote has another length.
    let [mut mlp, ..] = trainers(1, 4, sgd());
    let [other, ..] = trainers(1, 4, Optimizer::default());
    assert!(matches!(mlp.load(&other.save()), Err(CheckpointError::Length { .. })));
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let new = |shape: Shape, data: Table| match Trainer::new(engine(shape, 1, 4, sgd()), data) {
        Err(TrainError::Mismatch(mismatch)) => mismatch,
        other => panic!("{other:?}"),
    };
    assert!(matches!(new(GPT.into(), digits()), Mismatch::Kind { model: "gpt", data: "rows" }));
    let wide = MlpShape { inputs: 65, ..MLP };
    assert_eq!(new(wide.into(), digits()), Mismatch::Inputs { found: 64, inputs: 65 });
    let few = MlpShape { classes: 9, ..MLP };
    assert_eq!(new(few.into(), digits()), Mismatch::Labels { largest: 9, classes: 9 });
    let logistic = LogisticShape { inputs: 64, ..LOGISTIC };
    assert_eq!(new(logistic.into(), digits()), Mismatch::Labels { largest: 9, classes: 2 });
    let corpus = Corpus::embedded(TINY_SHAKESPEARE, 8, [3; 32]).unwrap();
    let error = Trainer::new(engine(MLP, 1, 4, sgd()), corpus).unwrap_err();
    assert!(error.to_string().contains("cannot train on texts"), "{error}");
    let mut mlp = engine(wide, 1, 4, sgd());
    assert!(matches!(evaluate(&mut mlp, &digits().into(), None), Err(EngineError::Mismatch(_))));

    let muon = Optimizer::Muon { muon: Muon::new(5.0), adamw: AdamW::default() };
    let options = EngineOptions { threads: 1, batch: 1, optimizer: muon };
    assert!(Engine::new(MLP, options).unwrap_err().to_string().contains("muon is for"));
    let sgd = Optimizer::Sgd(Sgd { clip: -1.0, ..Sgd::default() });
    assert!(Engine::new(MLP, EngineOptions { optimizer: sgd, ..options }).is_err());
}

#[test]
fn batches_that_are_not_the_models_are_refused_and_change_nothing() {
    let mut mlp = engine(MLP, 2, 2, sgd());
    let before = mlp.save();
    let features = [0.5; 128];
    let rows = |features, labels| Batch::Rows { features, labels };
    assert!(matches!(mlp.step(Batch::Tokens(&[1; 9]), 0.1), Err(EngineError::Kind { model: "mlp" })));
    assert!(matches!(mlp.step(rows(&features[1..], &[1, 2]), 0.1), Err(EngineError::RowCount { .. })));
    assert!(matches!(
        mlp.step(rows(&features, &[1, 10]), 0.1),
        Err(EngineError::Label { label: 10, row: 1, classes: 10 })
    ));
    assert!(matches!(
        mlp.step(rows(&features[..64], &[1]), 0.1),
        Err(EngineError::SampleCount { expected: 2, got: 1 })
    ));
    assert!(matches!(mlp.loss(rows(&[], &[])), Err(EngineError::NoSamples)));
    let mut room = vec![0.0; MLP.parameter_count()];
    assert!(matches!(mlp.gradient(rows(&[], &[]), &mut room), Err(EngineError::NoSamples)));
    assert!(matches!(mlp.logits_last(&[1]), Err(EngineError::Kind { .. })));
    assert!(mlp.save() == before);
}

/// NaN and infinities pass through ReLU, maximum and the logistic loss to where they are found.
#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let optimizer = Optimizer::default();
    for index in 0..3 {
        for place in 0..14 {
            for broken in [f32::NAN, f32::INFINITY] {
                let mut trainer = trainers(2, 8, optimizer).into_iter().nth(index).unwrap();
                // Spread over all parameters.
                let place = place * (trainer.engine().parameter_count() - 1) / 13;
                trainer.write(place..place + 1, &[broken]);
                let before = trainer.save();
                let positions = [0, 1, 2, 3, 4, 5, 6, 7];
                match trainer.train(&positions, &[0.1]) {
                    Err(TrainError::Step { step: 0, error: EngineError::NonFinite(_) }) => {}
                    other => panic!("{:?} at {place}: {other:?}", trainer.engine().shape()),
                }
                assert!(trainer.save() == before);
                assert!(trainer.loss(&positions).is_err());
            }
        }
    }
}
