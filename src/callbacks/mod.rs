//! Callback delivery.
