//! The hash tree: BLAKE3 over 16 KiB chunk groups, and the order in which a slice travels.
//!
//! A slice of groups travels in pre-order: at each inner node 64 bytes (the hashes of its two
//! children), at each leaf the group's bytes. Whoever knows root and length can check every item as
//! it arrives and stops at the first wrong one. Encoder and decoder walk the same iterator, so they
//! cannot disagree about the layout.

use std::io;
use std::ops::Range;

use bao_tree::iter::{BaoChunk, ResponseIter};
use bao_tree::{BaoTree, BlockSize, ChunkNum, ChunkRanges, TreeNode};
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// Bytes of a chunk group: the unit that is verified, recorded and resumed.
pub const GROUP: u64 = 16 * 1024;
/// Bytes of an inner node on the wire and in an outboard.
pub const PAIR: usize = 64;

const BLOCK: BlockSize = BlockSize::from_chunk_log(4);
const CHUNKS_PER_GROUP: u64 = 16;

/// Groups of a blob of `len` bytes; an empty blob has one empty group.
pub fn group_count(len: u64) -> u64 {
    len.div_ceil(GROUP).max(1)
}

/// Bytes of the outboard (all inner nodes in pre-order) of a blob of `len` bytes.
pub fn outboard_len(len: u64) -> u64 {
    (group_count(len) - 1) * PAIR as u64
}

pub(crate) fn tree(len: u64) -> BaoTree {
    BaoTree::new(len, BLOCK)
}

/// The items of the slice `groups` of a blob of `len` bytes, in travelling order.
pub(crate) fn items(len: u64, groups: &Range<u64>) -> ResponseIter {
    let start = ChunkNum(groups.start * CHUNKS_PER_GROUP);
    let ranges = if groups.end >= group_count(len) {
        ChunkRanges::from(start..)
    } else {
        ChunkRanges::from(start..ChunkNum(groups.end * CHUNKS_PER_GROUP))
    };
    ResponseIter::new(tree(len), ranges)
}

/// Bytes that an item takes on the wire.
pub(crate) fn item_len(item: &BaoChunk) -> usize {
    match item {
        BaoChunk::Parent { .. } => PAIR,
        BaoChunk::Leaf { size, .. } => *size,
    }
}

/// Splits a slice into batches of whole items, each at least `target` bytes (except the last).
pub(crate) struct Batches {
    items: ResponseIter,
    /// May be changed between batches.
    pub(crate) target: usize,
}

impl Batches {
    pub(crate) fn new(len: u64, groups: &Range<u64>, target: usize) -> Batches {
        Batches { items: items(len, groups), target }
    }
}

impl Iterator for Batches {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let mut sum = 0;
        for item in self.items.by_ref() {
            sum += item_len(&item);
            if sum >= self.target {
                break;
            }
        }
        (sum > 0).then_some(sum)
    }
}

