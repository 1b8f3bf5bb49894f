//! One batch: commands decided in order against the streams that the transaction loaded.

use super::CommandError;
use super::answers::Answers;
use super::condition::VersionCondition;
use super::decide::decide;
use super::known::{KnownStream, LongStreams};
use super::prepared::{Content, Prepared};
use super::proposal::{Answer, Decision, Receipt};
use crate::clock::SharedClock;
use crate::keyring::{DataKey, Keyring, KeyringError, SealedDetails};
use crate::merkle::entry::{ENTRY_VERSION, Entry, entry_time};
use crate::merkle::{Frontier, leaf_hash};
use crate::store::{
    BatchNeeds, BatchSnapshot, BatchWrite, CallbackTarget, Hash, Head, NewEvent, Position, StoreError,
    StoredEvent, StreamSnapshot, WrappedKey,
};
use archive_ledger_domain::{AGGREGATE_TYPE, Command, Event, Rejection, State};
use archive_ledger_projections::{Changes, Recorded};
use chrono::{DateTime, Utc};
use cqrs_es::persist::SerializedEvent;
use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

/// What a batch needs, each once.
pub fn needs(commands: &[Prepared], known: &LongStreams) -> BatchNeeds {
    let mut needs = BatchNeeds {
        only_new: commands
            .iter()
            .all(|command| command.deletes_what_is_new() && known.get(&command.stream_id).is_none()),
        ..BatchNeeds::default()
    };
    for command in commands {
        let (proposal, stream_id) = (&command.proposal, command.stream_id.clone());
        if !proposal.details.is_empty() || is_restore(&proposal.decision) {
            needs.sealing.insert(stream_id.clone());
        }
        needs.answers.extend(proposal.idempotency.map(|one| one.key));
        let version = known.get(&stream_id).map_or(0, |stream| stream.version);
        needs.streams.insert(stream_id, version);
    }
    needs
}

/// Whether it asks for a restore, after which the entity can only be deleted again with details.
fn is_restore(decision: &Decision) -> bool {
    matches!(decision, Decision::Command(Command::Restore))
}

/// A stream as the batch sees it.
#[derive(Default)]
struct Stream {
    known: KnownStream,
    wrapped: Option<WrappedKey>,
    key: Option<Arc<DataKey>>,
    fenced: bool,
    /// Whether this batch sealed something for it.
    sealed_here: bool,
    /// Why nothing can be decided on it.
    unreadable: Option<Arc<StoreError>>,
}

const LOAD: &str = "load the batch";

/// One stream of those that the batch has loaded.
fn stream_of<'s>(
    streams: &'s mut HashMap<&str, Stream>,
    stream_id: &str,
) -> Result<&'s mut Stream, CommandError> {
    streams.get_mut(stream_id).ok_or_else(|| {
        let missing = StoreError::inconsistent(LOAD, "a command's stream was not asked for");
        CommandError::Store(Arc::new(missing))
    })
}

/// A batch under way.
pub struct Batch<'a> {
    keyring: &'a Keyring,
    clock: &'a SharedClock,
    now: DateTime<Utc>,
    /// As entries write it.
    now_text: String,
    frontier: Frontier,
    streams: HashMap<&'a str, Stream>,
    answers: Answers,
    write: BatchWrite,
}

impl<'a> Batch<'a> {
    /// Starts from what the transaction found of the streams that were asked for, and from what was known of them.
    ///
    /// # Errors
    /// [`StoreError::Inconsistent`] when the head contradicts itself.
    pub fn new(
        asked: impl IntoIterator<Item = &'a String>,
        known: &LongStreams,
        snapshot: BatchSnapshot,
        keyring: &'a Keyring,
        clock: &'a SharedClock,
    ) -> Result<Self, StoreError> {
        let operation = LOAD;
        let head = snapshot.head;
        let mut found = snapshot.streams;
        let frontier = Frontier::new(head.position, head.frontier.clone())
            .map_err(|error| StoreError::inconsistent(operation, error.to_string()))?;
        if frontier.root() != head.root {
            return Err(StoreError::inconsistent(
                operation,
                "the head's root is not that of its frontier",
            ));
        }
        // Recording times never go back along the log, even where the machine's clock does.
        let now = clock.now();
        let now = head.recorded_at.map_or(now, |last| last.max(now));
        let mut streams = HashMap::new();
        for id in asked {
            let loaded = Stream::load(known.get(id).cloned(), found.remove(id).unwrap_or_default());
            streams.insert(id.as_str(), loaded);
        }
        let answers = Answers::load(snapshot.answers);
        let write = BatchWrite {
            head,
            events: Vec::new(),
            keys: Vec::new(),
            erased: Vec::new(),
            claims: Vec::new(),
            released: Vec::new(),
            changes: Changes::default(),
            targets: Vec::new(),
            answers: Vec::new(),
        };
        Ok(Self {
            keyring,
            clock,
            now,
            now_text: entry_time(now),
            frontier,
            streams,
            answers,
            write,
        })
    }

