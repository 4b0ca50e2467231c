//! Paper tables: the product's protocol and engine, or a cost model, against published or independent
//! numbers.

pub mod chaos;
pub mod digits;
pub mod ef21;
pub mod learning;
pub mod methods;
pub mod one_byte;
mod progress;
pub mod runs;
pub mod traffic;
pub mod utilization;

pub use progress::Progress;
