//! Keys, hashes and signed statements.
//!
//! One ed25519 key is a peer's identity on every plane. A signature covers
//! (domain, session, generation, content), so a statement of one kind, session or generation can
//! never be replayed as another.

use std::fmt;

use bincode::{Decode, Encode};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::wire;

macro_rules! bytes32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first eight hex digits, for people.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0[..4])
            }

            /// Parses 64 hex digits.
            pub fn from_hex(text: &str) -> Option<Self> {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
                Some(Self(bytes.try_into().ok()?))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
                Self::from_hex(&text).ok_or_else(|| {
                    serde::de::Error::custom(format!("expected 64 hex digits, found {:?}", text))
                })
            }
        }
    };
}

bytes32! {
    /// A BLAKE3 hash: the name of a blob, page, block, manifest or state.
    Hash
}
bytes32! {
    /// A peer's ed25519 public key: its name in a session.
    PeerKey
}

impl Hash {
    /// BLAKE3 of `bytes`.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(*blake3::hash(bytes).as_bytes())
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Hash {
        Hash(*hash.as_bytes())
    }
}

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

/// What a signature is about. The discriminants are part of the wire format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Domain {
    /// The founder's signature over a manifest.
    Manifest = 1,
    /// A contribution to a slot.
    Announcement = 2,
    /// A block proposed at a height and attempt.
    Proposal = 3,
    /// A prevote or precommit.
    Vote = 4,
    /// A request to become a member.
    Join = 5,
    /// A member's farewell.
    Leave = 6,
    /// An issuer's word for an invitation's ticket.
    Ticket = 7,
    /// A ticket's word for a joiner.
    Admittance = 8,
    /// A member's word whether it would take a seat.
    Stand = 9,
    /// A voter's word that it is there.
    Presence = 10,
    /// Whom a proposer heard.
    Roll = 11,
    /// The founder's word for a new committee.
    Reset = 12,
    /// What a voter draws its spot checks from; never sent.
    Audit = 13,
}

/// Which session, and which generation of its committee, a statement belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scope {
    /// The manifest's hash.
    pub session: Hash,
    /// Raised by a reset.
    pub generation: u32,
}

/// Whether this build's signatures are hashes that anybody can make: for searching many worlds in which
/// nobody does.
pub const SIGNATURES_ARE_CHEAP: bool = cfg!(feature = "cheap-signatures");

/// A peer's secret key.
#[derive(Clone)]
pub struct Signer(SigningKey);

impl Signer {
    /// The signer of a 32-byte seed.
    pub fn from_seed(seed: [u8; 32]) -> Signer {
        Signer(SigningKey::from_bytes(&seed))
    }

    /// The seed: whoever has it is this peer.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn key(&self) -> PeerKey {
        PeerKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `content`.
    pub fn sign<T: Encode>(&self, domain: Domain, scope: Scope, content: &T) -> Signature {
        let bytes = signed_bytes(domain, scope, content);
        match SIGNATURES_ARE_CHEAP {
            true => cheap(&self.key(), &bytes),
            false => Signature(self.0.sign(&bytes).to_bytes()),
        }
    }

    /// Wraps `content` with the key and signature of this peer.
    pub fn seal<T: Encode>(&self, domain: Domain, scope: Scope, content: T) -> Signed<T> {
        let signature = self.sign(domain, scope, &content);
        Signed { by: self.key(), content, signature }
    }
}

impl PeerKey {
    /// Whether `signature` is this key's over `content`.
    pub fn verify<T: Encode>(
        &self,
        domain: Domain,
        scope: Scope,
        content: &T,
        signature: &Signature,
    ) -> bool {
        let bytes = signed_bytes(domain, scope, content);
        if SIGNATURES_ARE_CHEAP {
            return cheap(self, &bytes) == *signature;
        }
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&bytes, &signature).is_ok()
    }
}

/// A statement with its author and signature.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Signed<T> {
    /// Who says so.
    pub by: PeerKey,
    /// What is said.
    pub content: T,
    /// `by`'s signature.
    pub signature: Signature,
}

impl<T: Encode> Signed<T> {
    /// Whether the signature holds in `domain` and `scope`.
    pub fn holds(&self, domain: Domain, scope: Scope) -> bool {
        self.by.verify(domain, scope, &self.content, &self.signature)
    }
}

/// What stands for a signature in a build that has none.
fn cheap(key: &PeerKey, bytes: &[u8]) -> Signature {
    let mut signature = [0; 64];
    blake3::Hasher::new_keyed(&key.0).update(bytes).finalize_xof().fill(&mut signature);
    Signature(signature)
}

fn signed_bytes<T: Encode>(domain: Domain, scope: Scope, content: &T) -> Vec<u8> {
    let mut bytes = b"driftless/1\0".to_vec();
    bytes.push(domain as u8);
    bytes.extend_from_slice(&scope.session.0);
    bytes.extend_from_slice(&scope.generation.to_le_bytes());
    bytes.extend_from_slice(&wire::encode(content));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(generation: u32) -> Scope {
        Scope { session: Hash::of(b"session"), generation }
    }

    #[test]
    fn a_signature_is_bound_to_domain_session_generation_content_and_key() {
        let signer = Signer::from_seed([1; 32]);
        let signature = signer.sign(Domain::Vote, scope(0), &7u64);
        let key = signer.key();
        assert!(key.verify(Domain::Vote, scope(0), &7u64, &signature));
        assert!(!key.verify(Domain::Proposal, scope(0), &7u64, &signature));
        assert!(!key.verify(Domain::Vote, scope(1), &7u64, &signature));
        assert!(!key.verify(Domain::Vote, scope(0), &8u64, &signature));
        let other = Scope { session: Hash::of(b"other"), generation: 0 };
        assert!(!key.verify(Domain::Vote, other, &7u64, &signature));
        assert!(!Signer::from_seed([2; 32]).key().verify(Domain::Vote, scope(0), &7u64, &signature));
    }

    #[test]
    fn hex_round_trips_and_rejects_other_lengths() {
        let hash = Hash::of(b"x");
        assert_eq!(Hash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(Hash::from_hex("abcd"), None);
        assert_eq!(PeerKey::from_hex("zz"), None);
    }
}
