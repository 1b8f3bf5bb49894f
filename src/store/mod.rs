//! The event store: one contract, two backends.

#[cfg(feature = "contract")]
pub mod contract;
pub mod error;
pub mod postgres;
pub mod repository;
pub mod sqlite;
pub mod writer;
