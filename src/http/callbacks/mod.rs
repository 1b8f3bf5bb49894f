//! `/api/admin/callbacks`: the delivery log of callbacks, and replay.

mod concerned;
pub mod delivery;
mod filter;
pub mod get;
pub mod list;
pub mod replay;
pub mod replay_matching;

#[cfg(test)]
mod tests;
