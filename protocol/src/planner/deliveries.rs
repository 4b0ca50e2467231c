//! Who gives a slot's blobs to whom.
//!
//! Every peer needs every contribution, once. An author pushes its blob to two mirrors, drawn contributors
//! and voters first (`session/contributing.rs`); voters fetch it from the first mirror when it is announced;
//! everybody else learns of it from the block and asks its author first (`session/chain.rs`). Mirrors are
//! taken in a ring of keys, so that all carry as much in the mean.

use super::{ByRole, Peers, Role};

/// Peers that hold a blob before it is announced.
const COPIES: f64 = 2.0;

/// Blobs of one slot that one peer gives and takes, on average.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Delivered {
    pub sent: f64,
    pub received: f64,
    /// Of those sent, the ones that voters need before they can decide.
    pub sent_first: f64,
    /// Of those received, the ones that came by a push.
    pub pushed: f64,
}

/// All deliveries of a slot.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Deliveries {
    pub per_peer: ByRole<Delivered>,
    /// Whether voters have to fetch anything that was not pushed to them.
    pub voters_fetch: bool,
}

/// What becomes of one blob in the mean, as far as its mirrors are concerned.
struct Author {
    /// Of the mirrors, how many vote.
    voting_mirrors: f64,
    /// How many voters fetch it from a mirror that votes itself, ...
    from_voters: f64,
    /// ... and from one that does not.
    from_others: f64,
}

impl Author {
    /// Of an author beside whom there are so many voters among those who are `wanted` as mirrors, and `first` of
    /// these become mirrors. Voters fetch from the first one.
    fn of(voters: f64, wanted: f64, first: f64) -> Author {
        if wanted < 1.0 {
            return Author { voting_mirrors: 0.0, from_voters: 0.0, from_others: 0.0 };
        }
        let votes = voters / wanted;
        // How many of so many voters are the second mirror.
        let second = |voters: f64| if wanted > 1.0 { (first - 1.0) * voters / (wanted - 1.0) } else { 0.0 };
        Author {
            voting_mirrors: first * votes,
            from_voters: votes * (voters - 1.0 - second(voters - 1.0)),
            from_others: (1.0 - votes) * (voters - second(voters)),
        }
    }
}

/// Deliveries among `peers` where `drawn` contribute.
pub(super) fn deliveries(peers: &Peers, drawn: u32) -> Deliveries {
    let [contributors, voters, all, drawn] =
        [peers.contributors, peers.voters, peers.count(), drawn].map(f64::from);
    // The chance of a contributor to be drawn.
    let share = drawn / contributors;
    // Voters and drawn contributors, who are mirrors before others.
    let wanted = voters + drawn * (1.0 - voters / contributors);
    let copies = COPIES.min(all - 1.0);
    let first = copies.min(wanted - 1.0);
    let of_voters = voters / contributors;
    let seated = Author::of(voters - 1.0, wanted - 1.0, first);
    let unseated = Author::of(voters, wanted - 1.0, first);
    let mean = |of: fn(&Author) -> f64| of_voters * of(&seated) + (1.0 - of_voters) * of(&unseated);
    // What one mirror of either kind gives to voters.
    let unseated_drawn = drawn * (1.0 - of_voters);
    let by_voter = drawn * mean(|author| author.from_voters) / voters;
    let by_other =
        if unseated_drawn > 0.0 { drawn * mean(|author| author.from_others) / unseated_drawn } else { 0.0 };
    // What an author gives: its pushes, and all others that are no voters and got none.
    let gives = |author: &Author, seat: f64| all - voters - (1.0 - seat) + author.voting_mirrors;
    let pushed = if wanted > 1.0 { drawn * first / wanted } else { 0.0 };
    let delivered = |role: Role| match role {
        Role::Voter => Delivered {
            sent: share * gives(&seated, 1.0) + by_voter,
            received: drawn - share,
            sent_first: share * copies + by_voter,
            pushed,
        },
        Role::Contributor => Delivered {
            sent: share * (gives(&unseated, 0.0) + by_other),
            received: drawn - share,
            sent_first: share * (copies + by_other),
            pushed: share * pushed,
        },
        Role::Follower => Delivered { received: drawn, ..Delivered::default() },
    };
    Deliveries {
        per_peer: ByRole::new(delivered),
        voters_fetch: mean(|author| author.from_voters + author.from_others) > 1e-9,
    }
}

/// The same where a step's list tells all who contribute what the others did: only who takes no part fetches.
pub(super) fn deliveries_beside_lists(peers: &Peers, drawn: u32) -> Deliveries {
    let share = f64::from(drawn) / f64::from(peers.contributors);
    let apart = f64::from(peers.with_role(Role::Follower))
        + (1.0 - share) * f64::from(peers.with_role(Role::Contributor));
    let delivered = |role: Role| match role {
        Role::Voter => Delivered { sent: share * apart, ..Delivered::default() },
        Role::Contributor => Delivered {
            sent: share * apart,
            received: (1.0 - share) * f64::from(drawn),
            ..Delivered::default()
        },
        Role::Follower => Delivered { received: f64::from(drawn), ..Delivered::default() },
    };
    Deliveries { per_peer: ByRole::new(delivered), voters_fetch: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_received() {
        for (contributors, voters, followers, drawn) in
            [(4, 4, 0, 4), (2, 2, 0, 2), (8, 3, 0, 8), (8, 3, 4, 8), (40, 16, 10, 20), (100, 1, 0, 64)]
        {
            let peers = Peers { contributors, voters, followers };
            let Deliveries { per_peer, .. } = deliveries(&peers, drawn);
            let sum = |of: fn(&Delivered) -> f64| -> f64 {
                Role::ALL.iter().map(|role| f64::from(peers.with_role(*role)) * of(per_peer.of(*role))).sum()
            };
            let (sent, received) = (sum(|one| one.sent), sum(|one| one.received));
            let all = f64::from(drawn) * f64::from(peers.count() - 1);
            assert!((received - all).abs() < 1e-6, "{peers:?}: {received} of {all}");
            assert!((sent - all).abs() < 1e-6, "{peers:?}: {sent} of {all}");
        }
    }

    #[test]
    fn where_all_vote_each_sends_as_much_as_it_receives() {
        let found = deliveries(&Peers::all_voting(8), 8).per_peer.voter;
        assert!((found.sent - 7.0).abs() < 1e-9 && (found.received - 7.0).abs() < 1e-9, "{found:?}");
        assert!(
            !deliveries(&Peers::all_voting(3), 3).voters_fetch
                && deliveries(&Peers::all_voting(4), 4).voters_fetch
        );
    }
}
