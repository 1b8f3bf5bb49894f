//! The in-process bus: reads the log through durable cursors.
