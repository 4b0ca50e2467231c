mod origin;

use proptest::prelude::*;

use super::*;
use crate::charter::Charter;
use crate::committee::QuorumRule;
use crate::identity::Signer;
use crate::method::{Combine, Ef21, MethodName, Overrun, SparseLoCo, StreamingDiLoCo};

fn tokenizer() -> DataFile {
    DataFile { name: "tokenizer.json".into(), length: 9, root: Hash::of(b"tokenizer") }
}

fn founder() -> Signer {
    Signer::from_seed([1; 32])
}

fn sample() -> Manifest {
    let Preset { model, method, training } = Manifest::preset("gpt:tiny").unwrap();
    let mut keys: Vec<PeerKey> = (1..=4).map(|n| Signer::from_seed([n; 32]).key()).collect();
    keys.sort();
    Manifest {
        name: "tiny shakespeare".into(),
        rules: RULES,
        model,
        tokenizer: None,
        seed: [7; 32],
        genesis: Hash::of(b"genesis"),
        origin: Origin::Seed,
        init_scale: 0.02,
        method,
        // The default that a file may leave out, not the preset's: the pinned id is of these terms.
        training: Training { warmup: 0.05, ..training },
        pacing: Pacing::Uniform,
        committee: Committee::Named { keys, quorum: QuorumRule::TwoThirds },
        admission: Admission::Open,
        data: Data::Public {
            files: vec![DataFile { name: "input.txt".into(), length: 1_115_394, root: Hash::of(b"file") }],
            samples_per_epoch: 15_685,
        },
        stop_at: Some(1_536_000),
        deadline: DeadlineBounds { minimum: Span::seconds(1), maximum: Span::seconds(15) },
        heartbeat: Span::seconds(60),
        max_lag: 4,
        max_contributors: 64,
        snapshot_every: 16,
        clip: None,
        combine: Combine::TrimmedMean { trim: 0.1 },
        slowest_link: 125_000,
    }
}

/// As different from `sample` as a manifest can be.
fn other() -> Manifest {
    let crate::model::Model::Gpt(shape) = Model::named("gpt:gpt2").unwrap() else { unreachable!() };
    Manifest {
        model: Model::Gpt(crate::model::GptShape { context: 512, ..shape }),
        tokenizer: Some(tokenizer()),
        origin: Origin::Imported(vec![Hash::of(b"page 0"), Hash::of(b"page 1")]),
        method: Method::StreamingDiLoCo(StreamingDiLoCo {
            fragments: 4,
            period: 100,
            tau: 3,
            alpha: 0.0,
            eta: 0.123_456_79,
            mu: 0.0,
            codec: crate::codec::Codec::F32,
            feedback: Some(0.5),
            max_overrun: Overrun::Steps(7),
        }),
        pacing: Pacing::Proportional { slot_time: Span::millis(1500), minimum: 5, maximum: 50 },
        committee: Committee::Steward { key: founder().key() },
        admission: Admission::Invitation { issuer: founder().key() },
        data: Data::Private { max_tokens_per_slot: 1 << 40 },
        stop_at: None,
        heartbeat: Span(90_000_001),
        clip: Some(Clip { factor: 2.5 }),
        combine: Combine::Mean,
        ..sample()
    }
}

/// A state of height 9 of another session that trained the same model.
fn parent() -> Parent {
    let charter = Charter::new(sample()).unwrap();
    let mut state = charter.genesis_state();
    state.control.height = 9;
    state.control.pool.next = 12_345;
    state.control.counted_tokens = 67_890;
    Parent::of(charter.session, &state, [3; 32])
}

/// A session that was founded on it.
fn founded() -> Manifest {
    Manifest { name: "plays again".into(), origin: Origin::Session(parent()), ..sample() }
}

