//! The messages that are on their way, in order, and what the server says of each.

use crate::store::Position;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use std::collections::HashMap;
use std::error::Error;
use uuid::Uuid;

/// A message that is on its way.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) position: Position,
    pub(super) event_id: Uuid,
    /// The sequence that it gets, where it is to follow the last message of the stream.
    pub(super) sequence: Option<u64>,
    pub(super) stream_id: String,
    /// When the stream that it is meant for was created: another one holds nothing of it.
    pub(super) stream: i128,
}

/// What became of a message.
pub(super) enum Answer {
    /// It was stored there.
    Stored(u64),
    /// The server had it, and it stands there.
    Known(u64),
    /// The server had it, and it was removed since.
    Removed,
    /// The server has another message of its id there.
    Taken(u64),
    /// The server is about to store the same message.
    UnderWay,
    /// It does not follow what it was to follow.
    Refused,
    /// Nobody knows.
    Failed(Box<dyn Error + Send + Sync>),
}

/// What the server will say of a message.
pub(super) type Ack = BoxFuture<'static, Answer>;

/// Messages on their way, in order.
#[derive(Default)]
pub(super) struct Window {
    pub(super) acks: FuturesOrdered<BoxFuture<'static, (Sent, Answer)>>,
    /// The entities that they are about, and how many messages each: more than one only where each follows the one before.
    entities: HashMap<String, usize>,
    /// The entity and the id of the last one that was sent.
    last: Option<(String, Uuid)>,
    /// What went wrong first; nothing is sent any more then.
    pub(super) broken: Option<Broken>,
}

pub(super) enum Broken {
    /// A message was refused, or stands elsewhere than expected.
    Misplaced,
    /// A message is on the stream already, and what was sent behind it does not fit.
    Known,
    /// An acknowledgement did not come.
    Failed(Box<dyn Error + Send + Sync>),
    /// The connection was lost.
    Disconnected,
}

impl Window {
    /// Whether an event of this entity has to wait.
    pub(super) fn is_full_for(&self, stream_id: &str, limit: usize) -> bool {
        let parted = self.entities.contains_key(stream_id) && self.before(stream_id).is_none();
        !self.acks.is_empty() && (self.acks.len() >= limit || parted)
    }

    /// The id of the message on its way that an event of this entity would follow, where that one is about the same entity.
    pub(super) fn before(&self, stream_id: &str) -> Option<Uuid> {
        let (last, event_id) = self.last.as_ref()?;
        (last == stream_id && self.entities.contains_key(stream_id)).then_some(*event_id)
    }

    pub(super) fn push(&mut self, sent: Sent, ack: Ack) {
        *self.entities.entry(sent.stream_id.clone()).or_default() += 1;
        self.last = Some((sent.stream_id.clone(), sent.event_id));
        self.acks.push_back(Box::pin(async move { (sent, ack.await) }));
    }

    pub(super) fn settled(&mut self, sent: &Sent) {
        if let Some(count) = self.entities.get_mut(&sent.stream_id) {
            *count -= 1;
            if *count == 0 {
                self.entities.remove(&sent.stream_id);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.acks.clear();
        self.entities.clear();
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use futures::FutureExt;

    const LIMIT: usize = 4;

    fn sent(position: Position, stream_id: &str) -> Sent {
        Sent {
            position,
            event_id: SystemClock.new_id(),
            sequence: Some(position),
            stream_id: stream_id.to_owned(),
            stream: 1,
        }
    }

    fn push(window: &mut Window, position: Position, stream_id: &str) -> (Uuid, Sent) {
        let one = sent(position, stream_id);
        let again = Sent {
            stream_id: stream_id.to_owned(),
            ..one
        };
        window.push(one, futures::future::pending().boxed());
        (again.event_id, again)
    }

    #[test]
    fn an_entitys_next_event_goes_right_behind_its_last_one_or_waits() {
        let mut window = Window::default();
        assert!(!window.is_full_for("a", LIMIT));
        assert_eq!(window.before("a"), None);
        let (first, first_sent) = push(&mut window, 1, "a");
        assert!(!window.is_full_for("a", LIMIT));
        assert_eq!(window.before("a"), Some(first), "it names the one before");
        assert_eq!(window.before("b"), None, "another entity's names none");
        let (second, second_sent) = push(&mut window, 2, "a");
        assert_eq!(window.before("a"), Some(second));
        push(&mut window, 3, "b");
        assert!(window.is_full_for("a", LIMIT), "b stands between");
        assert!(!window.is_full_for("c", LIMIT));
        window.settled(&first_sent);
        assert!(window.is_full_for("a", LIMIT), "its second is still on the way");
        window.settled(&second_sent);
        assert!(!window.is_full_for("a", LIMIT));
        assert_eq!(window.before("a"), None, "nothing of it is on the way");
    }

    #[test]
    fn an_acknowledged_event_is_not_named_and_the_window_has_an_end() {
        let mut window = Window::default();
        let (_, only) = push(&mut window, 1, "a");
        window.settled(&only);
        assert_eq!(window.before("a"), None);
        for (position, stream_id) in [(2, "b"), (3, "c"), (4, "d")] {
            push(&mut window, position, stream_id);
        }
        assert!(window.is_full_for("d", LIMIT), "even right behind its own");
        window.clear();
        assert!(!window.is_full_for("d", LIMIT));
        assert_eq!(window.before("d"), None);
    }
}
