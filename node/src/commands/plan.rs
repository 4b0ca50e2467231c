//! `driftless plan`: what a session costs, by method and role, before anything runs.

use std::time::Duration;

use driftless_protocol::committee::{Committee, MAX_SEATS};
use driftless_protocol::identity::PeerKey;
use driftless_protocol::manifest::{Data, Manifest};
use driftless_protocol::method::MethodName;
use driftless_protocol::planner::{
    Advice, ByRole, Circumstances, Limits, Line, Nearest, Peers, Plan, Role, measured_loss, misfits, nearest,
    plan, recommend,
};
use driftless_protocol::session::WRITES_PER_DAY;
use driftless_protocol::time::Span;
use serde_json::{Value, json};

use super::CommandError;
use crate::args::{NewArguments, PlanArguments};
use crate::bandwidth::Rate;
use crate::config::Config;
use crate::engine::total_memory;
use crate::output::{Output, bytes, duration};
use crate::terms::Overrides;

/// Milliseconds between peers where nobody said otherwise.
const LATENCY: u64 = 25;

/// One method, planned.
struct Planned {
    name: MethodName,
    manifest: Manifest,
    plan: Plan,
    /// What does not fit, in words.
    misfits: Vec<String>,
}

/// Plans what was asked for and recommends one.
pub(super) fn run(options: &PlanArguments, output: Output) -> Result<(), CommandError> {
    let names = match &options.method[..] {
        [] => &MethodName::ALL[..],
        chosen => chosen,
    };
    let manifests = names.iter().map(|name| Ok((*name, manifest(options, *name)?)));
    let manifests = manifests.collect::<Result<Vec<_>, CommandError>>()?;
    let around = circumstances(options, manifests[0].1.training.budget_tokens)?;
    let limits = Limits { memory: options.memory, disk: options.disk };
    let planned: Vec<Planned> = manifests
        .into_iter()
        .map(|(name, manifest)| {
            let plan = plan(&manifest, &around);
            let misfits = misfits(&manifest, &around, limits, &plan);
            let misfits = misfits.iter().map(ToString::to_string).collect();
            Planned { name, manifest, plan, misfits }
        })
        .collect();
    planned.iter().for_each(|planned| output.object(&object(planned, &around)));
    output.text(&text(options, &planned, &around));
    let fitting: Vec<&Planned> = planned.iter().filter(|planned| planned.misfits.is_empty()).collect();
    let named: Vec<(&str, &Plan)> =
        fitting.iter().map(|planned| (planned.name.as_str(), &planned.plan)).collect();
    match recommend(&named) {
        Some(Advice { index, reason }) => {
            let name = fitting[index].name;
            let object = json!({"event": "recommended", "method": name.as_str(), "reason": reason});
            output.result(&object, || format!("Recommended: {name}. {}.", sentence(&reason)));
            Ok(())
        }
        None => Err(CommandError::Failed(refusal(&planned[0], &around, limits))),
    }
}

/// What a session that is about to be founded costs this machine, in a line; refused if it does not fit, unless it
/// is to be founded all the same.
pub(super) fn check(
    manifest: &Manifest,
    options: &NewArguments,
    config: &Config,
    output: Output,
) -> Result<(), CommandError> {
    let contributors = options.peers;
    let voters = match &manifest.committee {
        Committee::Elected { .. } => Peers::all_voting(contributors).voters,
        Committee::Named { keys, .. } => (keys.len() as u32).min(contributors),
        Committee::Steward { .. } => 1,
    };
    let own = Line { up: config.caps.up, down: config.caps.down };
    let around = Circumstances {
        peers: Peers { contributors, voters, followers: 0 },
        // This one votes. The others' lines are not known.
        lines: ByRole::new(|role| if role == Role::Voter { own } else { Line::default() }),
        latency: Span::millis(LATENCY),
        // Nobody measured it: only times follow from it, and none is told.
        steps_per_second: 1.0,
        threads: config.threads as u32,
        tokens: manifest.stop_at.unwrap_or(manifest.training.budget_tokens),
        writes_per_day: config.writes_per_day,
    };
    let limits = Limits { memory: total_memory(), disk: None };
    let plan = plan(manifest, &around);
    let misfits: Vec<String> =
        misfits(manifest, &around, limits, &plan).iter().map(ToString::to_string).collect();
    if misfits.is_empty() {
        output.note(&short(manifest, &plan, contributors));
        return Ok(());
    }
    let reasons = misfits.join("; ");
    if options.force {
        output.note(&format!("warning: by plan this session does not fit: {reasons}"));
        return Ok(());
    }
    let method = options.method.or_else(|| options.manifest.is_none().then_some(MethodName::DEFAULT));
    let near = match nearest(manifest, method, &around, limits) {
        Some(Nearest::Contributors(count)) => format!("With --peers {count} it fits"),
        Some(near) => near.to_string(),
        None => "Nothing near it fits".into(),
    };
    Err(CommandError::Failed(format!(
        "with {contributors} peers this session does not fit: {reasons}. {near}; --force founds it all the same"
    )))
}

