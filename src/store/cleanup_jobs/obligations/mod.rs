//! The obligations of purges: what each owes, URI by URI.

pub(super) mod postgres;
pub(super) mod sqlite;
