//! IDX, the format of MNIST: a big-endian header with the sizes of an array of bytes, then the bytes. Images and their
//! labels are two files.

use super::error::{IdxError, TableError};
use super::parts::Part;
use super::{MAX_INPUTS, MAX_VALUES};
use std::path::{Path, PathBuf};

/// The type of values that is read: unsigned bytes.
const BYTES: u8 = 0x08;

/// An array of bytes.
pub(super) struct Array<'a> {
    /// Its first size: images or labels.
    pub count: usize,
    /// Its further sizes, multiplied: values of an image; `None` for labels.
    pub inputs: Option<usize>,
    values: &'a [u8],
}

/// Whether a file starts as an IDX file does.
pub(super) fn is_idx(content: &[u8]) -> bool {
    content.starts_with(&[0, 0])
}

/// Reads the header and checks the length.
pub(super) fn array(content: &[u8]) -> Result<Array<'_>, IdxError> {
    let Some(([_, _, kind, axes], rest)) = content.split_first_chunk::<4>() else {
        return Err(IdxError::Header);
    };
    if *kind != BYTES {
        return Err(IdxError::Type(*kind));
    }
    let sizes = rest.get(..4 * usize::from(*axes)).ok_or(IdxError::Header)?;
    let sizes: Vec<u32> = sizes.as_chunks::<4>().0.iter().map(|size| u32::from_be_bytes(*size)).collect();
    let product =
        |sizes: &[u32]| sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size as usize));
    let impossible = || IdxError::Sizes(sizes.clone());
    let (Some((count, further)), Some(all)) = (sizes.split_first(), product(&sizes)) else {
        return Err(impossible());
    };
    let inputs =
        product(further).filter(|inputs| (1..=MAX_INPUTS).contains(inputs)).ok_or_else(impossible)?;
    if all > MAX_VALUES {
        return Err(impossible());
    }
    let values = &rest[4 * sizes.len()..];
    if values.len() != all {
        let header = 4 + 4 * sizes.len();
        return Err(IdxError::Length { expected: (header + all) as u64, found: content.len() as u64 });
    }
    let inputs = (!further.is_empty()).then_some(inputs);
    Ok(Array { count: *count as usize, inputs, values })
}

/// Images and their labels.
pub(super) fn join(images: &Array<'_>, labels: &Array<'_>) -> Result<Part, TableError> {
    if images.count != labels.count {
        return Err(IdxError::Count { labels: labels.count, images: images.count }.into());
    }
    let features = images.values.iter().map(|value| f32::from(*value)).collect();
    let labels = labels.values.iter().map(|label| i32::from(*label)).collect();
    Ok(Part::dense_idx(images.inputs.unwrap_or(0), features, labels))
}

/// Where the labels of a file of images lie if they are named as usual, as it is compressed or not and the other way; the
/// images' own path if it is not named so.
pub(super) fn labels_beside(images: &Path) -> [PathBuf; 2] {
    let name = images.file_name().unwrap_or_default().to_string_lossy();
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let other = labels.strip_suffix(".gz").map_or_else(|| format!("{labels}.gz"), str::to_owned);
    [images.with_file_name(labels), images.with_file_name(other)]
}
