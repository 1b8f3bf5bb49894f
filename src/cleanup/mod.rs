//! The storage cleanup consumer.
//!
//! `roots` and `uri` decide which storage may be deleted at all.

pub mod roots;
pub mod uri;

#[cfg(test)]
mod uri_tests;
