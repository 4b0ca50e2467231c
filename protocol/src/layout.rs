//! Which parameters make up which fragment.
//!
//! Blocks are dealt out in strides (block i goes to fragment i mod P); the rows of the embeddings
//! are cut into P equal contiguous ranges, the last takes the remainder; the final norm goes with
//! the last fragment. A fragment is one flat array in tensor order.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{Placement, Tensor};

/// The cut of a model into fragments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The fragments, one per stream of the method.
    pub fragments: Vec<Fragment>,
    /// Name and number of values of every tensor, in tensor order.
    tensors: Vec<(String, u64)>,
}

/// One fragment: a flat array.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fragment {
    /// What it is made of, in order; no piece is empty.
    pub pieces: Vec<Piece>,
    /// Values in it.
    pub len: u64,
}

/// A range of one tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Index of the tensor.
    pub tensor: usize,
    /// Which of its values.
    pub range: Range<u64>,
}

/// Why an engine's parameters do not match a layout.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LayoutError {
    /// The engine lacks a tensor.
    #[error("the engine has no tensor {0}")]
    Missing(String),
    /// The engine has a tensor that no fragment holds: it would never be synchronized.
    #[error("the engine has a tensor {0} that the model does not have")]
    Unknown(String),
    /// The engine names a tensor twice.
    #[error("the engine has two tensors {0}")]
    Twice(String),
    /// A tensor has another size, or does not fit into the address space.
    #[error("tensor {name}: the engine has {found} values at {offset}, the model {expected}")]
    Size {
        /// Which tensor.
        name: String,
        /// Its place in the engine.
        offset: usize,
        /// The engine's number of values.
        found: usize,
        /// The model's.
        expected: u64,
    },
}

impl Layout {
    /// Cuts `tensors` into `fragments` parts (0 counts as 1).
    pub fn new(tensors: &[Tensor], fragments: usize) -> Layout {
        let count = fragments.max(1);
        let mut layout = Layout {
            fragments: vec![Fragment::default(); count],
            tensors: tensors.iter().map(|tensor| (tensor.name.clone(), tensor.len())).collect(),
        };
        for (index, tensor) in tensors.iter().enumerate() {
            match tensor.placement {
                Placement::Block(block) => layout.push(usize::from(block) % count, index, 0..tensor.len()),
                Placement::Last => layout.push(count - 1, index, 0..tensor.len()),
                Placement::Split => layout.split(index, tensor),
            }
        }
        layout
    }

    fn split(&mut self, index: usize, tensor: &Tensor) {
        let count = self.fragments.len() as u64;
        let rows = u64::from(tensor.shape.first().copied().unwrap_or(0));
        let part = (rows / count).saturating_mul(tensor.row());
        for fragment in 0..count {
            let end = if fragment + 1 == count { tensor.len() } else { (fragment + 1) * part };
            self.push(fragment as usize, index, fragment * part..end);
        }
    }

    fn push(&mut self, fragment: usize, tensor: usize, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let fragment = &mut self.fragments[fragment];
        fragment.len = fragment.len.saturating_add(range.end - range.start);
        fragment.pieces.push(Piece { tensor, range });
    }

