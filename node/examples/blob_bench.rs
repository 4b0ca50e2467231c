//! Measures the data plane beside bare quinn, between two processes on loopback:
//! `cargo run --release --example blob_bench -- FOLDER BYTES PAIRS [CAP]`.

use std::path::PathBuf;

use driftless::bandwidth::Rate;
use driftless::blobs::bench::{self, Options};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let serving = arguments.first().is_some_and(|first| first == "--serve");
    if serving {
        arguments.remove(0);
    }
    let [folder, size, pairs, rest @ ..] = &arguments[..] else {
        return Err("usage: blob_bench FOLDER BYTES PAIRS [CAP]".into());
    };
    let cap = rest.first().map_or(Ok(Rate::UNLIMITED), |cap| cap.parse())?;
    let options = Options { folder: PathBuf::from(folder), size: size.parse()?, pairs: pairs.parse()?, cap };
    if serving {
        bench::serve(&options.folder.join("server"), options.size, options.cap).await?;
        return Ok(());
    }
    let mut server = tokio::process::Command::new(std::env::current_exe()?);
    server.arg("--serve").args(&arguments);
    bench::run(&options, server, |report| match serde_json::to_string(&report) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("{error}"),
    })
    .await?;
    Ok(())
}
