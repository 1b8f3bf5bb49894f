//! archive-ledger: an event-sourced ledger for what platforms throw away.
//!
//! `docs/ARCHITECTURE.md` walks a soft-delete, a purge and a rebuild through these modules, file by file.

pub mod app;
pub mod audit;
pub mod audit_export;
pub mod bus;
pub mod callbacks;
pub mod claims;
pub mod clock;
pub mod config;
pub mod export;
pub mod foreign_text;
pub mod http;
pub mod import;
pub mod keyring;
pub mod keyring_check;
pub mod ledger;
pub mod memory_budget;
pub mod merkle;
pub mod numbering;
pub mod patience;
pub mod proofs;
pub mod purge;
pub mod rebuild;
pub mod reconcile;
pub mod relay;
pub mod secret_files;
pub mod secret_url;
pub mod shared_setup;
pub mod small_files;
pub mod storage;
pub mod store;
pub mod task_states;
pub mod telemetry;
pub mod verify;
