//! SQLite: reads.
