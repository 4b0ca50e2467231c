//! Invitations: the line of text that lets somebody join a session.
//!
//! `driftless1-`, then base32 (lower case, no padding) of the canonical bincode of
//! [`Invitation`] and 4 bytes of checksum: the beginning of BLAKE3 over the prefix and the
//! payload. At most 1536 characters. The manifest is not in it; it is fetched by its hash.

use bincode::{Decode, Encode};

use crate::block::{Admittance, Height};
use crate::committee::MAX_SEATS;
use crate::identity::{Domain, Hash, PeerKey, Scope, Signature, Signer};
use crate::wire::{self, WireError};

const PREFIX: &str = "driftless1-";
const CHECKSUM: usize = 4;

/// What a joiner has to know.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Invitation {
    /// The manifest's hash.
    pub session: Hash,
    /// Height of a recent block.
    pub height: Height,
    /// That block's hash; the session id at height 0.
    pub block: Hash,
    /// The committee at that height, in seat order.
    pub seats: Vec<PeerKey>,
    /// Where peers listen, best first.
    pub addresses: Vec<String>,
    /// Needed where admission is by invitation.
    pub ticket: Option<Ticket>,
}

/// The secret part of an invitation: a key of its own, and the issuer's word for it. A joiner
/// publishes only what it signs, so nobody learns to join from a session's chain.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Ticket {
    secret: [u8; 32],
    /// The issuer's signature over the ticket's public key.
    word: Signature,
}

impl Ticket {
    /// A ticket to `session`; each serial number is another one, the same for good.
    pub fn issue(issuer: &Signer, session: Hash, serial: u64) -> Ticket {
        let mut hasher = blake3::Hasher::new_derive_key("driftless 2026 invitation ticket");
        hasher.update(&issuer.seed());
        hasher.update(&session.0);
        hasher.update(&serial.to_le_bytes());
        let secret = *hasher.finalize().as_bytes();
        let scope = Scope { session, generation: 0 };
        let word = issuer.sign(Domain::Ticket, scope, &Signer::from_seed(secret).key());
        Ticket { secret, word }
    }

    /// Proof that `joiner` was invited to `session`.
    pub fn admit(&self, session: Hash, joiner: PeerKey) -> Admittance {
        let scope = Scope { session, generation: 0 };
        let ticket = Signer::from_seed(self.secret);
        let signature = ticket.sign(Domain::Admittance, scope, &joiner);
        Admittance { ticket: ticket.key(), word: self.word, signature }
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ticket({})", Signer::from_seed(self.secret).key().short())
    }
}

/// Why a text is no usable invitation.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvitationError {
    /// Some other text.
    #[error("this is not an invitation: one starts with `{PREFIX}`")]
    NotAnInvitation,
    /// An invitation of another format version.
    #[error("an invitation of format {found}, this release reads 1: is it up to date?")]
    Version {
        /// The version, as written.
        found: String,
    },
    /// Longer than any invitation.
    #[error("an invitation of {found} characters, at most {} are possible", Invitation::MAX_TEXT)]
    TooLong {
        /// Characters found.
        found: usize,
    },
    /// A character that no invitation has, or one too few.
    #[error("the invitation is damaged at character {position}: was it copied whole?")]
    Character {
        /// Where, counted from 1.
        position: usize,
    },
    /// A character was changed, lost or added.
    #[error("the invitation's checksum does not match: was it copied whole?")]
    Checksum,
    /// The checksum holds, the content does not.
    #[error(transparent)]
    Content(#[from] WireError),
}

impl Invitation {
    /// The most characters of an invitation.
    pub const MAX_TEXT: usize = 1536;
    /// The most addresses.
    pub const MAX_ADDRESSES: usize = 8;
    /// The most bytes of an address.
    pub const MAX_ADDRESS: usize = 256;

    /// The text to pass on. Too long a one is an error: [`Invitation::shortened`] helps.
    pub fn to_text(&self) -> Result<String, InvitationError> {
        self.check()?;
        let mut bytes = wire::encode(self);
        bytes.extend_from_slice(&checksum(&bytes));
        let text = format!("{PREFIX}{}", base32().encode(&bytes));
        if text.len() > Self::MAX_TEXT {
            return Err(InvitationError::TooLong { found: text.len() });
        }
        Ok(text)
    }

    /// Drops addresses from the end until the text is short enough.
    pub fn shortened(mut self) -> Invitation {
        self.addresses.truncate(Self::MAX_ADDRESSES);
        while matches!(self.to_text(), Err(InvitationError::TooLong { .. })) && self.addresses.pop().is_some()
        {
        }
        self
    }

