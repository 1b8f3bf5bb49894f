//! Replays the log into fresh projection tables beside live traffic.
