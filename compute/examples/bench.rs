//! `cargo run --release --example bench -- gpt:tiny 1 5`: model, threads, seconds.

use driftless_compute::{GptShape, bench};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let model = arguments.first().map_or("gpt:tiny", String::as_str);
    let number =
        |index: usize, default: f64| arguments.get(index).and_then(|a| a.parse().ok()).unwrap_or(default);
    let shape = GptShape::named(model, 256).expect("gpt:tiny, gpt:small or gpt:gpt2");
    let batch = if model == "gpt:tiny" { 12 } else { 8 };
    let report = bench::run(shape, batch, number(1, 1.0) as usize, number(2, 5.0)).expect("a valid shape");
    let last = report.losses.get(2).copied().unwrap_or(f32::NAN);
    println!(
        "{model} threads {} tokens/s {:.0} tokens/cpu-s {:.0} share {:.3} share by cpu {:.3} ceiling {:.1} GFLOP/s steps {} third loss {last:.9}",
        report.threads,
        report.tokens_per_second,
        report.tokens_per_cpu_second,
        report.ceiling_share,
        report.ceiling_share_cpu,
        report.ceiling_gflops,
        report.losses.len(),
    );
}
