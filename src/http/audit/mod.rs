//! `/api/admin/audit`: who did what, when, why and from where, page by page or as a whole. Everything here needs the right `audit:read`.

pub mod events;
pub mod export;
pub mod manifest;
pub mod query;
