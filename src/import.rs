//! Bulk soft-delete from NDJSON through the command path.
