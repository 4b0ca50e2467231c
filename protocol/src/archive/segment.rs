//! A whole chain file from its bytes.

use super::{HEADER, HeaderError, Kind, LARGEST, PREFIX, Prefix, is_whole, parse};
use crate::block::{CertifiedBlock, Height};
use crate::identity::Hash;

/// In a file's header: its first block follows the last of the file before.
pub const CONTINUES: u64 = 1;
/// In a file's header: a snapshot bridges what is missing before its first block.
pub const AFTER_GAP: u64 = 0;

/// What a chain file holds. Links and certificates are left to whoever follows the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The height of its first block.
    pub first: Height,
    /// Whether blocks before it are missing.
    pub after_gap: bool,
    /// Its whole records.
    pub blocks: Vec<CertifiedBlock>,
    /// Where bytes begin that are no whole record: a write that was cut off, or damage.
    pub torn: Option<usize>,
}

/// Why bytes are no chain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Less than a header.
    #[error("it is shorter than a header")]
    Short,
    /// Damage to the header.
    #[error("its header does not have the hash in it")]
    Header,
    /// Another file.
    #[error(transparent)]
    Other(#[from] HeaderError),
}

/// Reads the bytes of one chain file of `session`.
pub fn read_segment(session: Hash, bytes: &[u8]) -> Result<Segment, SegmentError> {
    let (header, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or(SegmentError::Short)?;
    if !is_whole(header, &[]) {
        return Err(SegmentError::Header);
    }
    let (first, flag) = parse(Kind::Chain, session, header)?;
    let mut segment = Segment { first, after_gap: flag != CONTINUES, blocks: Vec::new(), torn: None };
    while !rest.is_empty() {
        let Some((block, behind)) = next_record(session, rest) else {
            segment.torn = Some(bytes.len() - rest.len());
            break;
        };
        segment.blocks.push(block);
        rest = behind;
    }
    Ok(segment)
}

fn next_record(session: Hash, bytes: &[u8]) -> Option<(CertifiedBlock, &[u8])> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX>()?;
    let prefix = Prefix::parse(*prefix);
    let body = rest.get(..prefix.length).filter(|_| prefix.length <= LARGEST)?;
    let block = prefix.open(session, body).ok()?;
    Some((block, &rest[prefix.length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{encode, header};
    use crate::block::{Block, Certificate};

    fn block(height: Height) -> CertifiedBlock {
        let block =
            Block { height, generation: 0, parent: Hash([1; 32]), items: Vec::new(), digest: Hash([2; 32]) };
        CertifiedBlock { block, certificate: Certificate { attempt: 0, precommits: Vec::new() } }
    }

    #[test]
    fn what_was_written_is_read_and_a_cut_or_a_flipped_bit_ends_it() {
        let session = Hash([3; 32]);
        let mut bytes = header(Kind::Chain, session, [5, CONTINUES], &[]).to_vec();
        for height in [5, 6] {
            bytes.extend(encode(session, &block(height)));
        }
        let whole = read_segment(session, &bytes).unwrap();
        let blocks = vec![block(5), block(6)];
        assert_eq!(whole, Segment { first: 5, after_gap: false, blocks, torn: None });
        let second = HEADER + encode(session, &block(5)).len();
        for length in second + 1..bytes.len() {
            let cut = read_segment(session, &bytes[..length]).unwrap();
            assert_eq!((cut.blocks.len(), cut.torn), (1, Some(second)), "{length} bytes");
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            let read = read_segment(session, &wrong);
            assert_eq!(read.is_err(), at < HEADER, "byte {at}");
            assert!(read.map_or(true, |segment| segment.torn.is_some()), "byte {at}");
        }
        assert!(matches!(
            read_segment(Hash([4; 32]), &bytes),
            Err(SegmentError::Other(HeaderError::OtherSession(id))) if id == session
        ));
    }
}
