//! The bus between the log and its consumers.

pub mod local;
pub mod nats;
