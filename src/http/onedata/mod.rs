//! Onedata's archive API (seed 004): registering, showing and deleting archives.
//!
//! Tokens come in `X-Auth-Token` or `Authorization`. What a token may do here is said by its space privileges; the rights
//! `archived:read` and `archived:write` serve for showing and registering, so that the platform's own tokens can.

pub mod delete;
pub mod get;
pub mod register;

use archive_ledger_domain::State;

/// The privileges that deleting an archive needs, in the archive's space (seed 004).
pub const DELETE_PRIVILEGES: [&str; 2] = ["space_manage_datasets", "space_remove_archives"];

/// The privileges that registering an archive needs, in its space.
pub const CREATE_PRIVILEGES: [&str; 2] = ["space_manage_datasets", "space_create_archives"];

/// The privilege that showing an archive needs, in its space.
pub const VIEW_PRIVILEGES: [&str; 1] = ["space_view_archives"];

/// An archive's state in Onedata's words where it has one: its API calls a deletion under way `purging`.
#[must_use]
pub const fn state_name(state: State) -> &'static str {
    match state {
        State::Live => "preserved",
        State::Archived => "archived",
        State::Purging => "purging",
        State::PurgeFailed => "purge_failed",
        State::Purged => "purged",
        State::Unknown => "unknown",
    }
}
