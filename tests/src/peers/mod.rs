//! A session of real processes, for `driftless-torture` and `driftless-throttled`.
//!
//! | file | idea |
//! |---|---|
//! | `founding` | keys, manifest and folders of a session whose peers all vote |
//! | `cast` | the processes: started, killed, listened to |
//! | `ledger` | what they said, and what they may never say |
//! | `netns` | a network of their own, where that is permitted |
//! | `random` | chance, all of it from the seed |

pub mod cast;
pub mod failure;
pub mod founding;
pub mod ledger;
pub mod netns;
pub mod random;
