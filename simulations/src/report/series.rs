//! What is plotted and tabulated of a world.

use driftless_protocol::event::Event;

use super::charts::{Chart, Kind, Line};
use crate::peer::Traffic;
use crate::world::World;

/// One peer in the table.
pub(super) struct Row {
    pub peer: usize,
    pub key: String,
    pub role: &'static str,
    pub region: String,
    /// Seconds.
    pub step: f64,
    pub steps: u64,
    /// Seconds.
    pub trained: f64,
    /// Share of its time, from its start to the end, that it spent in inner steps.
    pub utilization: f64,
    /// Counted contributions.
    pub counted: usize,
    pub crashes: u32,
    pub traffic: Traffic,
    pub ending: &'static str,
}

pub(super) fn rows(world: &World, regions: &[String]) -> Vec<Row> {
    let end = world.decided().last().map_or(world.now(), |decided| decided.at);
    let row = |(index, peer): (usize, &crate::peer::Peer)| {
        let counted = world.decided().iter().flat_map(|decided| &decided.closed);
        let steps = peer.events().iter().rev().find_map(|(_, event)| match event {
            Event::Trained { step, .. } => Some(*step),
            _ => None,
        });
        let (trained, lived) = (peer.trained().0, end.since(peer.setup.start).0.max(1));
        Row {
            peer: index,
            key: peer.key.short().to_string(),
            role: match (peer.setup.seat, peer.setup.options.contribute) {
                (true, _) => "voter",
                (false, true) => "contributor",
                (false, false) => "follower",
            },
            region: regions.get(index).cloned().unwrap_or_default(),
            step: peer.setup.step.0 as f64 / 1e6,
            steps: steps.unwrap_or(0),
            trained: trained as f64 / 1e6,
            utilization: (trained as f64 / lived as f64).min(1.0),
            counted: counted.filter(|(_, peers)| peers.contains(&index)).count(),
            crashes: peer.crashes(),
            traffic: peer.traffic(),
            ending: peer.standing(),
        }
    };
    world.peers().iter().enumerate().map(row).collect()
}

/// Everything that is plotted.
pub(super) fn charts(world: &World) -> Vec<Chart> {
    let losses = losses(world);
    let against = |x: fn(&Loss) -> f64| {
        let training = losses.iter().filter_map(|point| Some((x(point), point.training?))).collect();
        vec![Line { name: "training, mean of peers".into(), points: training }]
    };
    let chart = |name, title, x, y, lines| Chart { name, title, x, y, kind: Kind::Lines(lines) };
    let heights = world.decided().iter().zip(1u32..);
    let heights = heights.map(|(decided, height)| (decided.at.0 as f64 / 1e6, f64::from(height))).collect();
    vec![
        chart("loss-tokens", "Loss against tokens", "counted tokens", "nats", against(|p| p.tokens)),
        chart("loss-time", "Loss against time", "virtual seconds", "nats", against(|p| p.seconds)),
        chart("loss-bytes", "Loss against bytes", "MB sent, all peers", "nats", against(|p| p.megabytes)),
        chart(
            "heights",
            "Heights",
            "virtual seconds",
            "height",
            vec![Line { name: "decided".into(), points: heights }],
        ),
        Chart {
            name: "counted",
            title: "Who was counted, on stream 0",
            x: "slot",
            y: "peer",
            kind: Kind::Cells { rows: world.peers().len(), cells: counted(world) },
        },
    ]
}

struct Loss {
    tokens: f64,
    seconds: f64,
    megabytes: f64,
    training: Option<f64>,
}

/// At every height the mean of what the peers' last steps told.
fn losses(world: &World) -> Vec<Loss> {
    let mut told: Vec<_> = world
        .peers()
        .iter()
        .enumerate()
        .flat_map(|(peer, one)| {
            one.events().iter().filter_map(move |(at, event)| match event {
                Event::Trained { loss, .. } => Some((*at, peer, f64::from(*loss))),
                _ => None,
            })
        })
        .collect();
    told.sort_by_key(|(at, peer, _)| (*at, *peer));
    let mut told = told.into_iter().peekable();
    let mut last: Vec<Option<f64>> = vec![None; world.peers().len()];
    let point = |decided: &crate::world::Decided| {
        while let Some((_, peer, loss)) = told.next_if(|(at, ..)| *at <= decided.at) {
            last[peer] = Some(loss);
        }
        let known: Vec<f64> = last.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        Loss {
            tokens: decided.tokens as f64,
            seconds: decided.at.0 as f64 / 1e6,
            megabytes: decided.sent as f64 / 1e6,
            training: (!known.is_empty()).then_some(mean),
        }
    };
    world.decided().iter().map(point).collect()
}

/// Slots of stream 0 and the peers counted in them.
fn counted(world: &World) -> Vec<(usize, usize)> {
    let closed = world.decided().iter().flat_map(|decided| &decided.closed);
    let first = closed.filter(|(slot, _)| slot.stream == 0);
    first.flat_map(|(slot, peers)| peers.iter().map(|peer| (slot.ordinal as usize, *peer))).collect()
}