/// The hash of one group (or of the whole blob if it has one group only).
fn leaf_hash(start: ChunkNum, data: &[u8], is_root: bool) -> blake3::Hash {
    if is_root {
        return blake3::hash(data);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(start.to_bytes());
    hasher.update(data);
    blake3::Hash::from(hasher.finalize_non_root())
}

fn parent_hash(pair: &[u8; PAIR], is_root: bool) -> blake3::Hash {
    let (left, right) = split_pair(pair);
    if is_root {
        merge_subtrees_root(left.as_bytes(), right.as_bytes(), Mode::Hash)
    } else {
        blake3::Hash::from(merge_subtrees_non_root(left.as_bytes(), right.as_bytes(), Mode::Hash))
    }
}

fn split_pair(pair: &[u8; PAIR]) -> (blake3::Hash, blake3::Hash) {
    let mut left = [0; 32];
    let mut right = [0; 32];
    left.copy_from_slice(&pair[..32]);
    right.copy_from_slice(&pair[32..]);
    (left.into(), right.into())
}

/// Computes root and outboard of `len` bytes read from `data`.
///
/// Memory: the outboard, 1/256 of the blob.
pub(crate) fn outboard(data: impl io::Read, len: u64) -> io::Result<(blake3::Hash, Vec<u8>)> {
    use bao_tree::io::outboard::PreOrderOutboard;
    let size = usize::try_from(outboard_len(len)).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut board =
        PreOrderOutboard { root: blake3::Hash::from([0; 32]), tree: tree(len), data: vec![0; size] };
    let root = bao_tree::io::sync::outboard(data, tree(len), &mut board)?;
    Ok((root, board.data))
}

/// Where an encoder finds a blob's bytes and inner nodes.
pub(crate) trait ReadBlob {
    fn read_leaf(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// `offset` in the pre-order outboard, in bytes.
    fn read_pair(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Where a decoder puts what it verified.
pub(crate) trait WriteBlob {
    type Error;
    /// `data` is a run of whole groups that starts at byte `offset` of the blob.
    fn write_groups(&self, offset: u64, data: &[u8]) -> Result<(), Self::Error>;
    /// `pairs` is a run of inner nodes that starts at byte `offset` of the pre-order outboard.
    fn write_pairs(&self, offset: u64, pairs: &[u8]) -> Result<(), Self::Error>;
}

fn pair_offset(tree: &BaoTree, node: TreeNode) -> u64 {
    // Inner nodes above the groups are always in the outboard.
    tree.pre_order_offset(node).unwrap_or(0) * PAIR as u64
}

/// Encodes a slice piece by piece. It does not hash: the receiver checks every byte.
pub(crate) struct SliceEncoder {
    items: ResponseIter,
    tree: BaoTree,
}

impl SliceEncoder {
    pub(crate) fn new(len: u64, groups: &Range<u64>) -> SliceEncoder {
        SliceEncoder { items: items(len, groups), tree: tree(len) }
    }

    /// Appends at least `target` encoded bytes to `out`, or all that is left; nothing when done.
    pub(crate) fn fill(&mut self, blob: &impl ReadBlob, out: &mut Vec<u8>, target: usize) -> io::Result<()> {
        while out.len() < target {
            let Some(item) = self.items.next() else { break };
            let at = out.len();
            out.resize(at + item_len(&item), 0);
            match item {
                BaoChunk::Parent { node, .. } => {
                    blob.read_pair(pair_offset(&self.tree, node), &mut out[at..])?
                }
                BaoChunk::Leaf { start_chunk, .. } => {
                    blob.read_leaf(start_chunk.to_bytes(), &mut out[at..])?
                }
            }
        }
        Ok(())
    }
}

/// What a [`SliceDecoder`] stopped at.
#[derive(Debug)]
pub(crate) enum DecodeError<E> {
    /// The bytes do not belong to this root; the first group that cannot be trusted.
    WrongByte { group: u64 },
    /// A batch did not end with a whole item, or goes on after the last one.
    Misaligned,
    /// The place for verified bytes failed.
    Write(E),
}

/// Verifies a slice batch by batch, and hands on only what is proven.
pub(crate) struct SliceDecoder {
    items: ResponseIter,
    tree: BaoTree,
    /// Hashes that the next items must have, the next one last.
    expected: Vec<blake3::Hash>,
}

impl SliceDecoder {
    pub(crate) fn new(root: blake3::Hash, len: u64, groups: &Range<u64>) -> SliceDecoder {
        SliceDecoder { items: items(len, groups), tree: tree(len), expected: vec![root] }
    }

    /// Verifies `batch`, a run of whole items (see [`Batches`]), and writes it to `sink`: the groups
    /// are moved together in place, so that one write takes them all. Returns the groups that were
    /// verified and written, a contiguous range, also on error.
    pub(crate) fn decode<S: WriteBlob>(
        &mut self,
        batch: &mut [u8],
        sink: &S,
    ) -> (Range<u64>, Result<(), DecodeError<S::Error>>) {
        let mut proven = Proven::default();
        let result = self.decode_items(batch, sink, &mut proven);
        let written = proven
            .pairs
            .flush(sink)
            .and_then(|()| sink.write_groups(proven.groups.start * GROUP, &batch[..proven.bytes]));
        match written {
            Ok(()) => (proven.groups, result),
            Err(error) => (0..0, Err(DecodeError::Write(error))),
        }
    }

    fn decode_items<S: WriteBlob>(
        &mut self,
        batch: &mut [u8],
        sink: &S,
        proven: &mut Proven,
    ) -> Result<(), DecodeError<S::Error>> {
        let mut at = 0;
        while at < batch.len() {
            let item = self.items.next().ok_or(DecodeError::Misaligned)?;
            let end = at + item_len(&item);
            let bytes = batch.get(at..end).ok_or(DecodeError::Misaligned)?;
            match item {
                BaoChunk::Parent { node, is_root, left, right, .. } => {
                    let pair: &[u8; PAIR] = bytes.try_into().map_err(|_| DecodeError::Misaligned)?;
                    self.check(parent_hash(pair, is_root), node.chunk_range().start)?;
                    let (left_hash, right_hash) = split_pair(pair);
                    if right {
                        self.expected.push(right_hash);
                    }
                    if left {
                        self.expected.push(left_hash);
                    }
                    let offset = pair_offset(&self.tree, node);
                    proven.pairs.push(offset, pair, sink).map_err(DecodeError::Write)?;
                }
                BaoChunk::Leaf { start_chunk, is_root, .. } => {
                    self.check(leaf_hash(start_chunk, bytes, is_root), start_chunk)?;
                    batch.copy_within(at..end, proven.bytes);
                    proven.add(start_chunk.0 / CHUNKS_PER_GROUP, end - at);
                }
            }
            at = end;
        }
        Ok(())
    }

    fn check<E>(&mut self, actual: blake3::Hash, at: ChunkNum) -> Result<(), DecodeError<E>> {
        match self.expected.pop() {
            Some(expected) if expected == actual => Ok(()),
            _ => Err(DecodeError::WrongByte { group: at.0 / CHUNKS_PER_GROUP }),
        }
    }
}

/// What of a batch is proven. The groups of a slice follow each other without gaps.
#[derive(Default)]
struct Proven {
    pairs: PairRun,
    groups: Range<u64>,
    /// Bytes of the groups, now at the front of the batch.
    bytes: usize,
}

impl Proven {
    fn add(&mut self, group: u64, bytes: usize) {
        if self.groups.is_empty() {
            self.groups.start = group;
        }
        self.groups.end = group + 1;
        self.bytes += bytes;
    }
}

/// Consecutive inner nodes are consecutive in the outboard as well: one write per run.
#[derive(Default)]
struct PairRun {
    start: u64,
    bytes: Vec<u8>,
}

impl PairRun {
    fn push<S: WriteBlob>(&mut self, offset: u64, pair: &[u8; PAIR], sink: &S) -> Result<(), S::Error> {
        if offset != self.start + self.bytes.len() as u64 {
            self.flush(sink)?;
            self.start = offset;
        }
        self.bytes.extend_from_slice(pair);
        Ok(())
    }

    fn flush<S: WriteBlob>(&mut self, sink: &S) -> Result<(), S::Error> {
        if !self.bytes.is_empty() {
            sink.write_pairs(self.start, &self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

/// The groups of a file that its outboard and `root` prove, in order, as ranges.
///
/// Holes of a sparse file cost nothing: where an inner node is not proven, nothing below is read.
pub(crate) fn proven_groups(
    root: blake3::Hash,
    len: u64,
    blob: &impl ReadBlob,
    found: &mut impl FnMut(Range<u64>),
) -> io::Result<()> {
    let mut leaf = vec![0; GROUP as usize];
    let mut check = |groups: Range<u64>, expected: blake3::Hash, is_root: bool| -> io::Result<()> {
        let start = groups.start * GROUP;
        let bytes = &mut leaf[..(len - start).min(GROUP) as usize];
        match blob.read_leaf(start, bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        if leaf_hash(ChunkNum(groups.start * CHUNKS_PER_GROUP), bytes, is_root) == expected {
            found(groups);
        }
        Ok(())
    };
    // (groups, index of the node in pre-order, its hash). Depth-first, left first.
    let mut stack = vec![(0..group_count(len), 0u64, root)];
    while let Some((groups, index, expected)) = stack.pop() {
        let count = groups.end - groups.start;
        let is_root = count == group_count(len);
        if count == 1 {
            check(groups, expected, is_root)?;
            continue;
        }
        let mut pair = [0; PAIR];
        match blob.read_pair(index * PAIR as u64, &mut pair) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error),
        }
        if parent_hash(&pair, is_root) != expected {
            continue;
        }
        // The left subtree is the largest power of two below the whole.
        let left_count = count.next_power_of_two() / 2;
        let middle = groups.start + left_count;
        let (left, right) = split_pair(&pair);
        stack.push((middle..groups.end, index + left_count, right));
        stack.push((groups.start..middle, index + 1, left));
    }
    Ok(())
}
