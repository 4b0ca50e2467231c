//! How a session's chain lies in files, as bytes: for the store that writes them, and for whoever reads
//! a folder without one.
//!
//! A chain file is a header, then a record for each block; it is named by the height of its first.

mod header;
mod record;
mod segment;

pub use header::{HEADER, HeaderError, Kind, header, is_whole, parse};
pub use record::{LARGEST, PREFIX, Prefix, encode, whole_record_in};
pub use segment::{AFTER_GAP, CONTINUES, Segment, SegmentError, read_segment};
