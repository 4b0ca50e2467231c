//! The files of a table, and what becomes of them together.

use super::content::{Content, Format, recognise};
use super::error::{IdxError, TableError};
use super::{MAX_CLASSES, MAX_VALUES, csv, idx, libsvm};
use crate::data::DataError;
use std::path::{Path, PathBuf};

/// Rows that leave out zeros.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// (index from 1, value), row after row.
    pub entries: Vec<(u32, f32)>,
    /// Entries up to and including each row.
    ends: Vec<usize>,
}

impl Sparse {
    /// The entries since the last row are a row.
    pub(super) fn end_row(&mut self) {
        self.ends.push(self.entries.len());
    }

    /// Each row's entries.
    fn rows(&self) -> impl Iterator<Item = &[(u32, f32)]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.entries[start..*end])
    }
}

/// One file's rows.
#[derive(Debug)]
pub(super) struct Part {
    format: Format,
    values: Values,
    labels: Vec<i32>,
}

#[derive(Debug)]
enum Values {
    Dense { inputs: usize, features: Vec<f32> },
    Sparse(Sparse),
}

impl Part {
    pub(super) fn dense_csv(inputs: usize, features: Vec<f32>, labels: Vec<i32>) -> Part {
        Part { format: Format::Csv, values: Values::Dense { inputs, features }, labels }
    }

    pub(super) fn dense_idx(inputs: usize, features: Vec<f32>, labels: Vec<i32>) -> Part {
        Part { format: Format::Idx, values: Values::Dense { inputs, features }, labels }
    }

    pub(super) fn sparse(sparse: Sparse, labels: Vec<i32>) -> Part {
        Part { format: Format::Libsvm, values: Values::Sparse(sparse), labels }
    }

    /// Features of a row as far as this file knows: dense rows have just so many, sparse ones at least.
    fn inputs(&self) -> usize {
        match &self.values {
            Values::Dense { inputs, .. } => *inputs,
            Values::Sparse(sparse) => {
                sparse.entries.iter().map(|(index, _)| *index as usize).max().unwrap_or(1)
            }
        }
    }

    /// Appends the rows as dense ones.
    fn append(self, inputs: usize, into: &mut Vec<f32>) {
        match self.values {
            Values::Dense { mut features, .. } => into.append(&mut features),
            Values::Sparse(sparse) => {
                for row in sparse.rows() {
                    let start = into.len();
                    into.resize(start + inputs, 0.0);
                    row.iter().for_each(|(index, value)| into[start + *index as usize - 1] = *value);
                }
            }
        }
    }
}

/// The files read so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<(PathBuf, Part)>,
}

/// A table's rows before they are split.
#[derive(Debug)]
pub(super) struct Rows {
    format: Format,
    pub inputs: usize,
    pub features: Vec<f32>,
    pub labels: Vec<u32>,
}

impl Parts {
    /// Reads a file; `next` comes after it and may hold its labels. Returns whether it does.
    pub(super) fn read(&mut self, path: &Path, next: Option<&PathBuf>) -> Result<bool, DataError> {
        let content = Content::open(path)?;
        let (part, with_next) = match recognise(&content).map_err(|error| DataError::table(path, error))? {
            Format::Csv => (csv::read(&content), false),
            Format::Libsvm => (libsvm::read(&content), false),
            Format::Idx => {
                let (part, with_next) = read_images(path, &content, next)?;
                (Ok(part), with_next)
            }
        };
        self.parts.push((path.into(), part.map_err(|error| DataError::table(path, error))?));
        Ok(with_next)
    }

    /// Reads a text that is part of the binary.
    pub(super) fn add_embedded(&mut self, text: &[u8]) -> Result<(), DataError> {
        let path = PathBuf::from("(embedded table)");
        let part = recognise(text).and_then(|format| match format {
            Format::Csv => csv::read(text),
            Format::Libsvm => libsvm::read(text),
            Format::Idx => Err(IdxError::NoImages.into()),
        });
        self.parts.push((path.clone(), part.map_err(|error| DataError::table(&path, error))?));
        Ok(())
    }

    /// All rows together, at least `needed`.
    pub(super) fn assemble(self, inputs: Option<usize>, needed: usize) -> Result<Rows, DataError> {
        let Some((format, last)) =
            self.parts.first().zip(self.parts.last()).map(|(first, last)| (first.1.format, last.0.clone()))
        else {
            return Err(DataError::NoTables);
        };
        let largest = self.parts.iter().map(|(_, part)| part.inputs()).max().unwrap_or(1);
        let first = self.parts[0].1.inputs();
        let inputs = inputs.unwrap_or(if format == Format::Libsvm { largest } else { first });
        let mut rows = Rows { format, inputs, features: Vec::new(), labels: Vec::new() };
        let is_signed = self.parts.iter().flat_map(|(_, part)| &part.labels).any(|label| *label == -1);
        for (path, part) in self.parts {
            rows.add(part, is_signed).map_err(|error| DataError::table(&path, error))?;
        }
        let found = rows.labels.len();
        if found < needed {
            return Err(DataError::table(&last, TableError::TooFewRows { found, needed }));
        }
        Ok(rows)
    }
}

