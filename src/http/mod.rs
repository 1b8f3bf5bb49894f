//! The HTTP interface.

pub mod body;
pub mod envelope;
pub mod error;
pub mod json;
pub mod page;