    /// The fragments as ranges of an engine's flat parameter buffer, in the fragment's order;
    /// ranges that touch are joined. This is the whole bridge between core and engine.
    ///
    /// `engine` lists the engine's tensors: name, offset, number of values.
    pub fn locate(&self, engine: &[(&str, usize, usize)]) -> Result<Vec<Vec<Range<usize>>>, LayoutError> {
        let offsets = self.offsets(engine)?;
        let locate = |fragment: &Fragment| {
            let mut ranges: Vec<Range<usize>> = Vec::new();
            for piece in &fragment.pieces {
                let offset = offsets[piece.tensor];
                let range = offset + piece.range.start as usize..offset + piece.range.end as usize;
                match ranges.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => ranges.push(range),
                }
            }
            ranges
        };
        Ok(self.fragments.iter().map(locate).collect())
    }

    /// Offsets in the engine by tensor index; every tensor checked.
    fn offsets(&self, engine: &[(&str, usize, usize)]) -> Result<Vec<usize>, LayoutError> {
        let mut by_name = BTreeMap::new();
        for (name, offset, len) in engine {
            if by_name.insert(*name, (*offset, *len)).is_some() {
                return Err(LayoutError::Twice((*name).into()));
            }
        }
        let mut offsets = Vec::with_capacity(self.tensors.len());
        for (name, expected) in &self.tensors {
            let Some((offset, found)) = by_name.remove(name.as_str()) else {
                return Err(LayoutError::Missing(name.clone()));
            };
            if found as u64 != *expected || offset.checked_add(found).is_none() {
                let (name, expected) = (name.clone(), *expected);
                return Err(LayoutError::Size { name, offset, found, expected });
            }
            offsets.push(offset);
        }
        match by_name.first_key_value() {
            Some((name, _)) => Err(LayoutError::Unknown((*name).into())),
            None => Ok(offsets),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GptShape, Model};

    type Engine<'a> = Vec<(&'a str, usize, usize)>;

    /// An engine that keeps its tensors in the given order.
    fn engine(tensors: &[Tensor]) -> Engine<'_> {
        let mut end = 0;
        let mut place = |len: usize| {
            end += len;
            (end - len, len)
        };
        let placed = tensors.iter().map(|tensor| (tensor.name.as_str(), place(tensor.len() as usize)));
        placed.map(|(name, (offset, len))| (name, offset, len)).collect()
    }

    #[test]
    fn strided_blocks_split_embeddings_and_the_final_norm_with_the_last() {
        let tensors = Model::named("gpt:tiny").unwrap().tensors();
        let layout = Layout::new(&tensors, 2);
        let names = |fragment: usize| {
            let pieces = layout.fragments[fragment].pieces.iter();
            let mut names: Vec<&str> = pieces.map(|piece| &tensors[piece.tensor].name[..4]).collect();
            names.dedup();
            names
        };
        assert_eq!(names(0), ["wte.", "wpe.", "h.0.", "h.2."]);
        assert_eq!(names(1), ["wte.", "wpe.", "h.1.", "h.3.", "ln_f"]);
        let wte = |fragment: usize| layout.fragments[fragment].pieces[0].range.clone();
        assert_eq!([wte(0), wte(1)], [0..16_384, 16_384..32_768]);
        // Two blocks of 198,272, half of 40,960 rows' values, the final norm.
        assert_eq!(layout.fragments.iter().map(|f| f.len).collect::<Vec<_>>(), [417_024, 417_280]);
    }

    #[test]
    fn every_value_is_in_exactly_one_fragment_and_remainders_go_to_the_last() {
        let shape = GptShape { layers: 5, heads: 1, width: 3, context: 2, vocabulary: 257 };
        let tensors = Model::Gpt(shape).tensors();
        for count in 1..=5 {
            let layout = Layout::new(&tensors, count);
            let mut seen: Vec<Vec<u32>> = tensors.iter().map(|t| vec![0; t.len() as usize]).collect();
            for fragment in &layout.fragments {
                let pieces = fragment.pieces.iter();
                assert_eq!(pieces.map(|p| p.range.end - p.range.start).sum::<u64>(), fragment.len);
                for piece in &fragment.pieces {
                    let range = piece.range.start as usize..piece.range.end as usize;
                    seen[piece.tensor][range].iter_mut().for_each(|count| *count += 1);
                }
            }
            assert!(seen.iter().flatten().all(|count| *count == 1), "{count} fragments");
        }
        let last = Layout::new(&tensors, 3).fragments[2].pieces[0].range.clone();
        assert_eq!(last, 2 * 85 * 3..257 * 3);
    }

    #[test]
    fn an_engine_in_any_order_is_found_and_touching_ranges_are_joined() {
        let mut tensors = Model::named("gpt:tiny").unwrap().tensors();
        let whole = Layout::new(&tensors, 1);
        assert_eq!(whole.locate(&engine(&tensors)), Ok(vec![vec![0..834_304]]));
        let layout = Layout::new(&tensors, 2);
        let block = 198_272;
        let first =
            [0..16_384, 32_768..36_864, 40_960..40_960 + block, 40_960 + 2 * block..40_960 + 3 * block];
        assert_eq!(layout.locate(&engine(&tensors)).unwrap()[0], first);
        // The other way round: nothing touches in fragment order, but nothing is lost.
        tensors.reverse();
        let ranges = layout.locate(&engine(&tensors)).unwrap();
        let lengths: Vec<usize> = ranges.iter().map(|ranges| ranges.iter().map(Range::len).sum()).collect();
        assert_eq!(lengths, [417_024, 417_280]);
        assert_eq!(ranges[0][0], 834_304 - 32_768..834_304 - 16_384);
    }

    #[test]
    fn an_engine_of_another_shape_is_refused_by_name() {
        let tensors = Model::named("gpt:tiny").unwrap().tensors();
        let layout = Layout::new(&tensors, 2);
        let good = engine(&tensors);
        let refused = |change: fn(&mut Engine<'_>)| {
            let mut engine = good.clone();
            change(&mut engine);
            layout.locate(&engine).unwrap_err()
        };
        assert_eq!(refused(|engine| engine.truncate(51)), LayoutError::Missing("ln_f.bias".into()));
        assert_eq!(refused(|engine| engine.push(("head", 0, 1))), LayoutError::Unknown("head".into()));
        assert_eq!(refused(|engine| engine.push(engine[0])), LayoutError::Twice("wte.weight".into()));
        assert!(matches!(refused(|engine| engine[1].2 += 1), LayoutError::Size { .. }));
        assert!(matches!(refused(|engine| engine[1].1 = usize::MAX), LayoutError::Size { .. }));
    }
}
