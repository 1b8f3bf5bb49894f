//! What a store can fail with, and whether to try again.
