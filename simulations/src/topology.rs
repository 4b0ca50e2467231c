//! Who is connected to whom, and along which connections gossip travels.
//!
//! Few peers all know each other. In a crowd a peer is connected to the voters, as the protocol needs
//! it, and to six others, gossipsub's mesh in `node`: its neighbours on three random rings through all
//! peers, so that the mesh is connected however few its links are.

use std::collections::BTreeSet;

use crate::random::Random;

/// More peers than this are a crowd.
pub const CROWD: usize = 64;
/// Each gives a peer two neighbours.
const RINGS: usize = 3;

/// The connections that peers keep while they reach each other.
#[derive(Debug)]
pub(crate) struct Topology {
    count: usize,
    crowd: Option<Crowd>,
}

#[derive(Debug)]
struct Crowd {
    /// Who passes gossip on to whom.
    mesh: Vec<BTreeSet<usize>>,
    /// Who is connected to whom.
    links: Vec<BTreeSet<usize>>,
}

impl Topology {
    /// The connections of peers of whom some have seats.
    pub fn new(seed: u64, seats: &[bool]) -> Topology {
        let count = seats.len();
        if count <= CROWD {
            return Topology { count, crowd: None };
        }
        let mut random = Random::new(seed, "topology");
        let mut mesh = vec![BTreeSet::new(); count];
        for _ in 0..RINGS {
            let ring = random.order(count);
            for (a, b) in ring.iter().zip(ring.iter().cycle().skip(1)) {
                mesh[*a].insert(*b);
                mesh[*b].insert(*a);
            }
        }
        let voters: BTreeSet<usize> = (0..count).filter(|peer| seats[*peer]).collect();
        let links = |peer: usize| match seats[peer] {
            true => (0..count).filter(|other| *other != peer).collect(),
            false => mesh[peer].union(&voters).copied().collect(),
        };
        let links = (0..count).map(links).collect();
        Topology { count, crowd: Some(Crowd { mesh, links }) }
    }

    /// Whom a peer is connected to, if they reach each other.
    pub fn neighbours(&self, peer: usize) -> Vec<usize> {
        match &self.crowd {
            None => (0..self.count).filter(|other| *other != peer).collect(),
            Some(Crowd { links, .. }) => links[peer].iter().copied().collect(),
        }
    }

    /// To whom a peer passes gossip on; `None` where everybody hears it from its author.
    pub fn mesh(&self, peer: usize) -> Option<&BTreeSet<usize>> {
        self.crowd.as_ref().map(|crowd| &crowd.mesh[peer])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_all_know_each_other() {
        let topology = Topology::new(1, &[true, false, false]);
        assert_eq!(topology.neighbours(1), [0, 2]);
        assert!(topology.mesh(1).is_none());
    }

    #[test]
    fn a_crowd_is_connected_through_six_each_and_all_know_the_voters() {
        let seats: Vec<bool> = (0..500).map(|peer| peer < 16).collect();
        let topology = Topology::new(7, &seats);
        let mesh = |peer| topology.mesh(peer).unwrap();
        let (mut reached, mut next) = (BTreeSet::from([3]), vec![3]);
        while let Some(peer) = next.pop() {
            next.extend(mesh(peer).iter().filter(|other| reached.insert(**other)));
        }
        assert_eq!(reached.len(), 500);
        for peer in 0..500 {
            assert!(
                (4..=6).contains(&mesh(peer).len())
                    && mesh(peer).iter().all(|other| mesh(*other).contains(&peer))
            );
            let neighbours = topology.neighbours(peer);
            assert!((0..16).all(|voter| voter == peer || neighbours.contains(&voter)));
            assert!(peer < 16 || neighbours.len() <= 22);
            assert!(neighbours.iter().all(|other| topology.neighbours(*other).contains(&peer)));
        }
    }
}
