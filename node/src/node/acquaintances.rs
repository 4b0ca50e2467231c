//! Members that this peer is not connected with, met through those that it is.
//!
//! Whoever joined knows the peers that its invitation names, and those may be gone tomorrow. So
//! members are asked where others listen until eight of them are connected, and all who vote: votes
//! travel between voters directly.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::wire::{Introduction, Message};
use driftless_protocol::{Hash, PeerKey};
use libp2p::Multiaddr;

use super::router::Router;
use crate::control::Control;
use crate::driver::Pushers;

/// Connected members that are enough, beside the voters.
const ENOUGH: usize = 8;
/// Addresses of one peer that are dialled.
const ADDRESSES: usize = 4;
/// Somebody is asked this often while there are not enough.
const EVERY: Duration = Duration::from_secs(5);

/// Looks for other members of a running session.
pub(super) struct Acquaintances {
    pub own: PeerKey,
    pub session: Hash,
    pub control: Control,
    pub router: Router,
    pub members: Arc<Pushers>,
}

impl Acquaintances {
    /// Looks until it is dropped.
    pub async fn run(&self) {
        let mut tick = tokio::time::interval(EVERY);
        for turn in 0_usize.. {
            tick.tick().await;
            let connected: Vec<PeerKey> = self.router.connected().borrow().keys().copied().collect();
            let members: Vec<PeerKey> =
                connected.iter().copied().filter(|peer| self.members.knows(peer)).collect();
            let missing = self.missing(&connected);
            if missing.is_empty() || members.is_empty() {
                continue;
            }
            for introduction in self.ask(members[turn % members.len()]).await {
                if missing.contains(&introduction.peer) {
                    self.meet(&introduction);
                }
            }
        }
    }

    /// Voters that are not connected, and all members if too few are.
    fn missing(&self, connected: &[PeerKey]) -> BTreeSet<PeerKey> {
        let (members, voters) = self.members.members_and_voters();
        let here = connected.iter().filter(|peer| members.contains(*peer)).count();
        let wanted = if here < ENOUGH { members } else { voters };
        wanted.into_iter().filter(|peer| *peer != self.own && !connected.contains(peer)).collect()
    }

    async fn ask(&self, member: PeerKey) -> Vec<Introduction> {
        let reply = self.control.request(self.session, member, Message::GetPeers.to_bytes()).await;
        match reply.ok().and_then(|bytes| Message::from_reply_bytes(&bytes).ok()) {
            Some(Message::Peers(peers)) => peers,
            _ => Vec::new(),
        }
    }

    fn meet(&self, introduction: &Introduction) {
        let parsed = introduction.addresses.iter().filter_map(|text| text.parse::<Multiaddr>().ok());
        let addresses: Vec<Multiaddr> = parsed.take(ADDRESSES).collect();
        if !addresses.is_empty() {
            self.control.keep(introduction.peer, addresses);
        }
    }
}
