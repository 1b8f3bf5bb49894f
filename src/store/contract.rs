//! The behaviour every backend must show, as plain async functions.
