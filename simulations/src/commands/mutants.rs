//! `driftless-sim mutants`: does the search find bugs?

use driftless_protocol::mutant::Mutant;
use serde_json::json;

use super::{CommandError, threads};
use crate::search::{Draw, quietly, search, shrink};

/// Which bugs, and how far to look.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Worlds to try for each
    #[arg(long, default_value_t = 2_000)]
    pub seeds: u64,
    /// The first world's seed
    #[arg(long, default_value_t = 0)]
    pub first_seed: u64,
    /// These alone
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Worlds at a time [default: the machine's cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Make what is found small
    #[arg(long)]
    pub shrink: bool,
    /// One JSON object per line on standard output
    #[arg(long)]
    pub json: bool,
}

/// Lets each of them live in the same worlds.
///
/// # Errors
/// An unknown name, or one that no world catches.
pub fn run(arguments: &Arguments) -> Result<(), CommandError> {
    quietly();
    let threads = threads(arguments.threads);
    let mut lived = Vec::new();
    for mutant in chosen(&arguments.only)? {
        Mutant::release(Some(mutant));
        let seeds = arguments.first_seed..arguments.first_seed.saturating_add(arguments.seeds);
        let found = search(seeds, threads, &|_| {});
        let name = format!("{mutant:?}");
        let Some((seed, finding)) = found else {
            print(arguments.json, &json!({"event": "mutant", "name": name, "seed": null}));
            lived.push(name);
            continue;
        };
        let mut line = json!({"event": "mutant", "name": name, "seed": seed, "by": finding.by()});
        if arguments.shrink {
            let (cut, finding) = shrink(&Draw::new(seed), finding, &mut |_| {});
            line["cut"] = cut.options().trim().into();
            line["peers"] = cut.of(&Draw::new(seed)).setup.peers.len().into();
            line["finding"] = finding.to_string().into();
        }
        print(arguments.json, &line);
    }
    Mutant::release(None);
    if lived.is_empty() {
        return Ok(());
    }
    Err(CommandError::Failed(format!("no world catches {}", lived.join(", "))))
}

fn chosen(names: &[String]) -> Result<Vec<Mutant>, CommandError> {
    let known = || Mutant::ALL.iter().map(|mutant| format!("{mutant:?}")).collect::<Vec<_>>().join(", ");
    let named = |name: &String| {
        let mutant = Mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == *name);
        mutant.ok_or_else(|| CommandError::Usage(format!("no mutant is called {name:?}: {}", known())))
    };
    if names.is_empty() { Ok(Mutant::ALL.to_vec()) } else { names.iter().map(named).collect() }
}

fn print(as_json: bool, line: &serde_json::Value) {
    if as_json {
        return println!("{line}");
    }
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    match line["seed"].as_u64() {
        Some(seed) => println!("{:<22} seed {seed:>5}  {:<14} {}", text("name"), text("by"), text("cut")),
        None => println!("{:<22} not caught", text("name")),
    }
}
