//! Storage: what may be deleted, and how it is. Knows nothing of the ledger and its orders.
//!
//! ```text
//! uri ─▶ roots: may it be deleted? ─▶ blobs ─▶ local, or sweep over what s3, gcs and azure list and delete ─▶ counts
//! ```
//!
//! `roots` and `uri` decide which storage may be deleted at all; `identify` and `local_root` say whether the folder at a local root's
//! path is the root, `overlap` that no two roots are one place; `blobs` deletes it, through `local` for folders, and through
//! `sweep` for objects: `s3`, `gcs` and `azure` are what it lists (`listing`, `xml`) and deletes by, and `unsettled` is what it
//! counts by. `inventory` only looks, for a comparison with the ledger.

pub mod azure;
pub mod backoff;
pub mod blob;
pub mod blobs;
pub mod credentials;
mod driver;
mod folder;
pub mod gcs;
pub mod identify;
pub mod inventory;
mod listing;
mod local;
pub mod local_root;
mod marker;
pub mod overlap;
pub mod own_files;
pub mod progress;
mod request;
mod rest;
pub mod root;
pub mod roots;
pub mod s3;
mod sweep;
pub mod tree;
pub mod unsettled;
pub mod uri;
pub mod watch;
mod xml;

#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod root_tests;
#[cfg(test)]
mod uri_tests;
