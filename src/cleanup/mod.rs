//! The storage cleanup consumer.
//!
//! `roots` and `uri` decide which storage may be deleted at all; `blob` deletes it, through `local` for folders and `s3`
//! for objects.

pub mod blob;
pub mod local;
pub mod roots;
pub mod s3;
pub mod uri;

#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod uri_tests;
