//! The answers to idempotency keys: given again, remembered, or not to be read.

use super::CommandError;
use super::proposal::{Answer, Idempotency, Receipt};
use crate::store::{FoundAnswers, Hash, IdempotencyRecord, StoreError};
use archive_ledger_domain::Rejection;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A remembered answer. A refusal is remembered too: the same request gets the same answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Remembered {
    Recorded(Receipt),
    Refused(Rejection),
}

/// The receipt that a remembered answer gives again; `None` where it is a refusal.
///
/// # Errors
/// What is stored is no answer.
pub fn remembered(answer: &str) -> Result<Option<Receipt>, serde_json::Error> {
    Ok(match serde_json::from_str(answer)? {
        Remembered::Recorded(receipt) => Some(receipt),
        Remembered::Refused(_) => None,
    })
}

/// What is known of the answers to a batch's idempotency keys.
#[derive(Default)]
pub(super) struct Answers {
    known: BTreeMap<Hash, (Hash, Answer)>,
    /// Whether these commands were given before is not known, so that nothing may be done.
    unreadable: BTreeMap<Hash, Arc<StoreError>>,
}

impl Answers {
    /// What the transaction found.
    pub(super) fn load(found: FoundAnswers) -> Self {
        let mut answers = Self::default();
        for record in found.records {
            let answer = match serde_json::from_value(record.answer) {
                Ok(Remembered::Recorded(receipt)) => Ok(receipt),
                Ok(Remembered::Refused(rejection)) => Err(CommandError::Rejected(rejection)),
                Err(error) => {
                    answers.cannot_be_read(record.key, &error.to_string());
                    continue;
                }
            };
            answers.known.insert(record.key, (record.request, answer));
        }
        for (key, reason) in found.unreadable {
            answers.cannot_be_read(key, &reason);
        }
        answers
    }

    fn cannot_be_read(&mut self, key: Hash, reason: &str) {
        let error = StoreError::inconsistent(
            "load the answers",
            format!("the stored answer cannot be read: {reason}"),
        );
        self.unreadable.insert(key, Arc::new(error));
    }

    /// The answer that was given to the command before; `None` where it is a new one.
    pub(super) fn given(&self, command: Idempotency) -> Option<Answer> {
        if let Some(error) = self.unreadable.get(&command.key) {
            return Some(Err(CommandError::Store(Arc::clone(error))));
        }
        let (request, answer) = self.known.get(&command.key)?;
        Some(if *request == command.request {
            answer.clone()
        } else {
            Err(CommandError::IdempotencyKeyReused)
        })
    }

    /// Remembers an answer; what is to be written of it, unless it may turn out differently next time.
    pub(super) fn remember(
        &mut self,
        command: Idempotency,
        answer: &Answer,
        now: DateTime<Utc>,
    ) -> Option<IdempotencyRecord> {
        let remembered = match answer {
            Ok(receipt) => Remembered::Recorded(receipt.clone()),
            Err(CommandError::Rejected(rejection)) => Remembered::Refused(rejection.clone()),
            Err(_) => return None,
        };
        let value = serde_json::to_value(&remembered).ok()?;
        self.known.insert(command.key, (command.request, answer.clone()));
        Some(IdempotencyRecord {
            key: command.key,
            request: command.request,
            answer: value,
            recorded_at: now,
        })
    }
}
