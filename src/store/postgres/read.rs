//! PostgreSQL: reads.
