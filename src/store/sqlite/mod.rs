//! The sqlite backend.

pub mod append;
pub mod read;
