//! `/api/events`: everything that happens, as it happens, for subscribers without NATS (`docs/EVENTS.md`).

pub mod feed;
pub mod follow;