    /// Decides one command. A refusal leaves the batch as it was.
    pub fn decide(&mut self, command: &mut Prepared) -> Answer {
        let Some(idempotency) = command.proposal.idempotency else {
            return self.decide_new(command);
        };
        if let Some(answer) = self.answers.given(idempotency) {
            return answer;
        }
        let answer = self.decide_new(command);
        self.write
            .answers
            .extend(self.answers.remember(idempotency, &answer, self.now));
        answer
    }

    fn decide_new(&mut self, command: &mut Prepared) -> Answer {
        let (proposal, stream_id, first_id) = (&command.proposal, &command.stream_id, command.first_id);
        let stream = stream_of(&mut self.streams, stream_id)?;
        if let Some(error) = &stream.unreadable {
            return Err(CommandError::Store(Arc::clone(error)));
        }
        let mut entity = stream.known.entity.clone();
        let decided = decide(&mut entity, &proposal.decision);
        let absent = matches!(
            decided,
            Err(CommandError::Rejected(
                Rejection::Unknown | Rejection::Purged | Rejection::StalePurge
            ))
        );
        let version = stream.known.version;
        let holds = |condition: &VersionCondition| {
            if absent {
                condition.holds_without_entity(version)
            } else {
                condition.holds(version)
            }
        };
        if !proposal.expected_version.as_ref().is_none_or(holds) {
            return Err(CommandError::VersionMismatch { actual: version });
        }
        // Everything that can fail comes before the first change.
        let contents = contents(command, decided?)?;
        let (proposal, stream_id) = (&command.proposal, &command.stream_id);
        if is_restore(&proposal.decision) {
            stream.opens(self.keyring, stream_id)?;
        }
        let sealed = stream.seal(self.keyring, self.clock, command, &contents)?;
        if let Some((_, Some(wrapped))) = &sealed {
            self.write.keys.push((stream_id.clone(), wrapped.clone()));
        }
        let mut sealed = sealed.map(|(sealed, _)| sealed);
        let mut last = None;
        for (index, content) in contents.into_iter().enumerate() {
            let event_id = if index == 0 { first_id } else { self.clock.new_id() };
            let position = self.append(command, event_id, content, sealed.take())?;
            if index == 0 {
                self.write.claims.extend(command.claims_at(position));
            }
            last = Some(position);
        }
        let stream = stream_of(&mut self.streams, stream_id)?;
        stream.known.entity = entity;
        if let Some(position) = last
            && stream.known.entity.state() == State::Purged
        {
            self.erase(command, position)?;
        }
        let stream = stream_of(&mut self.streams, stream_id)?;
        let receipt = Receipt {
            position: last,
            event_id: last.map(|_| first_id),
            version: stream.known.version,
            state: stream.known.entity.state(),
            recorded_at: self.now,
            deletion_id: stream
                .known
                .entity
                .deletion()
                .map(|deletion| deletion.deletion_id),
            deleted_at: stream.known.entity.deletion().map(|deletion| deletion.deleted_at),
            purge_id: stream.known.entity.purge_id(),
        };
        if let Some(target) = &proposal.target {
            let dataset_id = stream.known.entity.dataset_id().map(ToOwned::to_owned);
            self.write.targets.push(CallbackTarget {
                target_id: self.clock.new_id(),
                key: proposal.key.clone(),
                url_hash: target.url_hash,
                url_sealed: target.url_sealed.clone(),
                host: target.host.clone(),
                receiver: target.receiver.clone(),
                dataset_id,
                registered: target.registered,
                created_at: self.now,
            });
        }
        Ok(receipt)
    }

