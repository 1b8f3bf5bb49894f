//! Entity keys, sealing, erasure.
