//! The integration tests: one binary, so that its tests share one private PostgreSQL and one object store.
//!
//! `harness` starts what they need; every other module names the behaviour that it proves. Run with `./test`.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where by panicking"
)]

mod bus;
mod callbacks;
mod cleanup;
mod cleanup_clouds;
mod cleanup_s3;
mod cli;
mod coordination;
mod crash;
mod events;
mod harness;
mod import;
mod proofs;
mod rebuild;
mod relay;
mod routes;
mod sealing;
mod store_contract;
mod store_crash;
mod test_log;
