//! The storage cleanup consumer.