    /// Gives one event its position, its entry and its leaf.
    fn append(
        &mut self,
        command: &Prepared,
        event_id: Uuid,
        content: Content,
        sealed: Option<SealedDetails>,
    ) -> Result<Position, CommandError> {
        let (proposal, stream_id) = (&command.proposal, command.stream_id.as_str());
        let stream = stream_of(&mut self.streams, stream_id)?;
        let position = self.frontier.size() + 1;
        let sequence = stream.known.version + 1;
        let key_id = sealed
            .as_ref()
            .and_then(|_| stream.key.as_ref().map(|key| key.key_id()));
        let place = Place {
            position,
            sequence,
            event_id,
            recorded_at: self.now,
            recorded_at_text: &self.now_text,
            previous: stream.known.last_leaf,
            sealed,
            key_id,
        };
        let built = build(command, content, place).map_err(|error| CommandError::Store(Arc::new(error)))?;
        let recorded = Recorded {
            position,
            event_id,
            key: &proposal.key,
            sequence,
            recorded_at: self.now,
            event: &built.stored.event,
        };
        self.write.changes.record(&stream.known.entity, recorded);
        stream.known.version = sequence;
        stream.known.last_leaf = Some(built.stored.leaf);
        self.frontier.push(built.stored.leaf);
        self.write.events.push(built);
        Ok(position)
    }

    /// Has the key of an entity destroyed that was purged at `position`.
    fn erase(&mut self, command: &Prepared, position: Position) -> Result<(), CommandError> {
        let (key, stream_id) = (&command.proposal.key, command.stream_id.as_str());
        let stream = stream_of(&mut self.streams, stream_id)?;
        // The key that this very batch minted, and what it sealed, must not reach the disk either.
        stream.fenced = true;
        stream.key = None;
        stream.wrapped = None;
        if stream.sealed_here {
            self.write.keys.retain(|(id, _)| id != stream_id);
            let events = self.write.events.iter_mut();
            for event in events.filter(|event| event.stored.key == *key) {
                event.stored.sealed = None;
            }
        }
        self.write.erased.push((stream_id.to_owned(), position));
        if stream.known.entity.storage_count() > 0 {
            self.write.released.push(stream_id.to_owned());
        }
        Ok(())
    }

    /// What is to be written, `None` when nothing changed; and what the writer then knows of long streams.
    pub fn finish(mut self) -> Option<(BatchWrite, Vec<(String, KnownStream)>)> {
        if self.write.events.is_empty() && self.write.answers.is_empty() && self.write.targets.is_empty() {
            return None;
        }
        let recorded_at = if self.write.events.is_empty() {
            self.write.head.recorded_at
        } else {
            Some(self.now)
        };
        self.write.head = Head {
            position: self.frontier.size(),
            frontier: self.frontier.roots().to_vec(),
            root: self.frontier.root(),
            recorded_at,
        };
        let long = self
            .streams
            .into_iter()
            .filter(|(_, stream)| stream.unreadable.is_none() && LongStreams::wants(&stream.known))
            .map(|(id, stream)| (id.to_owned(), stream.known))
            .collect();
        Some((self.write, long))
    }
}

impl Stream {
    fn load(known: Option<KnownStream>, found: StreamSnapshot) -> Self {
        let mut stream = Self {
            known: known.unwrap_or_default(),
            wrapped: found.key,
            fenced: found.fenced,
            ..Self::default()
        };
        let replayed = match found.unreadable {
            Some(reason) => Err(StoreError::inconsistent(LOAD, reason)),
            None => stream.known.replay(found.events),
        };
        stream.unreadable = replayed.err().map(Arc::new);
        stream.known.last_leaf = found.last_leaf.or(stream.known.last_leaf);
        stream
    }

    /// Whether its key can be used. A restore without it would be for good: what is live is purged only after it was deleted again,
    /// and that deletion would have nothing to be sealed with.
    fn opens(&self, keyring: &Keyring, stream_id: &str) -> Result<(), CommandError> {
        match (&self.key, &self.wrapped) {
            (None, Some(wrapped)) => keyring
                .unwrap(stream_id, wrapped)
                .map(|_| ())
                .map_err(|error| CommandError::Keyring(Arc::new(error))),
            (Some(_), _) | (None, None) => Ok(()),
        }
    }