fn short(manifest: &Manifest, plan: &Plan, contributors: u32) -> String {
    let needs = &plan.roles.voter;
    let size = |count: f64| bytes(count as u64);
    format!(
        "plan: with {contributors} peers each sends {} and receives {} every {} steps ({}), and takes {} of memory \
         and {} of disk; `driftless plan` tells more",
        size(needs.bytes.blobs_sent * plan.blobs.len() as f64),
        size(needs.bytes.blobs_received * plan.blobs.len() as f64),
        plan.steps,
        manifest.method.encoding(),
        bytes(needs.memory.total()),
        bytes(needs.disk.total()),
    )
}

fn refusal(planned: &Planned, around: &Circumstances, limits: Limits) -> String {
    let Planned { name, manifest, misfits, .. } = planned;
    let near = match nearest(manifest, Some(*name), around, limits) {
        Some(near) => near.to_string(),
        None => "nothing near it does".into(),
    };
    format!("{name} does not fit: {}. {}", misfits.join("; "), sentence(&near))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn manifest(options: &PlanArguments, name: MethodName) -> Result<Manifest, CommandError> {
    let wrong = |error: &dyn std::fmt::Display| CommandError::Usage(error.to_string());
    let preset = Manifest::preset(&options.model).map_err(|error| wrong(&error))?;
    let overrides = Overrides {
        method: Some(name),
        period: options.period,
        batch: options.batch,
        budget_tokens: options.tokens,
        members: Some(options.peers),
        ..Overrides::default()
    };
    // Who founds it and what it is trained on changes nothing here.
    let committee = Committee::Elected { founder: PeerKey::default() };
    let data = Data::Private { max_tokens_per_slot: 1 << 40 };
    let manifest = overrides.apply(preset).manifest(committee, data);
    let lines = [Some(options.up), Some(options.down), options.voter_up, options.voter_down];
    let slowest = lines.into_iter().flatten().filter_map(Rate::limit).min();
    // A session for these lines admits no slower ones: what it keeps for those who join follows from that.
    let slowest_link = slowest.unwrap_or(manifest.slowest_link);
    let manifest = Manifest { name: "plan".into(), slowest_link, ..manifest };
    manifest.check().map_err(|error| wrong(&error))?;
    Ok(manifest)
}

fn circumstances(options: &PlanArguments, tokens: u64) -> Result<Circumstances, CommandError> {
    let steps = options.steps_per_second;
    if !(1e-6..=1e6).contains(&steps) {
        return Err(CommandError::Usage("--steps-per-second is a number from 0.000001 to 1000000".into()));
    }
    let voters = options.voters.unwrap_or(options.peers.min(MAX_SEATS as u32));
    if voters > options.peers {
        return Err(CommandError::Usage(format!("--voters {voters}: there are {} peers", options.peers)));
    }
    let line = Line { up: options.up, down: options.down };
    let voter =
        Line { up: options.voter_up.unwrap_or(line.up), down: options.voter_down.unwrap_or(line.down) };
    Ok(Circumstances {
        peers: Peers { contributors: options.peers, voters, followers: options.followers },
        lines: ByRole::new(|role| if role == Role::Voter { voter } else { line }),
        latency: Span::millis(options.latency),
        steps_per_second: steps,
        threads: options.threads as u32,
        tokens: options.tokens.unwrap_or(tokens),
        writes_per_day: WRITES_PER_DAY,
    })
}

/// The roles that anybody has.
fn roles(around: &Circumstances) -> impl Iterator<Item = Role> {
    Role::ALL.into_iter().filter(|role| around.peers.with_role(*role) > 0)
}

fn object(planned: &Planned, around: &Circumstances) -> Value {
    let Planned { name, manifest, plan, misfits } = planned;
    let role = |role: Role| {
        let needs = plan.roles.of(role);
        let (sent, received) = plan.total(role);
        let items = |items: &[(&str, u64)]| -> Value {
            items.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect()
        };
        let value = json!({
            "count": around.peers.with_role(role),
            "per_slot": {
                "blobs_sent": needs.bytes.blobs_sent, "blobs_received": needs.bytes.blobs_received,
                "control_sent": needs.bytes.control_sent, "control_received": needs.bytes.control_received,
            },
            "to_budget": {"sent": sent, "received": received},
            "memory": {
                "total": needs.memory.total(), "held": items(&needs.memory.held),
                "passing": items(&needs.memory.passing),
            },
            "disk": {
                "total": needs.disk.total(), "snapshots": needs.disk.snapshots, "blobs": needs.disk.blobs,
                "chain": needs.disk.chain, "checkpoints": needs.disk.checkpoints,
                "contributions_written_a_day": needs.disk.written_a_day,
            },
        });
        (role.as_str().to_owned(), value)
    };
    let pace = &plan.pace;
    json!({
        "event": "plan", "method": name.as_str(), "parameters": plan.parameters, "steps": plan.steps,
        "streams": plan.blobs.len(), "codec": manifest.method.encoding(), "blobs": plan.blobs,
        "drawn": plan.drawn, "tokens": around.tokens, "slots": plan.slots,
        "exchange_seconds": pace.exchange, "transfer_seconds": pace.transfer, "covered_seconds": pace.covered,
        "period_seconds": pace.period, "utilization": pace.utilization,
        "tokens_per_second": pace.tokens_per_second, "seconds": pace.seconds,
        "measured_loss": measured_loss(name.as_str()), "roles": roles(around).map(role).collect::<Value>(),
        "fits": misfits.is_empty(), "misfits": misfits,
    })
}

fn text(options: &PlanArguments, planned: &[Planned], around: &Circumstances) -> String {
    let Peers { contributors, voters, followers } = around.peers;
    let training = &planned[0].manifest.training;
    let followers = if followers > 0 { format!(", {followers} more follow") } else { String::new() };
    let mut lines = vec![
        format!(
            "{}, {} parameters, {} tokens; {contributors} peers train, {voters} of them vote{followers}",
            options.model, planned[0].plan.parameters, around.tokens
        ),
        format!(
            "{} up, {} down, {} ms; {} steps a second of {} x {} tokens",
            options.up,
            options.down,
            options.latency,
            options.steps_per_second,
            training.batch,
            planned[0].manifest.model.context()
        ),
        String::new(),
        format!(
            "{:<18}{:>5}{:>9}{:>11}{:>14}{:>14}{:>9}{:>14}{:>7}",
            "method", "H", "streams", "blob", "exchange", "covered", "trains", "time", "loss"
        ),
    ];
    lines.extend(planned.iter().map(row));
    lines.push(String::new());
    lines.push(format!(
        "{:<18}{:<12}{:>12}{:>12}{:>11}{:>11}{:>11}{:>11}{:>10}{:>10}",
        "method",
        "role",
        "sent/slot",
        "recv./slot",
        "+ control",
        "+ control",
        "sent",
        "received",
        "memory",
        "disk"
    ));
    lines.extend(planned.iter().flat_map(|planned| roles(around).map(|role| role_row(planned, role))));
    lines.push(String::new());
    for Planned { name, plan, .. } in planned {
        let a_day = plan.roles.voter.disk.written_a_day;
        if a_day > around.writes_per_day {
            lines.push(format!(
                "note: {name} writes {} of contributions a day, more than the {} of --writes-per-day: snapshots get \
                 rare, and what came since them has to stay",
                bytes(a_day),
                bytes(around.writes_per_day)
            ));
        }
    }
    for Planned { name, misfits, .. } in planned.iter().filter(|planned| !planned.misfits.is_empty()) {
        lines.push(format!("{name} does not fit: {}.", misfits.join("; ")));
    }
    lines.join("\n").trim_end().to_owned() + "\n"
}

fn row(planned: &Planned) -> String {
    let Planned { name, plan, .. } = planned;
    let pace = &plan.pace;
    let loss = measured_loss(name.as_str()).map_or("-".into(), |loss| format!("{loss:.2}"));
    format!(
        "{:<18}{:>5}{:>9}{:>11}{:>14}{:>14}{:>8.1}%{:>14}{loss:>7}",
        name.as_str(),
        plan.steps,
        plan.blobs.len(),
        bytes(plan.largest_blob()),
        seconds(pace.exchange),
        seconds(pace.covered),
        100.0 * pace.utilization,
        long(pace.seconds),
    )
}

fn role_row(planned: &Planned, role: Role) -> String {
    let Planned { name, plan, .. } = planned;
    let needs = plan.roles.of(role);
    let size = |count: f64| bytes(count as u64);
    let (sent, received) = plan.total(role);
    format!(
        "{:<18}{:<12}{:>12}{:>12}{:>11}{:>11}{:>11}{:>11}{:>10}{:>10}",
        name.as_str(),
        role.as_str(),
        size(needs.bytes.blobs_sent),
        size(needs.bytes.blobs_received),
        size(needs.bytes.control_sent),
        size(needs.bytes.control_received),
        size(sent),
        size(received),
        bytes(needs.memory.total()),
        bytes(needs.disk.total()),
    )
}

/// Seconds, as short as they are.
fn seconds(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        1.0..100.0 => format!("{seconds:.1} s"),
        _ => long(seconds),
    }
}

/// A long time.
fn long(seconds: f64) -> String {
    match seconds {
        ..259_200.0 => duration(Duration::from_secs_f64(seconds.max(0.0))),
        ..63_072_000.0 => format!("{:.1} days", seconds / 86_400.0),
        _ => format!("{:.1} years", seconds / 31_557_600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_long_as_they_have_to_be() {
        assert_eq!([seconds(0.0254), seconds(7.04), seconds(330.0)], ["25 ms", "7.0 s", "5 min 30 s"]);
        assert_eq!([long(864_000.0), long(315_576_000.0)], ["10.0 days", "10.0 years"]);
    }
}