impl Rows {
    fn add(&mut self, part: Part, is_signed: bool) -> Result<(), TableError> {
        if part.format != self.format {
            return Err(TableError::Mixed);
        }
        let (found, expected) = (part.inputs(), self.inputs);
        let fits = if part.format == Format::Libsvm { found <= expected } else { found == expected };
        if !fits {
            return Err(TableError::Inputs { found, expected });
        }
        let values = part.labels.len().checked_mul(self.inputs);
        let values = values.and_then(|values| values.checked_add(self.features.len()));
        if values.is_none_or(|values| values > MAX_VALUES) {
            return Err(TableError::TooLarge { maximum: MAX_VALUES });
        }
        for label in &part.labels {
            let class = match (*label, is_signed) {
                (-1, true) => 0,
                (1, true) => 1,
                (label @ 0..MAX_CLASSES, false) => label.unsigned_abs(),
                (label, _) => return Err(TableError::Label(label)),
            };
            self.labels.push(class);
        }
        part.append(self.inputs, &mut self.features);
        Ok(())
    }

    /// Puts row `order[i]` at place i.
    pub(super) fn permute(&mut self, order: &[usize]) {
        let row = |from: &usize| &self.features[from * self.inputs..(from + 1) * self.inputs];
        self.features = order.iter().flat_map(row).copied().collect();
        self.labels = order.iter().map(|from| self.labels[*from]).collect();
    }

    /// Divides all features as the format asks for, by what the first `training` rows say.
    pub(super) fn scale(&mut self, training: usize) {
        let divisor = match self.format {
            Format::Libsvm => return self.scale_columns(training),
            Format::Idx => 255.0,
            Format::Csv => {
                let features = self.features[..training * self.inputs].iter();
                features.fold(0.0, |largest: f32, value| largest.max(value.abs()))
            }
        };
        if divisor > 0.0 {
            self.features.iter_mut().for_each(|value| *value /= divisor);
        }
    }

    /// Divides each feature by its largest absolute value among the first `training` rows, if it has any: what is 0
    /// stays so, and a maximum and a division have the same bits everywhere.
    fn scale_columns(&mut self, training: usize) {
        let mut largest = vec![0.0_f32; self.inputs];
        for row in self.features[..training * self.inputs].chunks_exact(self.inputs.max(1)) {
            largest.iter_mut().zip(row).for_each(|(largest, value)| *largest = largest.max(value.abs()));
        }
        for row in self.features.chunks_exact_mut(self.inputs.max(1)) {
            for (value, largest) in row.iter_mut().zip(&largest).filter(|(_, largest)| **largest > 0.0) {
                *value /= largest;
            }
        }
    }
}

/// Images with their labels, from the next file or from one beside; and whether it was the next.
fn read_images(path: &Path, content: &[u8], next: Option<&PathBuf>) -> Result<(Part, bool), DataError> {
    let refused = |path: &Path, error: IdxError| DataError::table(path, error.into());
    let images = idx::array(content).map_err(|error| refused(path, error))?;
    if images.inputs.is_none() {
        return Err(refused(path, IdxError::NoImages));
    }
    if let Some(next) = next {
        let content = Content::open(next)?;
        if idx::is_idx(&content) {
            let labels = idx::array(&content).map_err(|error| refused(next, error))?;
            if labels.inputs.is_none() {
                return Ok((
                    idx::join(&images, &labels).map_err(|error| DataError::table(next, error))?,
                    true,
                ));
            }
        }
    }
    let beside = idx::labels_beside(path);
    let Some(found) = beside.iter().find(|beside| *beside != path && beside.is_file()) else {
        let expected = beside[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(refused(path, IdxError::NoLabels { expected }));
    };
    let content = Content::open(found)?;
    if !idx::is_idx(&content) {
        return Err(refused(found, IdxError::NotLabels));
    }
    let labels = idx::array(&content).map_err(|error| refused(found, error))?;
    if labels.inputs.is_some() {
        return Err(refused(found, IdxError::NotLabels));
    }
    Ok((idx::join(&images, &labels).map_err(|error| DataError::table(found, error))?, false))
}
