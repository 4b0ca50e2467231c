//! The serving process: one file, as a blob (with and without a cap) and as a bare stream.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use driftless_protocol::{Hash, PeerKey};
use serde::{Deserialize, Serialize};

use super::{BenchError, raw};
use crate::bandwidth::{Caps, Rate};
use crate::blobs::{BlobStore, DataPlane, Hooks, Welcome, blocking};

/// Bytes of the blob that warms connections.
pub(super) const WARM: u64 = 8 << 20;

/// What the serving process says on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) root: Hash,
    pub(super) warm: Hash,
    pub(super) peer: PeerKey,
    pub(super) plane: SocketAddr,
    pub(super) capped: SocketAddr,
    pub(super) raw: SocketAddr,
}

/// Serves a file of `size` bytes from `folder`, says where on standard output, and returns when
/// standard input ends. Runs in the second process of [`super::run`].
pub async fn serve(folder: &Path, size: u64, cap: Rate) -> Result<(), BenchError> {
    let store = Arc::new(BlobStore::open(folder)?);
    let [root, warm] = [size, WARM].map(|size| {
        let path = folder.join("tmp-source");
        noise_file(&path, size)?;
        let root = store.insert_file(&path)?;
        std::fs::remove_file(&path)?;
        Ok::<_, BenchError>(root)
    });
    let (root, warm) = (root?, warm?);
    let hooks = Hooks { welcome: Arc::new(|_| Welcome::Member), accept: Arc::new(|_, _, _| false) };
    let bind =
        |caps| DataPlane::bind(([127, 0, 0, 1], 0).into(), [1; 32], store.clone(), caps, hooks.clone());
    let (plane, _) = bind(Caps::default())?;
    let (capped, _) = bind(Caps { up: cap, down: Rate::UNLIMITED })?;
    let raw = raw::serve(store.clone())?;
    let hello = Hello {
        root,
        warm,
        peer: plane.key(),
        plane: plane.local_addr()?,
        capped: capped.local_addr()?,
        raw,
    };
    let hello = serde_json::to_string(&hello).map_err(|error| BenchError::Server(error.to_string()))?;
    println!("{hello}");
    // A pipe that says nothing and ends.
    blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await?;
    Ok(())
}

/// Writes `size` bytes that do not compress.
fn noise_file(path: &Path, size: u64) -> std::io::Result<()> {
    let mut file = std::fs::File::create(path)?;
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut buffer = vec![0; 1 << 20];
    let mut left = size;
    while left > 0 {
        let count = left.min(buffer.len() as u64) as usize;
        noise.fill(&mut buffer[..count]);
        file.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
}
