//! Which callback deliveries are attempted next.

mod postgres;
mod sqlite;