#[test]
fn toml_round_trips_and_reads_well() {
    for manifest in [sample(), other(), founded()] {
        let text = manifest.to_toml().unwrap();
        assert_eq!(Manifest::from_toml(&text).unwrap(), manifest, "{text}");
    }
    let text = sample().to_toml().unwrap();
    for line in ["init_scale = 0.02", "heartbeat = \"1min\"", "quorum = \"two-thirds\"", "codec = \"e3m0\""] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_person_may_leave_out_what_has_a_default() {
    let text = format!(
        r#"
        name = "by hand"
        model = "gpt:tiny"
        seed = "{seed}"
        admission = "open"
        committee.steward.key = "{key}"
        data.private.max_tokens_per_slot = 100_000
        [method.streaming-diloco]
        fragments = 2
        period = 15
        tau = 1
        alpha = 0.5
        eta = 0.7
        mu = 0.9
        codec = "e3m0"
        max_overrun = "slot"
        [training]
        batch = 12
        learning_rate = 4e-3
        budget_tokens = 1_536_000
        "#,
        seed = Hash([7; 32]),
        key = founder().key(),
    );
    let manifest = Manifest::from_toml(&text).unwrap();
    let preset = Manifest::preset("gpt:tiny").unwrap();
    assert_eq!(
        (manifest.model, &manifest.method, &manifest.training),
        (preset.model, &preset.method, &Training { warmup: 0.05, ..preset.training })
    );
    assert_eq!((manifest.rules, manifest.pacing), (4, Pacing::Uniform));
    assert_eq!((manifest.init_scale, manifest.heartbeat), (0.02, Span::seconds(60)));
    assert_eq!((manifest.max_lag, manifest.max_contributors, manifest.snapshot_every), (4, 64, 16));

    let complain =
        |from: &str, to: &str| Manifest::from_toml(&text.replace(from, to)).unwrap_err().to_string();
    let unknown = complain("admission =", "heartbeet = \"60s\"\nadmission =");
    assert!(unknown.starts_with("manifest: line 5: unknown field `heartbeet`"), "{unknown}");
    assert!(unknown.ends_with("(did you mean `heartbeat`?)"), "{unknown}");
    let nested = complain("learning_rate", "learning-rate");
    assert!(nested.contains("(did you mean `learning_rate`?)"), "{nested}");
    let method = complain("alpha", "alhpa");
    assert!(method.contains("(did you mean `alpha`?)"), "{method}");
    let variant = complain("\"open\"", "\"opne\"");
    assert!(variant.contains("(did you mean `open`?)"), "{variant}");
    let far = complain("admission =", "zzz = 1\nadmission =");
    assert!(!far.contains("did you mean"), "{far}");
    let model = complain("gpt:tiny", "gpt:tinny");
    assert!(model.contains("no model is called \"gpt:tinny\""), "{model}");
    let span = complain("admission =", "heartbeat = \"60\"\nadmission =");
    assert!(span.contains("expected a duration such as \"60s\""), "{span}");
    let bound = complain("alpha = 0.5", "alpha = 1.5");
    assert_eq!(bound, "manifest: method: alpha is 1.5, it must be 0 to 1");
    let missing = complain("tau = 1", "");
    assert!(missing.contains("missing field `tau`"), "{missing}");
    let twice = complain("tau = 1", "tau = 1\ntau = 2");
    assert!(twice.contains("duplicate key"), "{twice}");
}

#[test]
fn presets_are_the_table_of_defaults() {
    for (name, fragments, period, eta, batch, rate) in [
        ("gpt:tiny", 2, 15, 0.7, 12, 4e-3),
        ("gpt:small", 2, 30, 0.4, 8, 1e-3),
        ("gpt:gpt2", 4, 100, 0.4, 8, 6e-4),
    ] {
        let Preset { model, method, training } = Manifest::preset(name).unwrap();
        let Method::StreamingDiLoCo(numbers) = &method else { unreachable!() };
        assert_eq!((numbers.fragments, numbers.period, numbers.tau), (fragments, period, 1), "{name}");
        assert_eq!((numbers.alpha, numbers.eta, numbers.mu), (0.5, eta, 0.9), "{name}");
        assert_eq!((training.batch, training.learning_rate), (batch, rate), "{name}");
        let tokenizer = (name == "gpt:gpt2").then(tokenizer);
        Manifest { model, method, training, tokenizer, ..sample() }.check().unwrap();
    }
    assert!(Manifest::preset("gpt:huge").is_err());
}

#[test]
fn the_session_id_is_pinned() {
    // A change of the canonical form is a change of every session's name: a decision.
    assert_eq!(sample().id().short(), "9e5d4f41");
    assert_eq!(sample().canonical_bytes().len(), 362);
    assert_eq!(founded().id().short(), "dc90ed52");
}

#[test]
fn a_signed_manifest_round_trips_and_belongs_to_its_session() {
    for manifest in [sample(), other(), founded()] {
        let sealed = SignedManifest::seal(manifest.clone(), &founder()).unwrap();
        let opened = SignedManifest::from_bytes(&sealed.to_bytes()).unwrap();
        assert_eq!(
            (opened.manifest(), opened.id(), opened.founder()),
            (&manifest, manifest.id(), founder().key())
        );
        assert_eq!(SignedManifest::open(&sealed.to_bytes(), manifest.id()), Ok(opened));
        let wanted = Hash::of(b"another session");
        let refused = SignedManifest::open(&sealed.to_bytes(), wanted).unwrap_err();
        assert_eq!(refused, ManifestError::Session { wanted, found: manifest.id() });
    }
}

#[test]
fn no_flipped_byte_is_ever_accepted() {
    for manifest in [sample(), founded()] {
        let bytes = SignedManifest::seal(manifest, &founder()).unwrap().to_bytes();
        for index in 0..bytes.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[index] ^= mask;
                let error = SignedManifest::from_bytes(&damaged).expect_err("a flipped byte was accepted");
                assert!(error.to_string().starts_with("manifest: "), "{error}");
            }
        }
    }
}

