//! Attempts: what was denied or failed, and reads of the audit.

pub(super) mod postgres;
pub(super) mod sqlite;
