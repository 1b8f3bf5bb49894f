//! One event on its way out: the message, what it has to follow, and what the server made of it.

use super::stored::{is_same, message_at};
use super::window::{Ack, Answer, Sent};
use crate::bus::BusError;
use crate::bus::cloud_event::{CONTENT_TYPE, CloudEvent, Source};
use crate::bus::marks::{self, Marks};
use crate::bus::nats::{NatsBus, NatsError};
use crate::bus::subjects::Subjects;
use crate::store::StoredEvent;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use std::error::Error;
use uuid::Uuid;

/// What a message has to follow.
pub(super) enum Fence {
    /// The message at this sequence, as the last one of the stream.
    Stream(u64),
    /// The message at this sequence, as the last one of its subject; 0 for none.
    Subject(u64),
}

/// An event that is to be sent.
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) sent: Sent,
    body: Bytes,
    mark: String,
    /// A `source` that it may have on the stream already.
    former: Option<String>,
}

fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> NatsError {
    NatsError::request("publishing an event")(error.into())
}

impl Outgoing {
    /// The message of an event; `stream` is the stream that it is meant for ([`Sent::stream`]).
    pub(super) fn new(
        event: &StoredEvent,
        stream_id: String,
        subjects: &Subjects,
        source: &Source,
        marks: &Marks,
        stream: i128,
    ) -> Result<Self, BusError> {
        let number = source.numbering().of(event.position);
        let body = CloudEvent::new(event, &source.of(event.position)).encode();
        Ok(Self {
            subject: subjects.of(&event.key, event.event.name()),
            body: body.map_err(failed)?.into(),
            mark: marks.of(number, event.position, event.event_id),
            former: source.former(event.position).map(ToOwned::to_owned),
            sent: Sent {
                position: event.position,
                event_id: event.event_id,
                sequence: None,
                stream_id,
                stream,
            },
        })
    }

    /// Whether it stands on the stream as this message.
    pub(super) fn stands_in(&self, stored: &StreamMessage) -> bool {
        let id = stored.headers.get(NATS_MESSAGE_ID).map(|id| id.as_str());
        id == Some(&self.sent.event_id.to_string()) && self.says(stored)
    }

    fn says(&self, stored: &StreamMessage) -> bool {
        is_same(stored, &self.subject, &self.body, self.former.as_deref())
    }

    /// Sends it, to be stored where the fence allows it; `before` is the id that the message before it must have, too.
    pub(super) async fn send(
        mut self,
        bus: &NatsBus,
        fence: Fence,
        before: Option<Uuid>,
    ) -> Result<(Sent, Ack), BusError> {
        let mut message = PublishMessage::build()
            .payload(self.body.clone())
            .message_id(self.sent.event_id.to_string())
            .expected_stream(bus.stream_name())
            .header("Content-Type", CONTENT_TYPE)
            .header(marks::HEADER, &*self.mark);
        message = match fence {
            Fence::Stream(sequence) => {
                self.sent.sequence = Some(sequence + 1);
                message.expected_last_sequence(sequence)
            }
            Fence::Subject(sequence) => message.expected_last_subject_sequence(sequence),
        };
        if let Some(before) = before {
            message = message.expected_last_message_id(before.to_string());
        }
        let ack = bus.context().send_publish(self.subject.clone(), message).await;
        let ack = ack.map_err(failed)?;
        let (sent, bus) = (self.sent.clone(), bus.clone());
        let answer = async move {
            match ack.await {
                Ok(ack) if ack.sequence == 0 => Answer::UnderWay,
                Ok(ack) if !ack.duplicate => Answer::Stored(ack.sequence),
                Ok(ack) => match message_at(&bus, ack.sequence).await {
                    Ok(Some(stored)) if self.says(&stored) => Answer::Known(ack.sequence),
                    Ok(Some(_)) => Answer::Taken(ack.sequence),
                    Ok(None) => Answer::Removed,
                    Err(error) => Answer::Failed(error.into()),
                },
                Err(error) if is_refusal(&error) => Answer::Refused,
                Err(error) => Answer::Failed(error.into()),
            }
        };
        Ok((sent, Box::pin(answer)))
    }
}

/// Whether the server says that a message does not follow what it names. Newer servers have two numbers for it.
fn is_refusal(error: &PublishError) -> bool {
    match error.kind() {
        PublishErrorKind::WrongLastSequence | PublishErrorKind::WrongLastMessageId => true,
        PublishErrorKind::Other => error
            .source()
            .and_then(|source| source.downcast_ref::<jetstream::Error>())
            .is_some_and(|error| error.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT),
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded => false,
    }
}
