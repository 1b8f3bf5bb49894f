//! What a database itself tells of damage, whatever the log says.

mod postgres;
mod sqlite;