    /// Reads an invitation; white space does no harm: mail programs break long lines.
    pub fn from_text(text: &str) -> Result<Invitation, InvitationError> {
        let text: String = text.split_whitespace().collect();
        let Some(encoded) = text.strip_prefix(PREFIX) else { return Err(not_this_format(&text)) };
        if text.len() > Self::MAX_TEXT {
            return Err(InvitationError::TooLong { found: text.len() });
        }
        let bytes = base32()
            .decode(encoded.as_bytes())
            .map_err(|error| InvitationError::Character { position: PREFIX.len() + error.position + 1 })?;
        let (payload, found) = bytes.split_last_chunk::<CHECKSUM>().ok_or(InvitationError::Checksum)?;
        if checksum(payload) != *found {
            return Err(InvitationError::Checksum);
        }
        let invitation: Invitation = wire::decode("invitation", payload, Self::MAX_TEXT)?;
        invitation.check()?;
        Ok(invitation)
    }

    fn check(&self) -> Result<(), InvitationError> {
        let out = |field| Err(WireError::OutOfBounds { what: "invitation", field }.into());
        if !(1..=MAX_SEATS).contains(&self.seats.len()) {
            return out("committee");
        }
        if self.addresses.len() > Self::MAX_ADDRESSES {
            return out("addresses");
        }
        let usable = |address: &String| {
            (1..=Self::MAX_ADDRESS).contains(&address.len())
                && address.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.addresses.iter().all(usable) { Ok(()) } else { out("address") }
    }
}

/// Whether a text without our prefix is another version's invitation, or none.
fn not_this_format(text: &str) -> InvitationError {
    let rest = text.strip_prefix("driftless").unwrap_or("");
    match rest.split_once('-') {
        Some((version, _))
            if (1..=9).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit()) =>
        {
            InvitationError::Version { found: version.into() }
        }
        _ => InvitationError::NotAnInvitation,
    }
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(PREFIX.as_bytes());
    hasher.update(payload);
    let [a, b, c, d, ..] = *hasher.finalize().as_bytes();
    [a, b, c, d]
}

