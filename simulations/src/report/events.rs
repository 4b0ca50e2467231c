//! Events as lines of JSON, named as the product names them.

use driftless_protocol::event::Event;
use serde_json::{Value, json};

use crate::world::World;

/// What every peer told, in order of time.
pub(super) fn lines(world: &World) -> String {
    let mut events: Vec<_> = world
        .peers()
        .iter()
        .enumerate()
        .flat_map(|(peer, one)| one.events().iter().map(move |(at, event)| (*at, peer, event)))
        .collect();
    events.sort_by_key(|(at, peer, _)| (*at, *peer));
    let mut text = String::new();
    for (at, peer, event) in events {
        let mut line = object(event);
        line["at"] = (at.0 as f64 / 1e6).into();
        line["peer"] = peer.into();
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text
}

fn object(event: &Event) -> Value {
    match event {
        Event::Joined { height } => json!({"event": "joined", "height": height}),
        Event::Removed { height } => json!({"event": "removed", "height": height}),
        Event::Trained { step, loss, speed } => {
            json!({"event": "trained", "step": step, "loss": loss, "speed": speed})
        }
        Event::Announced { slot, root, length } => {
            json!({"event": "announced", "stream": slot.stream, "ordinal": slot.ordinal,
                "root": root.to_string(), "length": length})
        }
        Event::Block { height, digest, closed, tokens, counted_bytes, last } => {
            let closed: Vec<Value> = closed
                .iter()
                .map(|(slot, counted)| json!({"stream": slot.stream, "ordinal": slot.ordinal, "counted": counted}))
                .collect();
            json!({"event": "block", "height": height, "digest": digest.to_string(), "closed": closed,
                "tokens": tokens, "counted_bytes": counted_bytes, "last": last})
        }
        Event::Evaluated { height, loss, accuracy } => {
            json!({"event": "evaluated", "height": height, "loss": loss, "accuracy": accuracy})
        }
        Event::Seats { height, seats, seated } => {
            json!({"event": "seats", "height": height, "seats": seats, "seated": seated})
        }
        Event::Reset { generation, height, seats } => {
            json!({"event": "reset", "generation": generation, "height": height, "seats": seats})
        }
        Event::Waiting(waiting) => json!({"event": "waiting", "for": format!("{waiting:?}")}),
        Event::Warning(text) => json!({"event": "warning", "text": text}),
        Event::CatchingUp { height, target } => {
            json!({"event": "catching_up", "height": height, "target": target})
        }
    }
}
