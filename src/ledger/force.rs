//! Giving up what a purge still owes.

use super::command::CommandContext;
use super::opened::Opened;
use super::{Ledger, LedgerError};
use crate::keyring::{Details, KeyringError};
use crate::ledger::writer::Receipt;
use archive_ledger_domain::{Action, Command, EntityKey, ForcedObligation, PurgeForced};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

/// Gives up what a purge still owes.
#[derive(Clone)]
pub struct ForcePurge {
    /// The purge.
    pub purge_id: Uuid,
    /// Why; sealed under the service's own key, so that it outlives the entity's.
    pub reason: String,
    /// What each of the storage URIs has come to.
    pub obligations: Vec<ForcedObligation>,
}

impl Ledger {
    /// Gives up what a purge still owes, and ends it: from the commit on nothing more is deleted for it.
    ///
    /// Told again with the same idempotency key it gives the same answer, whatever has become of the obligations since.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was recorded then, save for
    /// [`CommandError::OutcomeUnknown`](crate::ledger::writer::CommandError::OutcomeUnknown).
    pub async fn force_purge(
        &self,
        key: EntityKey,
        request: ForcePurge,
        context: CommandContext,
    ) -> Result<Receipt, LedgerError> {
        let asked = (&key, request.purge_id, &request.reason);
        let idempotency = self.idempotency(Action::ForcePurge, &context, &asked)?;
        let sealed = self
            .keyring
            .seal_for_service(&reason_context(&key, request.purge_id), request.reason.as_bytes())?;
        let command = Command::ForcePurge {
            purge_id: request.purge_id,
            obligations: request.obligations,
            reason_sealed: STANDARD.encode(sealed),
        };
        let proposal = self.proposal(key, command, Details::default(), context, idempotency, None);
        self.record(Action::ForcePurge, proposal).await
    }

    /// Why a purge was forced, as the details of its event.
    pub(super) fn open_reason(&self, key: &EntityKey, forced: &PurgeForced) -> Opened {
        let sealed = STANDARD.decode(&forced.reason_sealed);
        let context = reason_context(key, forced.purge_id);
        let opened = sealed
            .map_err(|_| KeyringError::Forged)
            .and_then(|sealed| self.keyring.open_for_service(&context, &sealed));
        match opened {
            Ok(reason) => Opened::Details(Details {
                reason: Some(String::from_utf8_lossy(&reason).into_owned()),
                ..Details::default()
            }),
            Err(error) => {
                self.keyring.report_unreadable(&key.stream_id(), &error);
                Opened::Unreadable(error)
            }
        }
    }
}

/// Binds a reason to its purge.
fn reason_context(key: &EntityKey, purge_id: Uuid) -> String {
    format!("archive-ledger/force-reason/v1\0{}\0{purge_id}", key.stream_id())
}
