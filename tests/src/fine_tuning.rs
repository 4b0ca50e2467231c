//! Four processes fine-tune an imported model with one byte per sample; the last of them comes late.

use driftless_compute::{
    AdamW, Data, Engine, EngineOptions, GptShape, Optimizer, Shape, TINY_SHAKESPEARE, Trainer, huggingface,
};
use driftless_protocol::charter::Charter;
use driftless_protocol::committee::Committee;
use driftless_protocol::manifest::{Data as Texts, Manifest, Preset};
use driftless_protocol::method::MethodName;
use driftless_protocol::model::{self, Model};

use super::program::{Running, run, text};

const SHAPE: GptShape = GptShape { layers: 1, heads: 2, width: 32, context: 32, vocabulary: 256 };

/// Parameters that were trained for a while on plays.
fn trained() -> Vec<f32> {
    let shape = model::GptShape { layers: 1, heads: 2, width: 32, context: 32, vocabulary: 256 };
    let preset = Preset { model: Model::Gpt(shape), ..Manifest::preset("gpt:tiny").unwrap() };
    let (committee, data) =
        (Committee::Steward { key: Default::default() }, Texts::Private { max_tokens_per_slot: 1 });
    let manifest = preset.with_method(MethodName::Spsa).manifest(committee, data);
    let charter = Charter::new(Manifest { name: "plays".into(), ..manifest }).unwrap();
    let start = driftless::parameters::from_state(&charter, &charter.genesis_state()).unwrap();
    let options = EngineOptions { threads: 1, batch: 8, optimizer: Optimizer::AdamW(AdamW::default()) };
    let shape = Shape::Gpt(SHAPE);
    let engine = Engine::new(SHAPE, options).unwrap();
    let mut trainer =
        Trainer::new(engine, Data::embedded(TINY_SHAKESPEARE, &shape, [0; 32]).unwrap()).unwrap();
    trainer.write(0..start.len(), &start);
    let (steps, positions) = (150, (0..150 * 8).collect::<Vec<u64>>());
    trainer.train(&positions, &vec![1e-2; steps]).unwrap();
    let mut parameters = vec![0.0; start.len()];
    trainer.read(0..start.len(), &mut parameters);
    parameters
}

#[test]
fn an_imported_model_is_fine_tuned_with_kilobytes_and_a_late_joiner_replays_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("hf")).unwrap();
    huggingface::export(&at("hf"), &SHAPE, &trained(), None).unwrap();
    let texts = concat!(include_str!("../../ARCHITECTURE.md"), include_str!("../../README.md"));
    std::fs::write(at("text.txt"), texts).unwrap();

    let words = "new tune --method spsa --learning-rate 1e-2 --batch 4 --period 16 --committee steward --threads 1 \
                 --listen 127.0.0.1:0 --tokens 120000 --stop-at 120000";
    let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    for (option, path) in [("--from", at("hf")), ("--data", at("text.txt")), ("--dir", at("founder"))] {
        words.extend([option.to_owned(), text(&path).to_owned()]);
    }
    let mut founder = Running::start(words.iter().map(String::as_str));
    let invitation = founder.event("founded")["invitation"].as_str().unwrap().to_owned();
    let join = |name: &str| {
        let dir = at(name);
        Running::start([
            "join",
            &invitation,
            "--dir",
            text(&dir),
            "--listen",
            "127.0.0.1:0",
            "--threads",
            "1",
        ])
    };
    let before = run(["eval", "--json", "--dir", text(&at("founder"))]).object()["loss"].as_f64().unwrap();
    let mut members = [join("second"), join("third")];
    let all = |line: &serde_json::Value| line["event"] == "block" && line["counted"] == 3;
    founder.until("a block that counts three", all);
    let mut late = join("fourth");
    late.event("announced");

    assert_eq!(founder.wait(), Some(0));
    let last = founder.events("block").last().unwrap().clone();
    assert_eq!(last["last"], true, "{last}");
    for peer in members.iter_mut().chain([&mut late]) {
        assert_eq!(peer.wait(), Some(0));
        let end = peer.events("block").last().unwrap();
        assert_eq!((&end["height"], &end["digest"]), (&last["height"], &last["digest"]));
    }
    let mut slots = founder.events("block").flat_map(|block| block["closed"].as_array().unwrap());
    assert!(slots.any(|slot| slot["counted"] == 4), "the fourth was never counted");
    let after = founder.events("evaluated").last().unwrap()["loss"].as_f64().unwrap();
    assert!(after < before - 0.02, "{before} {after}");
    // A byte a sample, and a bit for each step.
    let log: u64 = founder.events("block").map(|block| block["counted_bytes"].as_u64().unwrap()).sum();
    println!("loss {before:.4} to {after:.4}; the log of the whole run: {log} bytes");
    assert!(log < 12_000, "{log}");
}