/// RFC 4648's alphabet in lower case; trailing bits must be zero, so a text has one spelling.
fn base32() -> data_encoding::Encoding {
    let mut alphabet = data_encoding::Specification::new();
    alphabet.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    alphabet.encoding().expect("32 distinct symbols")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Invitation {
        let session = Hash::of(b"session");
        let founder = Signer::from_seed([1; 32]);
        Invitation {
            session,
            height: 4242,
            block: Hash::of(b"block"),
            seats: (1..=4).map(|n| Signer::from_seed([n; 32]).key()).collect(),
            addresses: vec!["/ip4/192.0.2.7/tcp/4001".into(), "/dns/example.org/udp/4001/quic-v1".into()],
            ticket: Some(Ticket::issue(&founder, session, 9)),
        }
    }

    #[test]
    fn it_round_trips_with_white_space_around_it_and_in_it() {
        let text = sample().to_text().unwrap();
        assert!(text.len() <= Invitation::MAX_TEXT && text.starts_with("driftless1-"));
        assert_eq!(Invitation::from_text(&format!(" \n\t{text}\r\n ")), Ok(sample()));
        let (first, second) = text.split_at(76);
        assert_eq!(Invitation::from_text(&format!("{first}\r\n  {second}")), Ok(sample()));
        let hash = blake3::hash(text.as_bytes()).to_hex();
        assert_eq!(hash[..16], *"c0322392299c2d3c", "the format is pinned: a change of it is a new version");
    }

    #[test]
    fn every_changed_missing_or_added_character_is_refused() {
        let text = sample().to_text().unwrap();
        for index in 0..text.len() {
            for other in "abcdefghijklmnopqrstuvwxyz234567018=-A ".chars() {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[index] != other {
                    changed[index] = other;
                    let changed: String = changed.into_iter().collect();
                    assert!(Invitation::from_text(&changed).is_err(), "{other} at {index}");
                }
            }
            let mut missing = text.clone();
            missing.remove(index);
            assert!(Invitation::from_text(&missing).is_err(), "without {index}");
            assert!(Invitation::from_text(&text[..index]).is_err(), "cut at {index}");
            let mut added = text.clone();
            added.insert(index, 'a');
            assert!(Invitation::from_text(&added).is_err(), "a at {index}");
        }
    }

    #[test]
    fn what_a_joiner_publishes_admits_nobody_else() {
        let (session, founder) = (Hash::of(b"session"), Signer::from_seed([1; 32]));
        let [joiner, thief] = [2, 3].map(|n| Signer::from_seed([n; 32]).key());
        let ticket = Ticket::issue(&founder, session, 0);
        let admittance = ticket.admit(session, joiner);
        assert!(admittance.admits(session, founder.key(), joiner));
        assert!(!admittance.admits(session, founder.key(), thief));
        assert!(!admittance.admits(session, thief, joiner));
        assert!(!admittance.admits(Hash::of(b"another"), founder.key(), joiner));
        let forged = Ticket::issue(&Signer::from_seed([3; 32]), session, 0).admit(session, thief);
        assert!(!forged.admits(session, founder.key(), thief));
        assert_ne!(ticket, Ticket::issue(&founder, session, 1));
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let text = sample().to_text().unwrap();
        let error = |text: &str| Invitation::from_text(text).unwrap_err();
        assert_eq!(error(""), InvitationError::NotAnInvitation);
        assert_eq!(error("https://example.org"), InvitationError::NotAnInvitation);
        assert_eq!(error("driftless-abc"), InvitationError::NotAnInvitation);
        let future = text.replace("driftless1-", "driftless2-");
        assert_eq!(error(&future), InvitationError::Version { found: "2".into() });
        assert_eq!(error(&text.to_uppercase()), InvitationError::NotAnInvitation);
        assert_eq!(
            error(&text.replace('7', "1")),
            InvitationError::Character { position: text.find('7').unwrap() + 1 }
        );
        assert_eq!(error("driftless1-"), InvitationError::Checksum);
        let long = format!("{text}{}", "a".repeat(2000));
        assert_eq!(error(&long), InvitationError::TooLong { found: long.len() });
        let mut bytes = wire::encode(&7u8);
        bytes.extend_from_slice(&checksum(&bytes));
        let nonsense = format!("{PREFIX}{}", base32().encode(&bytes));
        assert!(matches!(error(&nonsense), InvitationError::Content(WireError::Malformed { .. })));
    }

    #[test]
    fn bounds_hold_in_both_directions() {
        let refused = |invitation: Invitation| {
            let mut bytes = wire::encode(&invitation);
            bytes.extend_from_slice(&checksum(&bytes));
            let forged = Invitation::from_text(&format!("{PREFIX}{}", base32().encode(&bytes)));
            assert_eq!(forged, Err(invitation.to_text().unwrap_err()));
            forged.unwrap_err().to_string()
        };
        let empty = refused(Invitation { seats: Vec::new(), ..sample() });
        assert_eq!(empty, "invitation: committee out of bounds");
        refused(Invitation { seats: vec![PeerKey([1; 32]); 17], ticket: None, ..sample() });
        refused(Invitation { addresses: vec!["a".into(); 9], ..sample() });
        refused(Invitation { addresses: vec![String::new()], ..sample() });
        refused(Invitation { addresses: vec!["two words".into()], ..sample() });
        refused(Invitation { addresses: vec!["a".repeat(257)], ..sample() });
    }

    #[test]
    fn a_full_committee_fits_and_addresses_give_way() {
        let full = Invitation {
            seats: (0..16).map(|n| PeerKey([n; 32])).collect(),
            addresses: (0..8).map(|n| format!("/dns/{n}{}/tcp/1", "x".repeat(90))).collect(),
            height: u64::MAX,
            ..sample()
        };
        assert!(matches!(full.to_text(), Err(InvitationError::TooLong { .. })));
        let shortened = full.clone().shortened();
        assert_eq!(shortened.addresses, full.addresses[..2]);
        assert_eq!(Invitation::from_text(&shortened.to_text().unwrap()), Ok(shortened));
        assert_eq!(sample().shortened(), sample());
    }

    proptest! {
        #[test]
        fn any_invitation_round_trips(
            session: [u8; 32],
            height: u64,
            seats in prop::collection::vec(any::<[u8; 32]>(), 1..=16),
            addresses in prop::collection::vec("[!-~]{1,100}", 0..=8),
            ticket: bool,
        ) {
            let ticket = sample().ticket.filter(|_| ticket);
            let (session, seats) = (Hash(session), seats.into_iter().map(PeerKey).collect());
            let invitation = Invitation { session, height, block: session, seats, addresses, ticket }.shortened();
            let text = invitation.to_text().unwrap();
            prop_assert!(text.len() <= Invitation::MAX_TEXT);
            prop_assert_eq!(Invitation::from_text(&text), Ok(invitation));
        }

        #[test]
        fn hostile_texts_never_panic(text in ".{0,100}", body in "[a-z2-7]{0,200}") {
            let _ = Invitation::from_text(&text);
            let refused = Invitation::from_text(&format!("driftless1-{body}")).is_err();
            prop_assert!(refused);
        }
    }
}
