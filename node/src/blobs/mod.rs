//! The data plane: content-addressed blobs over quinn, verified while they stream to disk.
//!
//! A blob is named by the plain BLAKE3 root of its bytes and moves in slices of 16 KiB groups, each
//! checked against the root as it arrives. [`BlobStore`] is the folder; [`DataPlane`] serves, fetches
//! and pushes over one endpoint, one ed25519 identity and one cached connection per peer, whoever
//! dialed it: a peer that nobody can dial is served over the connection that it opened itself.
//!
//! | file | idea |
//! |---|---|
//! | `tree` | the hash tree: encode, verify, prove |
//! | `store`, `files`, `partial` | complete blobs; how their files are written and read; unfinished ones |
//! | `socket`, `transport` | bytes counted and capped; QUIC and TLS settings |
//! | `peers` | who is connected; dialing |
//! | `wire`, `transfer` | headers; slices between stream and disk |
//! | `plane`, `serve` | the endpoint; what others ask of us |
//! | `fetch`, `schedule`, `push` | what we ask of others |
//! | `claims` | one download per blob at a time |
//! | `uplink` | whose bytes leave first |

pub mod bench;
mod claims;
mod fetch;
mod files;
mod partial;
mod peers;
mod plane;
mod push;
mod schedule;
mod serve;
mod socket;
mod store;
#[cfg(test)]
mod tests;
mod transfer;
mod transport;
mod tree;
mod uplink;
mod wire;

pub use fetch::{FetchError, Fetched};
pub use files::{OpenBlob, outboard_of};
pub use peers::{Source, SourceError};
pub use plane::{BindError, BlobEvent, DataPlane, Hooks, Welcome};
pub use push::{PushError, Pushed};
pub use socket::Traffic;
pub use store::{BlobStore, OUTBOARD_FROM, StoreError};
pub use transport::IdentityError;
pub use tree::{GROUP, group_count};
pub use wire::MAX_BLOB;

/// Runs blocking file work off the async threads. A panic there is a panic here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work)).await
}

/// The result of blocking work that was started before.
pub(crate) async fn joined<T>(job: tokio::task::JoinHandle<T>) -> T {
    match job.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down: nobody will look at a result.
            Err(_) => std::future::pending().await,
        },
    }
}
