//! The bounds of a method's numbers.

/// A method's number outside its bounds.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} is {found}, it must be {allowed}")]
pub struct MethodNumberError {
    /// The number, named as in the manifest.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub allowed: &'static str,
}

pub(super) fn need(
    holds: bool,
    field: &'static str,
    found: impl ToString,
    allowed: &'static str,
) -> Result<(), MethodNumberError> {
    if holds { Ok(()) } else { Err(MethodNumberError { field, found: found.to_string(), allowed }) }
}

/// NaN is within nothing.
pub(super) fn within(low: f32, high: f32, value: f32) -> bool {
    low <= value && value <= high
}
