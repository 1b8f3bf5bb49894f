//! Checkpoints, tiles, proofs, the guard, and the command that checks them all.

mod routes;
mod signing;
