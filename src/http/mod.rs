//! The HTTP interface. Every room stands above those that it uses, which are named before it:
//!
//! | room | what it holds |
//! |---|---|
//! | `answer/` | what a client is told: errors, success, entity tags. The only room that knows status codes |
//! | `request/` | what a client says: body, path, parameters, headers, conditions, cursors |
//! | `auth/` | who a client is |
//! | `api/` | what handlers work with, and how they admit a caller |
//! | `archived/` `onedata/` `purges/` `callbacks/` `ledger/` `audit/` `events/` `operation/` | a room per resource, a file per action |
//! | `description/` | the documents that describe all of these, made from the handlers themselves |
//! | `around/` | what stands around every route |
//! | `router.rs` | every route |
//! | `server/` | the connections that requests come by |
//!
//! A handler admits its caller, reads its input, calls the ledger and shapes the answer: it holds neither SQL nor rules.

pub mod answer;
pub mod api;
pub mod archived;
pub mod around;
pub mod audit;
pub mod auth;
pub mod callbacks;
pub mod description;
pub mod events;
pub mod ledger;
pub mod onedata;
pub mod operation;
pub mod purges;
pub mod request;
pub mod router;
pub mod server;

#[cfg(test)]
mod testing;
