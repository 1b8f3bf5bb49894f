//! The group-commit writer: one per process, on a connection of its own.
