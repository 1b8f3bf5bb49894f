//! SQLite: the append transaction.
