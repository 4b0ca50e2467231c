//! Invitations: the line of text that lets somebody join a session.
//!
//! `driftless1-`, then base32 (lower case, no padding) of the canonical bincode of
//! [`Invitation`] and 4 bytes of checksum: the beginning of BLAKE3 over the prefix and the
//! payload. At most 1536 characters. The manifest is not in it; it is fetched by its hash.

use bincode::{Decode, Encode};

use crate::block::{Height, Token};
use crate::committee::MAX_SEATS;
use crate::identity::{Hash, PeerKey, Signed};
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
    pub token: Option<Signed<Token>>,
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

    /// Reads an invitation; white space around it does no harm.
    pub fn from_text(text: &str) -> Result<Invitation, InvitationError> {
        let text = text.trim();
        let Some(encoded) = text.strip_prefix(PREFIX) else { return Err(not_this_format(text)) };
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
