//! Token buckets in integers: what one peer may send before its bytes are handed up.

use std::collections::BTreeMap;
use std::time::Duration;

use driftless_protocol::PeerKey;

/// A refill rate and a ceiling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Tokens added per second.
    pub per_second: u64,
    /// The most tokens that can be saved up.
    pub burst: u64,
}

const NANOS: u128 = 1_000_000_000;

/// A token bucket. Time is a duration since any fixed start and is given by the caller.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// In billionths of a token, so that no fraction is ever lost.
    level: u128,
    updated: Duration,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(rate: Rate, now: Duration) -> Bucket {
        Bucket { rate, level: u128::from(rate.burst) * NANOS, updated: now }
    }

    fn refill(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.updated).as_nanos();
        let gained = elapsed.saturating_mul(u128::from(self.rate.per_second));
        self.level = self.level.saturating_add(gained).min(u128::from(self.rate.burst) * NANOS);
        self.updated = self.updated.max(now);
    }

    fn holds(&self, tokens: u64) -> bool {
        self.level >= u128::from(tokens) * NANOS
    }

    fn take(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(u128::from(tokens) * NANOS);
    }
}

/// What a peer may send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerRates {
    /// Messages, gossip and requests together.
    pub messages: Rate,
    /// Their bytes.
    pub bytes: Rate,
    /// Offences forgiven: each message over the limit is one, each rejected gossip message
    /// [`REJECT_STRIKES`]. A peer that uses them up is shut out for a while.
    pub strikes: Rate,
}

impl Default for PeerRates {
    fn default() -> PeerRates {
        PeerRates {
            messages: Rate { per_second: 200, burst: 600 },
            bytes: Rate { per_second: 2 << 20, burst: 8 << 20 },
            strikes: Rate { per_second: 10, burst: 1000 },
        }
    }
}

/// Strikes for a gossip message that its receiver called invalid.
pub(crate) const REJECT_STRIKES: u64 = 50;

/// What to do with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// Hand it up.
    Accept,
    /// Over the limit: drop it.
    Drop,
    /// Over the limit for too long: drop it and the peer.
    Ban,
}

#[derive(Debug)]
struct Account {
    messages: Bucket,
    bytes: Bucket,
    strikes: Bucket,
}

/// The accounts of all peers. A peer keeps its account when it reconnects; of more than
/// [`Limiter::ACCOUNTS`] the one that was silent longest is forgotten.
#[derive(Debug)]
pub(crate) struct Limiter {
    rates: PeerRates,
    accounts: BTreeMap<PeerKey, Account>,
}

impl Limiter {
    pub(crate) const ACCOUNTS: usize = 1024;

    pub(crate) fn new(rates: PeerRates) -> Limiter {
        Limiter { rates, accounts: BTreeMap::new() }
    }

    /// Charges one message of `bytes` to `peer`.
    pub(crate) fn admit(&mut self, peer: PeerKey, bytes: usize, now: Duration) -> Admission {
        let account = self.account(peer, now);
        let bytes = bytes as u64;
        if account.messages.holds(1) && account.bytes.holds(bytes) {
            account.messages.take(1);
            account.bytes.take(bytes);
            return Admission::Accept;
        }
        if self.strike(peer, 1, now) { Admission::Ban } else { Admission::Drop }
    }

    /// Charges `strikes` to `peer`; true if it has used up its allowance.
    pub(crate) fn strike(&mut self, peer: PeerKey, strikes: u64, now: Duration) -> bool {
        let account = self.account(peer, now);
        account.strikes.take(strikes);
        !account.strikes.holds(1)
    }

