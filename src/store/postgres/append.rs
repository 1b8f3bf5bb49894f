//! PostgreSQL: the append transaction.
