//! Storage: what may be deleted, and how it is. Input and output alone: it knows neither the ledger, nor its store, nor who orders.
//!
//! ```text
//! uri ─▶ roots: may it be deleted? ─▶ blobs ─┬─▶ local: a folder
//!                                            └─▶ sweep: objects ─▶ listing ─▶ driver: s3, gcs, azure
//! ```
//!
//! - `uri` and `roots` decide which storage may be deleted at all; what is in `roots` says whether the folder at a local root's path is
//!   the root, and that no two roots are one place or share files. `folder` is what the system says of one, `mounts` what it says of all.
//! - `blobs` is the door: it deletes what a URI names, and `deletion` is what that comes to. `progress` goes to and fro meanwhile.
//! - `sweep` decides for all clouds what goes, what counts (`unsettled`) and when it is over; `listing` says when a page is believed.
//!   A `driver` lists and deletes, and decides nothing. `request`, `rest`, `xml` and `credentials` are what drivers have in common.
//! - `inventory` only looks, for a comparison with the ledger.

pub mod azure;
pub mod backoff;
pub mod blobs;
pub mod credentials;
pub mod deletion;
mod driver;
mod folder;
pub mod gcs;
pub mod inventory;
mod listing;
mod local;
mod mounts;
pub mod progress;
mod request;
mod rest;
pub mod roots;
pub mod s3;
mod sweep;
pub mod unsettled;
pub mod uri;
mod xml;

#[cfg(test)]
mod local_tests;
#[cfg(test)]
mod uri_tests;