    fn account(&mut self, peer: PeerKey, now: Duration) -> &mut Account {
        if !self.accounts.contains_key(&peer) && self.accounts.len() >= Self::ACCOUNTS {
            let oldest = self.accounts.iter().min_by_key(|(_, account)| account.messages.updated);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                self.accounts.remove(&oldest);
            }
        }
        let rates = self.rates;
        let account = self.accounts.entry(peer).or_insert_with(|| Account {
            messages: Bucket::full(rates.messages, now),
            bytes: Bucket::full(rates.bytes, now),
            strikes: Bucket::full(rates.strikes, now),
        });
        account.messages.refill(now);
        account.bytes.refill(now);
        account.strikes.refill(now);
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rate(per_second: u64, burst: u64) -> Rate {
        Rate { per_second, burst }
    }

    fn limiter(messages: Rate, bytes: Rate, strikes: Rate) -> Limiter {
        Limiter::new(PeerRates { messages, bytes, strikes })
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const PEER: PeerKey = PeerKey([1; 32]);
    const PLENTY: Rate = rate(1_000_000, 1_000_000);

    #[test]
    fn a_burst_passes_and_then_exactly_the_rate() {
        let mut limiter = limiter(rate(10, 5), PLENTY, PLENTY);
        let accepted = |limiter: &mut Limiter, at| {
            (0..100).filter(|_| limiter.admit(PEER, 1, at) == Admission::Accept).count()
        };
        assert_eq!(accepted(&mut limiter, millis(0)), 5);
        assert_eq!(accepted(&mut limiter, millis(99)), 0);
        assert_eq!(accepted(&mut limiter, millis(100)), 1);
        assert_eq!(accepted(&mut limiter, millis(400)), 3);
        assert_eq!(accepted(&mut limiter, millis(1_000_000)), 5);
    }

    #[test]
    fn fractions_of_a_token_are_not_lost_however_often_one_asks() {
        let mut limiter = limiter(rate(3, 3), PLENTY, PLENTY);
        let steps = (0..=10_000).filter(|ms| limiter.admit(PEER, 1, millis(*ms)) == Admission::Accept);
        assert_eq!(steps.count(), 3 + 30);
    }

    #[test]
    fn bytes_limit_too_and_a_refused_message_costs_nothing() {
        let mut limiter = limiter(rate(1, 2), rate(100, 100), PLENTY);
        assert_eq!(limiter.admit(PEER, 101, millis(0)), Admission::Drop);
        assert_eq!(limiter.admit(PEER, 100, millis(0)), Admission::Accept);
        assert_eq!(limiter.admit(PEER, 1, millis(0)), Admission::Drop);
        assert_eq!(limiter.admit(PEER, 1, millis(10)), Admission::Accept);
    }

    #[test]
    fn who_keeps_flooding_is_banned_and_others_do_not_notice() {
        let mut limiter = limiter(rate(0, 1), PLENTY, rate(0, 3));
        let other = PeerKey([2; 32]);
        let verdicts: Vec<Admission> = (0..4).map(|_| limiter.admit(PEER, 1, millis(0))).collect();
        assert_eq!(verdicts, [Admission::Accept, Admission::Drop, Admission::Drop, Admission::Ban]);
        assert_eq!(limiter.admit(other, 1, millis(0)), Admission::Accept);
    }

    #[test]
    fn time_that_goes_back_adds_nothing() {
        let mut limiter = limiter(rate(1, 1), PLENTY, PLENTY);
        assert_eq!(limiter.admit(PEER, 1, millis(5_000)), Admission::Accept);
        assert_eq!(limiter.admit(PEER, 1, millis(0)), Admission::Drop);
        assert_eq!(limiter.admit(PEER, 1, millis(5_500)), Admission::Drop);
        assert_eq!(limiter.admit(PEER, 1, millis(6_000)), Admission::Accept);
    }

    #[test]
    fn accounts_are_bounded() {
        let mut limiter = limiter(rate(1, 1), PLENTY, PLENTY);
        for n in 0..2 * Limiter::ACCOUNTS as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_be_bytes());
            limiter.admit(PeerKey(key), 1, millis(n));
        }
        assert_eq!(limiter.accounts.len(), Limiter::ACCOUNTS);
    }
}
