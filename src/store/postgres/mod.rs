//! The postgres backend.

pub mod append;
pub mod read;
