//! What a client is told. Only this room knows status codes.

pub mod ending;
pub mod entity_tag;
pub mod envelope;
pub mod error;
pub mod fields;
pub mod names;
pub mod refusal;
pub mod request_id;
pub mod success;
