//! RFC 6962 hashing and the frontier kept in the head row.
