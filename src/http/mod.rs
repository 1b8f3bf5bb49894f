//! The HTTP interface.

pub mod envelope;
pub mod error;
