//! One ed25519 key is the identity on both planes: [`PeerKey`] here, an inline `PeerId` in libp2p.

use driftless_protocol::PeerKey;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};

/// The key behind `peer`, or nothing if the peer id is not an inline ed25519 key.
pub fn key_of(peer: &PeerId) -> Option<PeerKey> {
    const IDENTITY_HASH: u64 = 0;
    let multihash = peer.as_ref();
    if multihash.code() != IDENTITY_HASH {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?.try_into_ed25519().ok()?;
    Some(PeerKey(key.to_bytes()))
}

/// The peer id of `key`, or nothing if its bytes are no point of the curve.
pub fn peer_of(key: &PeerKey) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&key.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The libp2p key pair of a 32-byte seed: the same key as `Signer::from_seed(seed)`.
///
/// Every 32 bytes are a valid ed25519 seed.
pub(crate) fn keypair_of(mut seed: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(&mut seed[..]).expect("a seed has 32 bytes")
}

#[cfg(test)]
mod tests {
    use driftless_protocol::identity::Signer;

    use super::*;

    #[test]
    fn keys_convert_both_ways_and_agree_with_the_signer() {
        for seed in [[0; 32], [7; 32], [255; 32]] {
            let peer = keypair_of(seed).public().to_peer_id();
            let key = Signer::from_seed(seed).key();
            assert_eq!(key_of(&peer), Some(key));
            assert_eq!(peer_of(&key), Some(peer));
        }
    }

    #[test]
    fn other_peer_ids_and_impossible_keys_are_refused() {
        assert_eq!(key_of(&PeerId::random()), None);
        let off_curve = (0..=255u8).map(|byte| PeerKey([byte; 32])).filter(|key| peer_of(key).is_none());
        assert!(off_curve.count() > 0);
    }
}
