//! Wires the parts together: the only place that chooses between embedded and clustered.
