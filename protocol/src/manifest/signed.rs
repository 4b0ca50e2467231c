//! A manifest with its founder's signature: the form on disk and on the wire.
//!
//! Layout: the four bytes `DLMF`, one byte of format version, then the canonical bincode of
//! (founder's key, manifest, signature). The signature's domain is `Manifest`, its scope the
//! manifest's own id at generation 0.

use super::{Manifest, ManifestError};
use crate::identity::{Domain, Hash, PeerKey, Scope, Signed, Signer};
use crate::wire;

const MAGIC: [u8; 4] = *b"DLMF";
pub(super) const FORMAT: u8 = 2;
const HEADER: usize = MAGIC.len() + 1;

/// A checked manifest whose signature holds. There is no other way to make one.
#[derive(Clone, PartialEq, Debug)]
pub struct SignedManifest {
    signed: Signed<Manifest>,
    id: Hash,
}

impl SignedManifest {
    /// Checks and signs a manifest as its founder.
    pub fn seal(manifest: Manifest, founder: &Signer) -> Result<SignedManifest, ManifestError> {
        manifest.check()?;
        let id = manifest.id();
        let sealed = SignedManifest { signed: founder.seal(Domain::Manifest, scope(id), manifest), id };
        // Every field is within its bounds, but many long ones may be too much together.
        let found = sealed.to_bytes().len();
        if found > Manifest::MAX_BYTES {
            let limit = Manifest::MAX_BYTES;
            return Err(wire::WireError::TooLong { what: "manifest", found, limit }.into());
        }
        Ok(sealed)
    }

    /// Opens a signed manifest: decodes, checks every bound and the signature.
    pub fn from_bytes(bytes: &[u8]) -> Result<SignedManifest, ManifestError> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(ManifestError::NotAManifest)?;
        if *magic != MAGIC {
            return Err(ManifestError::NotAManifest);
        }
        let (version, body) = rest.split_first().ok_or(ManifestError::NotAManifest)?;
        if *version != FORMAT {
            return Err(ManifestError::Version { found: *version });
        }
        let limit = Manifest::MAX_BYTES - HEADER;
        let signed: Signed<Manifest> = wire::decode("manifest", body, limit)?;
        signed.content.check()?;
        let id = signed.content.id();
        if !signed.holds(Domain::Manifest, scope(id)) {
            return Err(ManifestError::Signature);
        }
        Ok(SignedManifest { signed, id })
    }

    /// Opens the signed manifest of the session `wanted`.
    pub fn open(bytes: &[u8], wanted: Hash) -> Result<SignedManifest, ManifestError> {
        let manifest = SignedManifest::from_bytes(bytes)?;
        let found = manifest.id;
        if found == wanted { Ok(manifest) } else { Err(ManifestError::Session { wanted, found }) }
    }

    /// The bytes that [`SignedManifest::from_bytes`] opens.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(FORMAT);
        bytes.extend_from_slice(&wire::encode(&self.signed));
        bytes
    }

    /// The terms.
    pub fn manifest(&self) -> &Manifest {
        &self.signed.content
    }

    /// The session id.
    pub fn id(&self) -> Hash {
        self.id
    }

    /// Who signed.
    pub fn founder(&self) -> PeerKey {
        self.signed.by
    }
}

fn scope(id: Hash) -> Scope {
    Scope { session: id, generation: 0 }
}
