//! The `archive-ledger` command.

fn main() {}
