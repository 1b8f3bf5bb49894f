//! `PersistedEventRepository` over the writer and the stock readers.
