//! Where neighbours listen, for those who look for them, and whether others can dial this peer: a
//! candidate for a seat has to know that, and asks members to try.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::PeerKey;
use driftless_protocol::event::{Command, Input};
use driftless_protocol::wire::{Introduction, Message, limits};
use libp2p::Multiaddr;
use tokio::time::Instant;

use super::{Driver, Pushers};

/// Members are asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// One member is dialled back this often at most, at so many addresses: the packets go where it says.
const DIAL_AGAIN: Duration = Duration::from_secs(20);
const ADDRESSES: usize = 2;
/// Addresses of one peer that others are told.
const TOLD: usize = 4;

/// Tells where connected peers listen.
pub(crate) type Neighbours = Arc<dyn Fn() -> Vec<(PeerKey, Vec<Multiaddr>)> + Send + Sync>;

/// When who was asked, and who asked.
#[derive(Debug, Default)]
pub(super) struct Dialling {
    asked: BTreeMap<PeerKey, Instant>,
    dialled_back: BTreeMap<PeerKey, Instant>,
}

fn is_due(last: &mut BTreeMap<PeerKey, Instant>, peer: PeerKey, pause: Duration) -> bool {
    let now = Instant::now();
    last.retain(|_, at| now.duration_since(*at) < pause);
    last.insert(peer, now).is_none()
}

impl Driver {
    /// Stands for a seat once somebody dialled this peer, and asks members to dial it until then.
    pub(super) fn stand_if_dialled(&mut self) {
        if !self.parts.stand {
            return;
        }
        if self.parts.control.was_dialled() {
            self.parts.stand = false;
            return self.feed(Input::Command(Command::Stand(true)));
        }
        let session = self.session_id();
        for peer in self.parts.control.connected() {
            if self.parts.pushers.knows(&peer) && is_due(&mut self.dialling.asked, peer, ASK_AGAIN) {
                let _ = self.parts.control.send(session, peer, Message::DialBack.to_bytes());
            }
        }
    }

    /// A member wants to know whether it can be dialled. (What comes of it, it sees itself.)
    pub(super) fn dial_back(&mut self, from: PeerKey) {
        if !self.parts.pushers.knows(&from) || !is_due(&mut self.dialling.dialled_back, from, DIAL_AGAIN) {
            return;
        }
        let neighbours = (self.parts.neighbours)();
        let addresses =
            neighbours.into_iter().find(|(peer, _)| *peer == from).map(|(_, addresses)| addresses);
        for address in addresses.into_iter().flatten().take(ADDRESSES) {
            self.parts.control.dial(address, None);
        }
    }
}

/// Where connected members listen, for another member: voters first.
pub(super) fn introduce(
    neighbours: Vec<(PeerKey, Vec<Multiaddr>)>,
    members: &Pushers,
    asker: &PeerKey,
) -> Vec<Introduction> {
    if !members.knows(asker) {
        return Vec::new();
    }
    let (_, voters) = members.members_and_voters();
    let others = neighbours
        .into_iter()
        .filter(|(peer, addresses)| peer != asker && members.knows(peer) && !addresses.is_empty());
    let introduction = |(peer, addresses): (PeerKey, Vec<Multiaddr>)| Introduction {
        peer,
        addresses: addresses.iter().take(TOLD).map(Multiaddr::to_string).collect(),
    };
    let mut introductions: Vec<Introduction> = others.map(introduction).collect();
    introductions.sort_by_key(|one| (!voters.contains(&one.peer), one.peer));
    introductions.truncate(limits::PEERS);
    introductions
}
