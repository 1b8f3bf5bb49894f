//! What handlers tell the audit of a request while it is handled.

use crate::http::auth::rights::Principal;
use archive_ledger_domain::EntityKey;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What handlers tell of a request while it is handled.
#[derive(Debug, Clone, Default)]
pub struct AuditContext(Arc<Mutex<Told>>);

/// What they have told so far.
#[derive(Debug, Default)]
pub(in crate::http) struct Told {
    /// Who it is from.
    pub principal: Option<Arc<Principal>>,
    /// What is wrong with its token.
    pub reason: Option<&'static str>,
    /// Which entity it is about, where its path does not say so.
    pub key: Option<EntityKey>,
    /// What it reads of the audit.
    pub read: Option<String>,
}

impl AuditContext {
    /// What they have told so far.
    pub(in crate::http) fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who it is from: a valid token said so.
    pub fn is_from(&self, principal: &Arc<Principal>) {
        self.told().principal = Some(Arc::clone(principal));
    }

    /// What is wrong with its token.
    pub fn is_denied_for(&self, reason: &'static str) {
        self.told().reason = Some(reason);
    }

    /// Whether a valid token said who it is from.
    #[must_use]
    pub fn is_from_somebody(&self) -> bool {
        self.told().principal.is_some()
    }

    /// Which entity it is about, where its path does not say so.
    pub fn concerns(&self, key: &EntityKey) {
        self.told().key = Some(key.clone());
    }

    /// That it reads the audit, and what of it.
    pub fn reads(&self, what: String) {
        self.told().read = Some(what);
    }
}
