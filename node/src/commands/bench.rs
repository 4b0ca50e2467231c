//! `driftless bench`: the engine, the data plane, one slot.

use std::path::PathBuf;

use serde_json::json;

use super::CommandError;
use crate::args::{BenchArguments, BenchBlobsArguments, BenchCommand, ServeBlobsArguments};
use crate::bandwidth::Rate;
use crate::blobs::bench;
use crate::config::check_device;
use crate::output::{Output, bytes};
use crate::terms;

/// Measures what was asked for.
pub(super) async fn run(options: &BenchArguments, output: Output) -> Result<(), CommandError> {
    match &options.what {
        None => engine(options, output),
        Some(BenchCommand::Blobs(options)) => blobs(options, output).await,
        Some(BenchCommand::Slot(options)) => crate::demo::bench_slot(options, output).await,
    }
}

fn engine(options: &BenchArguments, output: Output) -> Result<(), CommandError> {
    check_device(Some(options.device))?;
    if !(options.seconds > 0.0 && options.seconds <= 86_400.0) {
        return Err(CommandError::Usage("--seconds is a number above 0".into()));
    }
    let wrong = |error: driftless_protocol::model::ModelError| CommandError::Usage(error.to_string());
    let preset = driftless_protocol::manifest::Manifest::preset(&options.model).map_err(wrong)?;
    let shape = terms::engine_shape(&options.model).map_err(wrong)?;
    let shape = *shape
        .gpt()
        .ok_or_else(|| CommandError::Usage("--model is one of texts, such as gpt:tiny".into()))?;
    let batch = options.batch.unwrap_or(preset.training.batch as usize);
    output.note(&format!(
        "{} on {} threads, {batch} sequences a step, about {} s",
        options.model, options.threads, options.seconds
    ));
    let report = driftless_compute::bench::run(shape, batch, options.threads, options.seconds)?;
    let object = json!({
        "tokens_per_second": report.tokens_per_second,
        "tokens_per_cpu_second": report.tokens_per_cpu_second,
        "ceiling_share": report.ceiling_share,
        "ceiling_share_cpu": report.ceiling_share_cpu,
        "ceiling_gflops": report.ceiling_gflops,
        "threads": report.threads,
        "model": options.model,
        "device": "cpu",
        "losses": report.losses.iter().take(8).collect::<Vec<_>>(),
    });
    output.result(&object, || {
        format!(
            "{:.0} tokens per second ({:.0} per CPU second), {:.2} of what the matrix products alone allow \
             ({:.1} GFLOP/s)",
            report.tokens_per_second,
            report.tokens_per_cpu_second,
            report.ceiling_share,
            report.ceiling_gflops
        )
    });
    Ok(())
}

async fn blobs(options: &BenchBlobsArguments, output: Output) -> Result<(), CommandError> {
    let temporary = |source| CommandError::File { path: std::env::temp_dir(), source };
    let folder = tempfile::Builder::new().prefix("driftless-bench-").tempdir().map_err(temporary)?;
    let cap = options.cap.unwrap_or(Rate::UNLIMITED);
    let size = options.size;
    let measured =
        bench::Options { folder: folder.path().to_owned(), size, pairs: options.pairs.max(1), cap };
    let path = PathBuf::from("this program");
    let program = std::env::current_exe().map_err(|source| CommandError::File { path, source })?;
    let mut server = tokio::process::Command::new(program);
    server.arg("__serve-blobs").arg(folder.path().join("server")).arg(size.to_string()).arg(rate_text(cap));
    output.note(&format!("{} between two processes on loopback", bytes(size)));
    bench::run(&measured, server, |report| output.result(&report, || text_of(&report))).await?;
    Ok(())
}

/// The serving process of `bench blobs`.
pub(super) async fn serve(options: &ServeBlobsArguments) -> Result<(), CommandError> {
    Ok(bench::serve(&options.folder, options.size, options.cap).await?)
}

/// A rate as it is read back exactly.
fn rate_text(rate: Rate) -> String {
    rate.limit().map_or("unlimited".into(), |limit| format!("{limit}B"))
}

fn text_of(report: &bench::Report) -> String {
    match report {
        bench::Report::Throughput { ours_rate, raw_rate, ratio, memory, wire, .. } => format!(
            "{ours_rate:.0} MB/s verified, {raw_rate:.0} MB/s unchecked over bare quinn: {ratio:.2} of it; \
             {} of memory above idle; {wire:.3} bytes on the wire per byte",
            bytes(*memory)
        ),
        bench::Report::Cap { side, seconds, goodput, busiest_second, .. } => format!(
            "under the cap ({side}): {seconds:.1} s, goodput {goodput:.3} of it, {busiest_second:.3} in the \
             busiest second"
        ),
    }
}
