//! Everything of a peer that survives it: one data folder, and one store per session in it.
//!
//! A driver opens a [`Folder`], takes its lock, and for each session opens a [`SessionStore`],
//! which returns what the session recovers from. From then on it hands over every
//! [`Record`](driftless_protocol::event::Record), and answers other peers through a
//! [`StoreReader`]. All calls block.
//!
//! | what | where | durable before |
//! |---|---|---|
//! | own blob | `blobs/<root>` | it is announced |
//! | sign-once record, log of the running height | `db/sled` | the statement leaves |
//! | block with certificate | `chain/NNNNNNNN.blocks` | it is applied or sent; then the log is cut |
//! | block that changed the seats, also on the way to a snapshot | `chain/NNNNNNNN.seats` | the call returns |
//! | the founder's word for a new committee | `reset` | anything is signed for it |
//! | snapshot | `pages/<root>`, then `pages/NNNNNNNN.snapshot` | older pages and records go |
//! | which snapshot is being fetched | `pages/taking` | nothing: a restart goes on with it |
//! | checkpoint | `checkpoints/NNNNNNNN.checkpoint` | it is relied on at restart |
//! | that this key signs nothing more | `barred` | nothing: it says nothing |
//! | how much of the chain and the database is durable | `db/acknowledged` | the call returns |
//!
//! Every byte is under a hash. What was being written when the process died is cut or removed;
//! what was durable once and is damaged or gone is a typed error, because a voter that forgot
//! what it said could contradict itself. Snapshots and checkpoints have an older one to fall back
//! to: that is a [`Warning`].
//!
//! | file | idea |
//! |---|---|
//! | `folder`, `lock` | layout, identity, sessions, socket; one process per folder |
//! | `session`, `recovery` | writing and answering; reading back |
//! | `chain/` | append-only files of certified blocks |
//! | `journal/` | sled: what was signed, the running height's log |
//! | `acknowledged` | what must be there |
//! | `bar` | that this key signs nothing more |
//! | `seatings`, `reset` | who votes, from genesis on |
//! | `snapshots`, `checkpoints` | two of each |
//! | `sweep` | which blobs nobody needs any more |
//! | `peek` | snapshots, read beside a running node |
//! | `frame`, `disk`, `error` | hashed headers; writes and barriers, counted; typed errors |

mod acknowledged;
mod bar;
mod chain;
mod checkpoints;
mod disk;
mod error;
mod folder;
mod frame;
mod journal;
mod lock;
mod peek;
pub(crate) mod plain;
mod recovery;
mod reset;
mod seatings;
mod session;
mod snapshots;
mod sweep;
#[cfg(test)]
mod tests;

pub use chain::{ChainReader, ReadBlock, TornTail};
pub use error::{StoreError, Warning};
pub use folder::{Folder, SessionFolder};
pub use lock::FolderLock;
pub use peek::{check_taking, newest_snapshot, read_listing, read_snapshot, snapshot_heights, snapshot_path};
pub use reset::check_reset;
pub use seatings::read_committees;
pub use session::{Options, SessionStore, StoreReader};
pub use snapshots::Listing;
