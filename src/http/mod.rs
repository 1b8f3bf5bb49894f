//! The HTTP interface.
//!
//! `router.rs` lists every route; one action is one file under `ocore`, `onedata`, `audit` and `health`. A handler
//! admits its caller, reads its input, calls the ledger and shapes the answer: it holds neither SQL nor rules. Only
//! `error.rs` knows status codes of failures.

pub mod around;
pub mod asyncapi;
pub mod attempts;
pub mod audit;
pub mod auth;
pub mod body;
pub mod callbacks;
pub mod caller;
pub mod conditions;
pub mod cursor;
pub mod envelope;
pub mod error;
pub mod events;
pub mod health;
pub mod host;
mod in_time;
pub mod json;
mod memory;
pub mod observe;
pub mod ocore;
pub mod onedata;
pub mod openapi;
pub mod page;
pub mod parameters;
mod purge_so_far;
pub mod purges;
pub mod refusal;
pub mod router;
pub mod server;
pub mod sharing;
pub mod stall;

#[cfg(test)]
mod testing;
