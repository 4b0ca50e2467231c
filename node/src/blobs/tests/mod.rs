//! Tests of the data plane over loopback.
