//! Which of the storage cleanup's jobs are done next.

pub(super) mod sqlite;
