//! Upcasters: how an event of an older version is read today.

use cqrs_es::persist::EventUpcaster;

/// Every upcaster, oldest first. The list is empty until the first event changes its shape; from then on each change adds
/// one, and the golden files of the older versions stay as they are.
#[must_use]
pub fn upcasters() -> Vec<Box<dyn EventUpcaster>> {
    Vec::new()
}
