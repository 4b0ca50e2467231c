//! Tests of the adapter: one peer fed by hand, and small networks in virtual time.

mod admission;
mod bounds;
mod network;
mod network_runs;
mod records;
mod recovery;
mod rounds;
mod solo;
