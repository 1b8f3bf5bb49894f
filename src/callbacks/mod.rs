//! Callback delivery: where a callback may go, how it is signed and sent, and when it is tried again.

pub mod admin;
mod attempt;
pub mod body;
mod breaker;
pub mod client;
pub mod consumer;
mod fresh;
pub mod options;
pub mod outcome;
pub mod proxy;
pub mod ranges;
pub mod receivers;
pub mod resolve;
pub mod schedule;
pub mod sign;
mod slots;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
pub mod worker;
