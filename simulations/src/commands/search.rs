//! `driftless-sim search`: many worlds, until one breaks a promise.

use std::time::Instant;

use serde_json::json;

use super::{CommandError, threads};
use crate::search::{Cut, Draw, Finding, quietly, search, shrink, try_out};

/// Where to look.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Worlds to try
    #[arg(long, default_value_t = 100)]
    pub seeds: u64,
    /// The first world's seed
    #[arg(long, default_value_t = 0)]
    pub first_seed: u64,
    /// Worlds at a time [default: the machine's cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Of one world, its first so many peers
    #[arg(long)]
    pub peers: Option<usize>,
    /// Of one world, the faults of these numbers, or none
    #[arg(long, value_parser = numbers, value_name = "NUMBERS")]
    pub faults: Option<Numbers>,
    /// Of one world, the wishes of these numbers, or none
    #[arg(long, value_parser = numbers, value_name = "NUMBERS")]
    pub wishes: Option<Numbers>,
    /// Of one world, the tokens at which its session ends
    #[arg(long)]
    pub tokens: Option<u64>,
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// Numbers such as 0,3,4.
#[derive(Debug, Clone)]
pub struct Numbers(Vec<usize>);

fn numbers(text: &str) -> Result<Numbers, String> {
    if text == "none" {
        return Ok(Numbers(Vec::new()));
    }
    let parse = |part: &str| part.trim().parse().map_err(|_| format!("{part:?} is no number"));
    text.split(',').map(parse).collect::<Result<_, _>>().map(Numbers)
}

impl Arguments {
    fn cut(&self) -> Cut {
        let kept = |numbers: &Option<Numbers>| numbers.as_ref().map(|numbers| numbers.0.clone());
        Cut { peers: self.peers, faults: kept(&self.faults), wishes: kept(&self.wishes), tokens: self.tokens }
    }
}

/// Searches; a part of one world is tried alone.
///
/// # Errors
/// A finding: the smallest world that has it, and how to run it again.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    quietly();
    let cut = arguments.cut();
    if cut != Cut::default() {
        if arguments.seeds != 1 {
            return Err(CommandError::Usage("a part of a world is of one: add --seeds 1".into()));
        }
        return one(arguments, &cut);
    }
    let threads = threads(arguments.threads);
    let begun = Instant::now();
    let told = |done: u64| {
        let every = (arguments.seeds / 20).clamp(1, 1_000);
        if done.is_multiple_of(every) {
            let rate = done as f64 / begun.elapsed().as_secs_f64().max(1e-3);
            let left = (arguments.seeds - done) as f64 / rate;
            eprintln!("{done} of {} worlds, {rate:.1} a second, {left:.0} s left", arguments.seeds);
        }
    };
    let end = arguments.first_seed.saturating_add(arguments.seeds);
    let found = search(arguments.first_seed..end, threads, &told);
    let Some((seed, finding)) = found else {
        let rate = arguments.seeds as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        say(
            arguments,
            &json!({"event": "summary", "first_seed": arguments.first_seed, "seeds": arguments.seeds,
            "findings": 0, "seeds_per_second": rate, "threads": threads}),
            &format!(
                "{} worlds from seed {} on keep every promise; {rate:.1} a second on {threads} threads",
                arguments.seeds, arguments.first_seed
            ),
        );
        return Ok(());
    };
    eprintln!("seed {seed}: {finding}\nmaking it smaller");
    let (cut, finding) = shrink(&Draw::new(seed), finding, &mut |cut| eprintln!(" {}", cut.options()));
    fail(arguments, seed, &cut, &finding)
}

fn one(arguments: &Arguments, cut: &Cut) -> Result<(), CommandError> {
    let seed = arguments.first_seed;
    match try_out(&cut.of(&Draw::new(seed))) {
        Ok(()) => {
            say(
                arguments,
                &json!({"event": "summary", "first_seed": seed, "seeds": 1, "findings": 0}),
                &format!("the world of seed {seed} keeps every promise, cut like this"),
            );
            Ok(())
        }
        Err(finding) => fail(arguments, seed, cut, &finding),
    }
}

fn fail(arguments: &Arguments, seed: u64, cut: &Cut, finding: &Finding) -> Result<(), CommandError> {
    let replay = format!("driftless-sim search --first-seed {seed} --seeds 1{}", cut.options());
    let world = cut.of(&Draw::new(seed));
    let faults: Vec<String> = world
        .setup
        .faults
        .iter()
        .map(|(at, fault)| format!("{:.3} s: {fault:?}", at.0 as f64 / 1e6))
        .collect();
    say(
        arguments,
        &json!({"event": "finding", "seed": seed, "finding": finding.to_string(), "replay": replay,
        "peers": world.setup.peers.len(), "faults": faults}),
        &format!("seed {seed}, {} peers\n{}\n{finding}", world.setup.peers.len(), faults.join("\n")),
    );
    Err(CommandError::Failed(format!("to replay: {replay}")))
}

fn say(arguments: &Arguments, object: &serde_json::Value, text: &str) {
    if arguments.json {
        println!("{object}");
    } else {
        println!("{text}");
    }
}
