//! The hash tree: every shape, every slice, every flipped byte.

use std::io;
use std::sync::Mutex;

use crate::blobs::tree::*;

struct Memory {
    data: Mutex<Vec<u8>>,
    outboard: Mutex<Vec<u8>>,
}

impl Memory {
    fn empty(len: u64) -> Memory {
        Memory {
            data: Mutex::new(vec![0; len as usize]),
            outboard: Mutex::new(vec![0; outboard_len(len) as usize]),
        }
    }

    fn put(into: &Mutex<Vec<u8>>, offset: u64, bytes: &[u8]) {
        into.lock().unwrap()[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

impl ReadBlob for Memory {
    fn read_leaf(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.data.lock().unwrap()[offset as usize..][..into.len()]);
        Ok(())
    }
    fn read_pair(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.outboard.lock().unwrap()[offset as usize..][..into.len()]);
        Ok(())
    }
}

impl WriteBlob for Memory {
    type Error = std::convert::Infallible;
    fn write_groups(&self, offset: u64, data: &[u8]) -> Result<(), Self::Error> {
        Memory::put(&self.data, offset, data);
        Ok(())
    }
    fn write_pairs(&self, offset: u64, pairs: &[u8]) -> Result<(), Self::Error> {
        Memory::put(&self.outboard, offset, pairs);
        Ok(())
    }
}

fn blob(len: u64) -> (blake3::Hash, Memory) {
    let data: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
    let (root, board) = outboard(&data[..], len).unwrap();
    assert_eq!(root, blake3::hash(&data));
    (root, Memory { data: Mutex::new(data), outboard: Mutex::new(board) })
}

const LENGTHS: [u64; 10] =
    [0, 1, 1024, GROUP - 1, GROUP, GROUP + 1, 2 * GROUP + 5, 7 * GROUP, 8 * GROUP + 1, 13 * GROUP + 999];

#[test]
fn every_slice_of_every_shape_arrives_verified_in_batches() {
    for len in LENGTHS {
        let (root, source) = blob(len);
        let total = group_count(len);
        for start in 0..total {
            for end in start + 1..=total {
                let mut wire = Vec::new();
                SliceEncoder::new(len, &(start..end)).fill(&source, &mut wire, usize::MAX).unwrap();
                let sink = Memory::empty(len);
                let mut decoder = SliceDecoder::new(root, len, &(start..end));
                let mut at = 0;
                let mut verified = 0;
                for size in Batches::new(len, &(start..end), 40_000) {
                    let (groups, result) = decoder.decode(&mut wire[at..at + size], &sink);
                    result.unwrap();
                    verified += groups.end - groups.start;
                    at += size;
                }
                assert_eq!(at, wire.len());
                if len > 0 {
                    assert_eq!(verified, end - start);
                }
                let range = (start * GROUP) as usize..(end * GROUP).min(len) as usize;
                assert_eq!(
                    sink.data.lock().unwrap()[range.clone()],
                    source.data.lock().unwrap()[range],
                    "{len} {start}..{end}"
                );
                let mut proven = Vec::new();
                proven_groups(root, len, &sink, &mut |groups| proven.extend(groups)).unwrap();
                assert_eq!(proven, (start..end).collect::<Vec<_>>());
                if (start, end) == (0, total) {
                    assert_eq!(*sink.outboard.lock().unwrap(), *source.outboard.lock().unwrap());
                }
            }
        }
    }
}

#[test]
fn any_flipped_byte_is_found_and_nothing_of_its_group_is_written() {
    let len = 3 * GROUP + 77;
    let (root, source) = blob(len);
    let mut wire = Vec::new();
    SliceEncoder::new(len, &(0..4)).fill(&source, &mut wire, usize::MAX).unwrap();
    for at in (0..wire.len()).step_by(61) {
        let mut bad = wire.clone();
        bad[at] ^= 0x40;
        let sink = Memory::empty(len);
        let (verified, result) = SliceDecoder::new(root, len, &(0..4)).decode(&mut bad, &sink);
        let Err(DecodeError::WrongByte { group }) = result else { panic!("byte {at}: {result:?}") };
        assert!(verified.end <= group);
        let written = sink.data.lock().unwrap();
        assert!(written[(group * GROUP) as usize..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_wrong_length_is_found() {
    let len = 5 * GROUP;
    let (root, source) = blob(len);
    let mut wire = Vec::new();
    SliceEncoder::new(len, &(0..5)).fill(&source, &mut wire, usize::MAX).unwrap();
    let claimed = len - 1;
    let sink = Memory::empty(claimed);
    let mut decoder = SliceDecoder::new(root, claimed, &(0..5));
    assert!(decoder.decode(&mut wire, &sink).1.is_err());
}
