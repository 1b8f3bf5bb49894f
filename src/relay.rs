//! Publishes the log to the bus, in order, under a lease.
