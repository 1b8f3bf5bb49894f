//! Checkpoints, tiles, proofs, the guard, and the command that checks them all.

mod export;
mod flips;
mod foreign;
mod forked;
mod forked_losses;
mod routes;
mod ruined;
mod signing;
mod takeover;
mod tampered_columns;
mod verify;
mod verify_beside;
