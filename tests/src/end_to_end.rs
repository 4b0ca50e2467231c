//! End-to-end tests.

mod workspace;