    /// Seals the proposal's details for its first event, under the stream's key or a fresh one.
    fn seal(
        &mut self,
        keyring: &Keyring,
        clock: &SharedClock,
        command: &Prepared,
        contents: &[Content],
    ) -> Result<Option<(SealedDetails, Option<WrappedKey>)>, CommandError> {
        let (proposal, stream_id) = (&command.proposal, command.stream_id.as_str());
        if proposal.details.is_empty() || contents.is_empty() {
            return Ok(None);
        }
        let failed = |error: KeyringError| CommandError::Keyring(Arc::new(error));
        if self.fenced {
            let fenced = StoreError::inconsistent("seal details", "the entity's key was destroyed");
            return Err(CommandError::Store(Arc::new(fenced)));
        }
        if let (None, None, Some(fresh)) = (&self.key, &self.wrapped, &command.fresh) {
            self.key = Some(Arc::clone(&fresh.key));
            self.wrapped = Some(fresh.wrapped.clone());
            self.sealed_here = true;
            return Ok(Some((fresh.sealed.clone(), Some(fresh.wrapped.clone()))));
        }
        let mut minted = None;
        let key = match (&self.key, &self.wrapped) {
            (Some(key), _) => Arc::clone(key),
            (None, Some(wrapped)) => Arc::new(keyring.unwrap(stream_id, wrapped).map_err(failed)?),
            (None, None) => {
                let (key, wrapped) = keyring.mint(stream_id, clock.new_id()).map_err(failed)?;
                minted = Some(wrapped);
                Arc::new(key)
            }
        };
        let sealed = key
            .seal_details(stream_id, command.first_id, &proposal.details)
            .map_err(failed)?;
        if minted.is_some() {
            self.wrapped.clone_from(&minted);
        }
        self.key = Some(key);
        self.sealed_here = true;
        Ok(Some((sealed, minted)))
    }
}

/// The events of a command, each with the commitment to it; the first as it was guessed, where the guess was right.
fn contents(command: &mut Prepared, events: Vec<Event>) -> Result<Vec<Content>, CommandError> {
    let mut guess = command
        .guess
        .take_if(|guess| events.first() == Some(&guess.event));
    let (metadata, actor) = (&command.metadata, &command.proposal.metadata.actor);
    let content = |event| match guess.take() {
        Some(guess) => Ok(guess),
        None => Content::new(event, metadata, actor),
    };
    let contents = events.into_iter().map(content).collect::<Result<_, _>>();
    contents.map_err(|error| CommandError::Store(Arc::new(error)))
}

/// Where an event stands, and what is sealed beside it.
struct Place<'a> {
    position: Position,
    sequence: u64,
    event_id: Uuid,
    recorded_at: DateTime<Utc>,
    recorded_at_text: &'a str,
    previous: Option<Hash>,
    sealed: Option<SealedDetails>,
    key_id: Option<Uuid>,
}

fn build(command: &Prepared, content: Content, place: Place<'_>) -> Result<NewEvent, StoreError> {
    let operation = "build the entry";
    let inconsistent = |error: &dyn std::fmt::Display| StoreError::inconsistent(operation, error.to_string());
    let proposal = &command.proposal;
    let Content {
        event,
        payload,
        salt,
        commitment,
    } = content;
    let name = event.name().as_str();
    let entry = Entry {
        v: ENTRY_VERSION,
        pos: place.position,
        eid: place.event_id,
        sid: command.stream_pseudonym,
        rev: place.sequence,
        sp: place.previous,
        et: name,
        ev: event.version(),
        at: place.recorded_at_text,
        act: command.actor_pseudonym,
        cid: proposal.command_id,
        p: commitment,
        c: place.sealed.as_ref().map(|sealed| sealed.commitment),
        kid: place.key_id,
    }
    .canonical()
    .map_err(|error| inconsistent(&error))?;
    let leaf = leaf_hash(&entry);
    let sequence = usize::try_from(place.sequence).map_err(|error| inconsistent(&error))?;
    let serialized = SerializedEvent::new(
        command.stream_id.clone(),
        sequence,
        AGGREGATE_TYPE.to_owned(),
        name.to_owned(),
        event.version().to_owned(),
        payload,
        command.metadata.clone(),
    );
    let stored = StoredEvent {
        position: place.position,
        event_id: place.event_id,
        key: proposal.key.clone(),
        sequence: place.sequence,
        recorded_at: place.recorded_at,
        event,
        metadata: proposal.metadata.clone(),
        command_id: proposal.command_id,
        sealed: place.sealed.map(|sealed| sealed.sealed),
        entry,
        leaf,
    };
    Ok(NewEvent {
        stored,
        serialized,
        salt,
    })
}
