//! Commands: what the domain cannot check, what is sealed, and the way to the writer.

use super::{Ledger, LedgerError};
use crate::callbacks::target::callback_context;
use crate::keyring::Details;
use crate::ledger::writer::{
    CommandError, Decision, Idempotency, NewTarget, Proposal, Receipt, VersionCondition,
};
use crate::storage::uri::UriRefusal;
use crate::store::StoreError;
use crate::telemetry;
use archive_ledger_domain::{Action, CleanupOutcome, Command, EntityKey, EventMetadata, Parent};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How far a client's clock may run ahead of ours before its `deleted_at` lies in the future.
const CLOCK_SKEW: TimeDelta = TimeDelta::seconds(1);

/// How long the disk may take to show what a command names.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// Who sends a command, and under which conditions.
#[derive(Debug, Clone)]
pub struct CommandContext {
    /// Who and what stands behind it.
    pub metadata: EventMetadata,
    /// Which version the entity must have (`If-Match`, `If-None-Match`).
    pub expected_version: Option<VersionCondition>,
    /// Makes the command safe to send again (`Idempotency-Key`); bound to the actor and to who vouches for it.
    pub idempotency_key: Option<String>,
}

impl CommandContext {
    /// A command without conditions.
    #[must_use]
    pub const fn new(metadata: EventMetadata) -> Self {
        Self {
            metadata,
            expected_version: None,
            idempotency_key: None,
        }
    }

    /// The idempotency key as it belongs to its caller: two issuers may know two people by one name, and neither is given the
    /// other's answers. No part can hold the character between them.
    #[must_use]
    pub fn bound_idempotency_key(&self) -> Option<String> {
        let key = self.idempotency_key.as_ref()?;
        let actor = &self.metadata.actor;
        Some(match &self.metadata.token_issuer {
            Some(issuer) => format!("{issuer}\0{actor}\0{key}"),
            None => format!("{actor}\0{key}"),
        })
    }
}

/// Takes up a live archive.
#[derive(Clone, Serialize)]
pub struct Register {
    /// The entity.
    pub key: EntityKey,
    /// The data set that it preserves.
    pub dataset_id: Option<String>,
    /// The space that it belongs to.
    pub space_id: Option<String>,
    /// What it is; sealed.
    pub description: Option<String>,
    /// Where its objects are; sealed.
    pub storage: Vec<String>,
    /// Called when a purge ends, unless the purge request names another.
    pub deleted_callback: Option<String>,
}

/// Records a deletion.
#[derive(Clone, Serialize)]
pub struct SoftDelete {
    /// The entity.
    pub key: EntityKey,
    /// Its name; sealed.
    pub name: String,
    /// Its metadata; sealed.
    pub metadata: Map<String, Value>,
    /// Why it was deleted; sealed.
    pub reason: Option<String>,
    /// What it belonged to.
    pub parent: Option<Parent>,
    /// Where its objects are; sealed.
    pub storage: Vec<String>,
    /// When the platform deleted it; now when absent.
    pub deleted_at: Option<DateTime<Utc>>,
}

/// Asks for a purge.
#[derive(Clone, Default, Serialize)]
pub struct Purge {
    /// Called when the purge ends.
    pub callback: Option<String>,
    /// Accept a purge that is already under way.
    pub join: bool,
}

impl Ledger {
    /// Registers an archive.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was recorded then, save for [`CommandError::OutcomeUnknown`].
    pub async fn register(&self, request: Register, context: CommandContext) -> Result<Receipt, LedgerError> {
        let storage_count = self.check_storage(&request.storage).await?;
        let idempotency = self.idempotency(Action::Register, &context, &request)?;
        let target = self.target(&request.key, request.deleted_callback.as_deref(), true)?;
        let command = Command::Register {
            dataset_id: request.dataset_id,
            space_id: request.space_id,
            storage_count,
            callback: target.is_some(),
        };
        let details = Details {
            description: request.description,
            storage: request.storage,
            ..Details::default()
        };
        let proposal = self.proposal(request.key, command, details, context, idempotency, target);
        self.record(Action::Register, proposal).await
    }

    /// Records a deletion; an entity that the ledger has never heard of is taken up with it.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was recorded then, save for [`CommandError::OutcomeUnknown`].
    pub async fn soft_delete(
        &self,
        request: SoftDelete,
        context: CommandContext,
    ) -> Result<Receipt, LedgerError> {
        let storage_count = self.check_storage(&request.storage).await?;
        let now = self.clock.now();
        if request.deleted_at.is_some_and(|time| time > now + CLOCK_SKEW) {
            return Err(LedgerError::DeletedInFuture);
        }
        let idempotency = self.idempotency(Action::SoftDelete, &context, &request)?;
        let command = Command::SoftDelete {
            deletion_id: self.clock.new_id(),
            deleted_at: request.deleted_at.unwrap_or(now),
            parent: request.parent,
            storage_count,
        };
        let details = Details {
            name: Some(request.name),
            metadata: Some(request.metadata),
            reason: request.reason,
            description: None,
            storage: request.storage,
        };
        let proposal = self.proposal(request.key, command, details, context, idempotency, None);
        self.record(Action::SoftDelete, proposal).await
    }

    /// Undoes the current deletion.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was recorded then, save for [`CommandError::OutcomeUnknown`].
    pub async fn restore(&self, key: EntityKey, context: CommandContext) -> Result<Receipt, LedgerError> {
        let idempotency = self.idempotency(Action::Restore, &context, &key)?;
        let proposal = self.proposal(
            key,
            Command::Restore,
            Details::default(),
            context,
            idempotency,
            None,
        );
        self.record(Action::Restore, proposal).await
    }

