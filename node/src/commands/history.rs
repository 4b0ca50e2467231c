//! `driftless history`: what every height counted, by whom.

use std::io::{BufWriter, Write};
use std::path::Path;

use driftless_protocol::PeerKey;
use driftless_protocol::block::{Counted, Item, Payload};
use driftless_protocol::transition::Part;
use serde::Serialize;

use super::CommandError;
use crate::args::HistoryArguments;
use crate::offline;
use crate::output::Output;
use crate::verify::{Followed, charter_of, follow};

/// One height.
#[derive(Debug, Serialize)]
struct Row {
    event: &'static str,
    height: u64,
    block: String,
    digest: String,
    attempt: u32,
    precommits: usize,
    closed: Vec<Closed>,
    joined: Vec<String>,
    left: Vec<String>,
    convicted: Vec<String>,
    /// Members that left by rule: they were silent.
    removed: Vec<String>,
    members: Option<usize>,
    tokens: Option<u64>,
}

/// One slot.
#[derive(Debug, Serialize)]
struct Closed {
    stream: u16,
    slot: u32,
    counted: Vec<Contribution>,
}

/// One contribution.
#[derive(Debug, Serialize)]
struct Contribution {
    /// The member's key, where the members of that height are known here.
    member: Option<String>,
    index: u16,
    steps: u32,
    /// Tokens claimed.
    tokens: u64,
    /// Tokens that it weighs.
    weight: Option<u64>,
    bytes: u64,
    root: Option<String>,
}

/// Columns of `--csv`.
const COLUMNS: &str =
    "height,block,digest,attempt,precommits,stream,slot,member,steps,tokens,weight,bytes,root";

/// Lists the heights of a folder.
pub(super) fn run(options: &HistoryArguments, dir: &Path, output: Output) -> Result<(), CommandError> {
    if options.csv && output.is_json() {
        return Err(CommandError::Usage("--csv and --json exclude each other".into()));
    }
    let folder = offline::find(dir, options.state.session.as_deref())?;
    let charter = charter_of(&folder)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if options.csv {
        let _ = writeln!(out, "{COLUMNS}");
    } else if !output.is_json() {
        let _ = writeln!(out, "{:>7}  {:8}  {:8}  {:>3}  what", "height", "block", "state", "try");
    }
    let range = options.from.unwrap_or(0)..=options.to.unwrap_or(u64::MAX);
    let mut problems = Vec::new();
    follow(&folder, &charter, &mut problems, &mut |followed| {
        if !range.contains(&followed.read.block.block.height) {
            return;
        }
        let row = row_of(followed);
        // Whoever reads may be gone: that ends nothing here.
        let _ = match (options.csv, output.is_json()) {
            (true, _) => write_csv(&mut out, &row),
            (_, true) => serde_json::to_string(&row).map_or(Ok(()), |text| writeln!(out, "{text}")),
            _ => write_text(&mut out, &row, options.details),
        };
    })?;
    let _ = out.flush();
    match problems.first() {
        None => Ok(()),
        Some(problem) => {
            Err(CommandError::Failed(format!("{problem}; `driftless verify` lists all problems")))
        }
    }
}

fn row_of(followed: &Followed) -> Row {
    let certified = &followed.read.block;
    let block = &certified.block;
    let parts = followed.plan.iter().flat_map(|plan| plan.aggregations.iter());
    let parts: Vec<_> = parts.map(|aggregation| (aggregation.slot, &aggregation.parts)).collect();
    let closings = block.closings().map(|closing| {
        let weights = parts.iter().find(|(slot, _)| *slot == closing.slot).map(|(_, parts)| parts.as_slice());
        let counted = closing.counted.iter().enumerate();
        let counted = counted.map(|(index, counted)| {
            contribution(followed, counted, weights.and_then(|parts| parts.get(index)))
        });
        Closed { stream: closing.slot.stream, slot: closing.slot.ordinal, counted: counted.collect() }
    });
    let by = |wanted: fn(&Item) -> Option<PeerKey>| -> Vec<String> {
        block.items.iter().filter_map(wanted).map(|key| key.to_string()).collect()
    };
    let joined = by(|item| match item {
        Item::Join(join) => Some(join.by),
        _ => None,
    });
    let left = by(|item| match item {
        Item::Leave(leave) => Some(leave.by),
        _ => None,
    });
    let (convicted, removed) = departures(followed, &left);
    let after = followed.plan.as_ref().map(|plan| &plan.control);
    Row {
        event: "height",
        height: block.height,
        block: followed.read.hash.to_string(),
        digest: block.digest.to_string(),
        attempt: certified.certificate.attempt,
        precommits: certified.certificate.precommits.len(),
        closed: closings.collect(),
        joined,
        left,
        convicted,
        removed,
        members: after.map(|control| control.members.len()),
        tokens: after.map(|control| control.counted_tokens),
    }
}

