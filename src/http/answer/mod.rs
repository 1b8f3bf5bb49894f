//! What a client is told. Only this room knows status codes.

pub mod envelope;
pub mod error;
pub mod refusal;
