//! `export`, `import`, `new --from`.

use std::os::unix::fs::PermissionsExt;

use super::program::{Running, folder_with_text, run, text};

#[test]
fn an_exported_model_is_imported_and_goes_on_from_the_same_loss() {
    let (folder, data) = folder_with_text();
    let at = |name: &str| folder.path().join(name);
    let mut demo = Running::start([
        "demo",
        "--peers",
        "1",
        "--dir",
        text(&at("D")),
        "--data",
        text(&data),
        "--period",
        "2",
        "--tokens",
        "3000",
    ]);
    assert_eq!(demo.wait(), Some(0));
    let loss = demo.said.last().unwrap()["validation_loss"].as_f64().unwrap();

    run(["export", "--dir", text(&at("D").join("peer-0")), "--out", text(&at("hf"))]).done();
    let mode = |name: &str| std::fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("hf/model.safetensors"), mode("text.txt"), "what the user's umask says");
    run(["export", "--dir", text(&at("D").join("peer-0")), "--out", text(&at("hf"))]).done();
    run(["export", "--dir", text(&at("D").join("peer-0")), "--out", text(folder.path())])
        .refused(1, &["no earlier export", "--out"]);
    let imported = run(["import", text(&at("hf")), "--json", "--dir", text(&at("data"))]).object();
    assert_eq!(imported["parameters"], 834_304);
    let from = imported["from"].as_str().unwrap();
    run(["import", text(&at("hf")), "--dir", text(&at("data"))]).refused(1, &["exists", "--name"]);

    // A session whose genesis is that model evaluates to the same before anything is trained.
    let mut node = Running::start([
        "new",
        "second",
        "--from",
        from,
        "--dir",
        text(&at("data")),
        "--data",
        text(&data),
        "--listen",
        "127.0.0.1:0",
        "--period",
        "1000",
        "--threads",
        "1",
    ]);
    node.event("founded");
    let evaluated = run(["eval", "--json", "--dir", text(&at("data"))]).object();
    assert_eq!((evaluated["height"].as_u64(), evaluated["loss"].as_f64()), (Some(0), Some(loss)));
    node.signal(libc::SIGTERM);
    assert_eq!(node.wait(), Some(0));
}

#[test]
fn a_missing_tensor_is_named_and_nothing_is_kept() {
    let (folder, data) = folder_with_text();
    let at = |name: &str| folder.path().join(name);
    let mut demo = Running::start([
        "demo",
        "--peers",
        "1",
        "--dir",
        text(&at("D")),
        "--data",
        text(&data),
        "--period",
        "2",
        "--tokens",
        "3000",
    ]);
    assert_eq!(demo.wait(), Some(0));
    run(["export", "--dir", text(&at("D").join("peer-0")), "--out", text(&at("hf"))]).done();

    // The header is JSON: one tensor gets another name of the same length.
    let weights = at("hf").join("model.safetensors");
    let whole = std::fs::read(&weights).unwrap();
    let name = b"transformer.h.2.attn.c_proj.bias";
    let place = whole.windows(name.len()).position(|window| window == name).unwrap();
    let mut renamed = whole.clone();
    renamed[place..place + 11].copy_from_slice(b"transfermer");
    let import = || run(["import", text(&at("hf")), "--dir", text(&at("data"))]);
    std::fs::write(&weights, &renamed).unwrap();
    import().refused(1, &["model.safetensors", "h.2.attn.c_proj.bias", "missing"]);
    std::fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    import().refused(1, &["model.safetensors"]);
    std::fs::remove_file(&weights).unwrap();
    import().refused(1, &["model.safetensors", "no such file"]);
    assert!(!at("data").join("imports").exists());
}
