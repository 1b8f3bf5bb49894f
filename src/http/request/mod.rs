//! What a client says: read strictly, with the limits that the API's description tells, and refused by the name of what is wrong.

pub mod audit_cursor;
pub mod body;
pub mod conditions;
pub mod cursor;
pub mod describe;
pub mod fields;
pub mod headers;
pub mod host;
pub mod json;
pub mod page;
pub mod parameters;
pub mod path;
pub mod query;
#[cfg(test)]
mod testing;
