//! Paper tables: the product's protocol and engine against published or independent numbers.

pub mod learning;
mod progress;

pub use progress::Progress;
