//! What tools with real processes share. End-to-end tests live in end_to_end.rs.

pub mod peers;