    /// Asks for an entity to be removed for good.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was recorded then, save for [`CommandError::OutcomeUnknown`].
    pub async fn purge(
        &self,
        key: EntityKey,
        request: Purge,
        context: CommandContext,
    ) -> Result<Receipt, LedgerError> {
        let idempotency = self.idempotency(Action::Purge, &context, &(&key, &request))?;
        let target = self.target(&key, request.callback.as_deref(), false)?;
        let command = Command::RequestPurge {
            purge_id: self.clock.new_id(),
            entity_type: key.entity_type(),
            callback: target.is_some(),
            join: request.join,
        };
        let proposal = self.proposal(key, command, Details::default(), context, idempotency, target);
        self.record(Action::Purge, proposal).await
    }

    /// Records how a purge's storage cleanup ended. Telling it twice records it once.
    ///
    /// # Errors
    /// [`LedgerError`]; [`archive_ledger_domain::Rejection::StalePurge`] when the purge is not the current one.
    pub async fn record_cleanup(
        &self,
        key: EntityKey,
        purge_id: Uuid,
        outcome: CleanupOutcome,
        causation_id: Uuid,
    ) -> Result<Receipt, LedgerError> {
        let context = CommandContext::new(EventMetadata::internal(
            "archive-ledger:storage-cleanup",
            Some(causation_id),
        ));
        let command = Command::RecordCleanup { purge_id, outcome };
        let proposal = self.proposal(key, command, Details::default(), context, None, None);
        self.record(Action::RecordCleanup, proposal).await
    }

    /// Whether all of it may be deleted one day, and can be looked at now.
    async fn check_storage(&self, storage: &[String]) -> Result<u32, LedgerError> {
        if storage.is_empty() {
            return Ok(0);
        }
        // It looks at the disk, which may take its time or never answer.
        let (roots, uris) = (Arc::clone(&self.roots), storage.to_vec());
        let check = tokio::task::spawn_blocking(move || {
            let mut checked = uris.iter().enumerate().map(|(index, uri)| {
                roots
                    .check(uri)
                    .map_err(|reason| LedgerError::Storage { index, reason })
            });
            checked.find_map(Result::err)
        });
        match tokio::time::timeout(DISK_PATIENCE, check).await {
            Ok(Ok(None)) => Ok(u32::try_from(storage.len()).unwrap_or(u32::MAX)),
            Ok(Ok(Some(error))) => Err(error),
            Ok(Err(_)) | Err(_) => Err(LedgerError::Storage {
                index: 0,
                reason: UriRefusal::RootUnavailable,
            }),
        }
    }

    fn target(
        &self,
        key: &EntityKey,
        url: Option<&str>,
        registered: bool,
    ) -> Result<Option<NewTarget>, LedgerError> {
        let Some(url) = url else { return Ok(None) };
        let url = self.callbacks.check_url(url).map_err(LedgerError::Callback)?;
        let stream_id = key.stream_id();
        let url_hash = self.keyring.keyed_hash("callback-url", url.expose().as_bytes());
        Ok(Some(NewTarget {
            receiver: url.receiver(&url_hash),
            url_hash,
            url_sealed: self
                .keyring
                .seal_for_service(&callback_context(&stream_id), url.expose().as_bytes())?,
            host: url.authority(),
            registered,
        }))
    }

    pub(super) fn idempotency<T: Serialize>(
        &self,
        action: Action,
        context: &CommandContext,
        request: &T,
    ) -> Result<Option<Idempotency>, LedgerError> {
        let Some(bound) = context.bound_idempotency_key() else {
            return Ok(None);
        };
        // The condition belongs to the request: the same key with another If-Match is another request.
        let request = serde_json::to_vec(&(action, &context.expected_version, request))
            .map_err(|error| StoreError::inconsistent("hash a request", error.to_string()))?;
        Ok(Some(Idempotency {
            key: self.keyring.keyed_hash("idempotency-key", bound.as_bytes()),
            request: self.keyring.keyed_hash("idempotent-request", &request),
        }))
    }

    pub(super) fn proposal(
        &self,
        key: EntityKey,
        command: Command,
        details: Details,
        context: CommandContext,
        idempotency: Option<Idempotency>,
        target: Option<NewTarget>,
    ) -> Proposal {
        Proposal {
            key,
            decision: Decision::Command(command),
            details,
            metadata: context.metadata,
            command_id: self.clock.new_id(),
            expected_version: context.expected_version,
            idempotency,
            target,
        }
    }

    pub(super) async fn record(&self, action: Action, proposal: Proposal) -> Result<Receipt, LedgerError> {
        let _in_flight = match proposal.idempotency {
            Some(idempotency) => Some(self.enter(idempotency.key)?),
            None => None,
        };
        let answer = self.writer.submit(proposal).await;
        let outcome = match &answer {
            Ok(_) => "recorded",
            Err(CommandError::Rejected(_)) => "rejected",
            Err(CommandError::VersionMismatch { .. }) => "version_mismatch",
            Err(CommandError::IdempotencyKeyReused | CommandError::InFlight) => "idempotency_conflict",
            Err(CommandError::Overloaded) => "overloaded",
            Err(
                CommandError::Stopping
                | CommandError::Unavailable(_)
                | CommandError::OutcomeUnknown(_)
                | CommandError::ClockMoved(_),
            ) => "unavailable",
            Err(CommandError::Store(_) | CommandError::Keyring(_)) => "failed",
        };
        self.counted.increment(
            (action.as_str(), outcome),
            |(action, outcome)| metrics::counter!(telemetry::COMMANDS_TOTAL, "action" => *action, "outcome" => *outcome),
        );
        Ok(answer?)
    }
}
