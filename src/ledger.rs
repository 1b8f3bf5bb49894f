//! The application layer: commands in, receipts out.