/// Who was convicted, and who else is no member any more.
fn departures(followed: &Followed, left: &[String]) -> (Vec<String>, Vec<String>) {
    let (Some(before), Some(plan)) = (&followed.before, &followed.plan) else { return Default::default() };
    let new = plan.control.convicted.iter().filter(|key| !before.convicted.contains(key));
    let convicted: Vec<String> = new.map(ToString::to_string).collect();
    let gone = before.members.iter().map(|member| member.key);
    let gone = gone.filter(|key| plan.control.index_of(key).is_none()).map(|key| key.to_string());
    let removed = gone.filter(|key| !left.contains(key) && !convicted.contains(key)).collect();
    (convicted, removed)
}

fn contribution(followed: &Followed, counted: &Counted, part: Option<&Part>) -> Contribution {
    let member =
        followed.before.as_ref().and_then(|control| control.members.get(usize::from(counted.member)));
    let (bytes, root) = match &counted.payload {
        Payload::Blob { root, length } => (*length, Some(root.to_string())),
        Payload::Inline(bytes) => (bytes.len() as u64, None),
    };
    Contribution {
        member: member.map(|member| member.key.to_string()),
        index: counted.member,
        steps: counted.work.steps,
        tokens: counted.work.tokens,
        weight: part.map(|part| part.tokens),
        bytes,
        root,
    }
}

fn write_csv(out: &mut impl Write, row: &Row) -> std::io::Result<()> {
    let Row { height, block, digest, attempt, precommits, closed, .. } = row;
    let head = format!("{height},{block},{digest},{attempt},{precommits}");
    let mut none = true;
    for Closed { stream, slot, counted } in closed {
        for one in counted {
            none = false;
            let weight = one.weight.map_or(String::new(), |weight| weight.to_string());
            let (member, root) = (name(one), one.root.as_deref().unwrap_or_default());
            let (steps, tokens, bytes) = (one.steps, one.tokens, one.bytes);
            writeln!(out, "{head},{stream},{slot},{member},{steps},{tokens},{weight},{bytes},{root}")?;
        }
    }
    if none { writeln!(out, "{head},,,,,,,,") } else { Ok(()) }
}

fn name(contribution: &Contribution) -> String {
    contribution.member.clone().unwrap_or_else(|| format!("#{}", contribution.index))
}

fn write_text(out: &mut impl Write, row: &Row, details: bool) -> std::io::Result<()> {
    let mut what: Vec<String> = row.closed.iter().map(slot_text).collect();
    for (verb, keys) in [
        ("joined", &row.joined),
        ("left", &row.left),
        ("convicted", &row.convicted),
        ("silent", &row.removed),
    ] {
        what.extend(keys.iter().map(|key| format!("{verb} {}", &key[..8])));
    }
    let what = if what.is_empty() { "nothing".into() } else { what.join("; ") };
    let (block, digest) = (&row.block[..8], &row.digest[..8]);
    writeln!(out, "{:>7}  {block}  {digest}  {:>3}  {what}", row.height, row.attempt + 1)?;
    if !details {
        return Ok(());
    }
    for one in row.closed.iter().flat_map(|closed| &closed.counted) {
        let member = name(one);
        let weight = one.weight.map_or("?".into(), |weight| weight.to_string());
        writeln!(
            out,
            "{:28}{}  {} steps, {} tokens, weight {weight}, {} bytes",
            "",
            member.get(..8).unwrap_or(&member),
            one.steps,
            one.tokens,
            one.bytes
        )?;
    }
    Ok(())
}

fn slot_text(closed: &Closed) -> String {
    let (stream, slot, counted) = (closed.stream, closed.slot, closed.counted.len());
    let tokens: u64 = closed.counted.iter().map(|one| one.weight.unwrap_or(one.tokens)).sum();
    let bytes: u64 = closed.counted.iter().map(|one| one.bytes).sum();
    format!("slot {slot} of stream {stream}: {counted} counted, {tokens} tokens, {bytes} bytes")
}
