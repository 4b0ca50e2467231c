//! Measurements, to come.
