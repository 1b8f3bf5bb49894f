//! The HTTP interface.

pub mod auth;
pub mod body;
pub mod envelope;
pub mod error;
pub mod json;
pub mod jwks;
pub mod page;
pub mod rights;
pub mod token;

#[cfg(test)]
mod testing;
