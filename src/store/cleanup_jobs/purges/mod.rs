//! The purges that are owed, as rows are read, each by itself.

pub(super) mod postgres;
pub(super) mod sqlite;
