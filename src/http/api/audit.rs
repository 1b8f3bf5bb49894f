//! What the routes of the audit share.

use crate::audit::attempts::Attempts;
use crate::http::request::audit_cursor::AuditCursors;
use crate::numbering::Numbering;
use crate::store::audit::AuditStore;
use std::sync::Arc;

/// What the routes of the audit share.
pub struct Audit {
    /// The audit.
    pub store: Arc<dyn AuditStore>,
    /// Gives out cursors.
    pub cursors: AuditCursors,
    /// What the log does not hold, on its way to the store.
    pub attempts: Arc<Attempts>,
}

impl std::fmt::Debug for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

impl Audit {
    /// The audit in `store`; cursors are authenticated with `secret`.
    #[must_use]
    pub fn new(
        store: Arc<dyn AuditStore>,
        attempts: Arc<Attempts>,
        secret: &[u8],
        numbering: Numbering,
    ) -> Self {
        Self {
            store,
            cursors: AuditCursors::new(secret, numbering),
            attempts,
        }
    }
}
