//! What a client says: read strictly, with the limits that the API's description tells, and refused by the name of what is wrong.

pub mod body;
pub mod conditions;
pub mod cursor;
pub mod host;
pub mod json;
pub mod page;
pub mod parameters;