#[test]
fn truncated_long_foreign_and_future_files_are_typed_errors() {
    let bytes = SignedManifest::seal(sample(), &founder()).unwrap().to_bytes();
    for length in 0..bytes.len() {
        let error = SignedManifest::from_bytes(&bytes[..length]).unwrap_err();
        match length {
            0..5 => assert_eq!(error, ManifestError::NotAManifest),
            _ => assert!(matches!(error, ManifestError::Wire(WireError::Malformed { .. })), "{error}"),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    let error = SignedManifest::from_bytes(&longer).unwrap_err();
    assert_eq!(error.to_string(), "manifest: malformed (1 bytes follow the value)");
    let huge = [&bytes[..], &vec![0; Manifest::MAX_BYTES]].concat();
    let error = SignedManifest::from_bytes(&huge).unwrap_err();
    assert!(matches!(error, ManifestError::Wire(WireError::TooLong { .. })), "{error}");
    for other in [1, 3] {
        let mut of_another_release = bytes.clone();
        of_another_release[4] = other;
        let found = SignedManifest::from_bytes(&of_another_release);
        assert_eq!(found, Err(ManifestError::Version { found: other }));
    }
    assert_eq!(SignedManifest::from_bytes(b"name = \"toml\""), Err(ManifestError::NotAManifest));
    let long_toml = "#".repeat(Manifest::MAX_BYTES + 1);
    assert!(matches!(Manifest::from_toml(&long_toml), Err(ManifestError::Toml(_))));
}

#[test]
fn a_valid_signature_over_an_invalid_manifest_is_refused() {
    let bad = Manifest { max_lag: 0, ..sample() };
    assert!(SignedManifest::seal(bad.clone(), &founder()).is_err());
    assert!(bad.to_toml().is_err());
    // Sealed by somebody who skips the check.
    let scope = crate::identity::Scope { session: bad.id(), generation: 0 };
    let signed = founder().seal(crate::identity::Domain::Manifest, scope, bad);
    let bytes = [b"DLMF\x02", &wire::encode(&signed)[..]].concat();
    let error = SignedManifest::from_bytes(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "manifest: max_lag is 0, it must be 1 to 64");
}

#[test]
fn too_many_long_fields_together_are_refused_when_sealed() {
    let file = |n| DataFile { name: format!("{n:0>255}"), length: 1, root: Hash::default() };
    let data = Data::Public { files: (0..512).map(file).collect(), samples_per_epoch: 1 };
    let origin = Origin::Imported(vec![Hash::of(b"page"); 8000]);
    let error = SignedManifest::seal(Manifest { data, origin, ..sample() }, &founder()).unwrap_err();
    assert!(matches!(error, ManifestError::Wire(WireError::TooLong { .. })), "{error}");
}

/// Changes one field, and expects the error to name it.
fn refused(field: &str, change: impl FnOnce(&mut Manifest)) {
    let mut manifest = sample();
    change(&mut manifest);
    let error = manifest.check().expect_err(field).to_string();
    assert!(error.contains(field), "{error} does not name {field}");
}

#[test]
fn every_bound_is_checked_and_named() {
    for name in ["", " padded", "two\nlines", &"x".repeat(65)] {
        refused("name", |m| m.name = name.into());
    }
    refused("rules", |m| m.rules = 1);
    refused("layers", |m| {
        m.model =
            Model::Gpt(crate::model::GptShape { layers: 0, heads: 1, width: 1, context: 1, vocabulary: 2 })
    });
    refused("vocabulary", |m| {
        m.model =
            Model::Gpt(crate::model::GptShape { layers: 4, heads: 1, width: 8, context: 8, vocabulary: 255 });
    });
    refused("imported", |m| m.origin = Origin::Imported(Vec::new()));
    for scale in [0.0, -0.02, f32::NAN, f32::INFINITY, 2.0] {
        refused("init_scale", |m| m.init_scale = scale);
    }
    refused("method.fragments", |m| {
        let Method::StreamingDiLoCo(numbers) = &mut m.method else { unreachable!() };
        numbers.fragments = 5;
    });
    refused("named", |m| m.committee = Committee::Named { keys: Vec::new(), quorum: QuorumRule::Majority });
    refused("stop_at", |m| m.stop_at = Some(0));
    refused("deadline", |m| m.deadline.minimum = Span::seconds(16));
    refused("deadline", |m| m.deadline.minimum = Span::ZERO);
    refused("heartbeat", |m| m.heartbeat = Span::ZERO);
    refused("max_lag", |m| m.max_lag = 65);
    let overlapping = |max_lag| {
        let Preset { method, .. } = Manifest::preset("gpt:tiny").unwrap().with_method(MethodName::Co2);
        Manifest { max_lag, method, ..sample() }.check()
    };
    for max_lag in [1, 2] {
        let error = overlapping(max_lag).unwrap_err().to_string();
        let said = format!(
            "manifest: max_lag is {max_lag}, it must be at least 3 where two slots are open at a time"
        );
        assert_eq!(error, said);
    }
    assert_eq!(overlapping(3), Ok(()));
    refused("max_contributors", |m| m.max_contributors = 257);
    refused("snapshot_every", |m| m.snapshot_every = 0);
    refused("clip.factor", |m| m.clip = Some(Clip { factor: f32::NAN }));
    refused("slowest_link", |m| m.slowest_link = 0);
}

#[test]
fn training_pacing_and_data_are_checked_and_named() {
    refused("training.batch", |m| m.training.batch = 0);
    refused("training.learning_rate", |m| m.training.learning_rate = 0.0);
    refused("training.learning_rate", |m| m.training.learning_rate = f32::NAN);
    refused("training.warmup", |m| m.training.warmup = 1.5);
    refused("training.final_share", |m| m.training.final_share = -0.1);
    refused("training.weight_decay", |m| m.training.weight_decay = f32::INFINITY);
    refused("training.clip", |m| m.training.clip = 0.0);
    refused("training.budget_tokens", |m| m.training.budget_tokens = u64::MAX);
    let slot_time = Span::seconds(1);
    refused("pacing", |m| m.pacing = Pacing::Proportional { slot_time, minimum: 0, maximum: 1 });
    refused("pacing", |m| m.pacing = Pacing::Proportional { slot_time, minimum: 2, maximum: 1 });
    refused("slot_time", |m| {
        m.pacing = Pacing::Proportional { slot_time: Span::ZERO, minimum: 1, maximum: 1 }
    });
    refused("max_tokens_per_slot", |m| m.data = Data::Private { max_tokens_per_slot: 0 });
    let file = |name: &str, length| DataFile { name: name.into(), length, root: Hash::default() };
    let public = |files| Data::Public { files, samples_per_epoch: 1 };
    refused("data.public.files", |m| m.data = public(Vec::new()));
    refused("data.public.files", |m| m.data = public(vec![file("a", 1), file("a", 2)]));
    refused("data.public.files.length", |m| m.data = public(vec![file("a", 0)]));
    for name in ["", "..", ".hidden", "a/b", "a\\b", "c:d", "nul\0", &"x".repeat(256)] {
        refused("data.public.files.name", |m| m.data = public(vec![file(name, 1)]));
    }
    refused("samples_per_epoch", |m| {
        m.data = Data::Public { files: vec![file("a", 1)], samples_per_epoch: 0 }
    });
}

#[test]
fn every_method_has_a_preset_that_is_written_and_read_as_it_is() {
    for name in MethodName::ALL {
        let Preset { model, method, training } = Manifest::preset("gpt:tiny").unwrap().with_method(name);
        let manifest = Manifest { model, method, training, combine: Combine::Mean, ..sample() };
        let text = manifest.to_toml().unwrap();
        assert_eq!(Manifest::from_toml(&text).unwrap(), manifest, "{name}: {text}");
    }
    let sparse = Manifest::preset("gpt:tiny").unwrap().with_method(MethodName::SparseLoCo).method;
    refused("beta", |m| {
        let Method::SparseLoCo(numbers) = &sparse else { unreachable!() };
        m.method = Method::SparseLoCo(SparseLoCo { beta: f32::NAN, ..numbers.clone() });
    });
    refused("combine", |m| m.combine = Combine::TrimmedMean { trim: 0.5 });
    refused("combine", |m| m.committee = Committee::Steward { key: founder().key() });
    refused("combine", |m| m.method = sparse.clone());
    let ef21 = Manifest::preset("gpt:tiny").unwrap().with_method(MethodName::Ef21).method;
    refused("combine", |m| m.method = ef21.clone());
    refused("method.members", |m| {
        let Method::Ef21(numbers) = &ef21 else { unreachable!() };
        (m.method, m.combine) = (Method::Ef21(Ef21 { members: 1, ..numbers.clone() }), Combine::Mean);
    });
    refused("combine", |m| {
        let Method::StreamingDiLoCo(numbers) = &mut m.method else { unreachable!() };
        numbers.feedback = Some(1.0);
    });
    refused("muon", |m| m.training.optimizer = Optimizer::Muon { learning_rate: 0.0 });
}

#[test]
fn a_codec_that_leaves_values_out_is_refused_where_nothing_sends_them_later() {
    use crate::codec::{Codec, TopK};
    let with = |codec: &str| {
        sample().to_toml().unwrap().replace("codec = \"e3m0\"", &format!("codec = \"{codec}\""))
    };
    for codec in ["f32", "stat2", "int2", "int8"] {
        assert_eq!(Manifest::from_toml(&with(codec)).unwrap().method.codec(), codec.parse().ok());
    }
    for codec in ["sign", "top-64/4096-stat2", "rand-1/8"] {
        let error = Manifest::from_toml(&with(codec)).unwrap_err().to_string();
        assert!(error.contains("without `feedback`"), "{codec}: {error}");
    }
    let error = Manifest::from_toml(&with("top-5/4")).unwrap_err().to_string();
    assert!(error.contains("there is no codec"), "{error}");
    // Numbers that came in bytes and that no text can name.
    refused("codec", |m| {
        let Method::StreamingDiLoCo(numbers) = &mut m.method else { unreachable!() };
        numbers.codec = Codec::TopK(TopK { keep: 1, of: 0, whole: false, statistical: false });
    });
}

#[test]
fn a_model_too_large_for_its_blobs_is_refused() {
    let shape = crate::model::GptShape { layers: 20, heads: 1, width: 1 << 16, context: 1, vocabulary: 256 };
    refused("blob", |m| {
        m.model = Model::Gpt(shape);
        let Method::StreamingDiLoCo(numbers) = &mut m.method else { unreachable!() };
        (numbers.fragments, numbers.codec) = (1, crate::codec::Codec::F32);
    });
}

proptest! {
    #[test]
    fn numbers_survive_toml(
        learning_rate in 1e-9f32..10.0,
        init_scale in 1e-6f32..1.0,
        budget in 1u64..1 << 60,
        heartbeat in 10_000u64..86_400_000_000,
    ) {
        let mut manifest = sample();
        manifest.training.learning_rate = learning_rate;
        manifest.training.budget_tokens = budget;
        (manifest.init_scale, manifest.heartbeat) = (init_scale, Span(heartbeat));
        prop_assert_eq!(Manifest::from_toml(&manifest.to_toml().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn hostile_bytes_and_texts_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in ".{0,200}") {
        let _ = SignedManifest::from_bytes(&bytes);
        let _ = SignedManifest::from_bytes(&[b"DLMF\x02", &bytes[..]].concat());
        let _ = Manifest::from_toml(&text);
    }
}
