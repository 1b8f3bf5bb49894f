//! What an independent subscriber sees on the stream.

use archive_ledger::bus::cloud_event::{CONTENT_TYPE, CloudEvent};
use archive_ledger::bus::nats::STREAM;
use archive_ledger::bus::subjects::Subjects;
use archive_ledger::store::StoredEvent;
use async_nats::ToServerAddrs;
use async_nats::jetstream::consumer::AckPolicy;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::{self, Context, Message};
use futures::{StreamExt, TryStreamExt};
use std::time::{Duration, Instant};

/// How long the stream may take to hold what it has to.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client of the test's own.
pub async fn client(servers: impl ToServerAddrs) -> Context {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match async_nats::connect(&servers).await {
            Ok(client) => return jetstream::new(client),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the stream holds `count` messages.
pub async fn holds(servers: impl ToServerAddrs, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    let client = client(servers).await;
    let mut last = None;
    while last != Some(count) {
        assert!(
            Instant::now() < deadline,
            "the stream holds {last:?} messages, not {count}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        last = match client.get_stream(STREAM).await {
            Ok(stream) => Some(stream.cached_info().state.messages),
            Err(_) => None,
        };
    }
}

/// Every message of the stream, in order. A cluster that is still catching up after a kill is asked again.
pub async fn messages(servers: impl ToServerAddrs) -> Vec<Message> {
    let client = client(servers).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match tokio::time::timeout(PATIENCE, read(&client)).await.unwrap() {
            Ok(messages) => return messages,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn read(client: &Context) -> Result<Vec<Message>, async_nats::Error> {
    let stream = client.get_stream(STREAM).await?;
    let count = usize::try_from(stream.cached_info().state.messages)?;
    let config = Config {
        ack_policy: AckPolicy::None,
        ..Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let messages = consumer.messages().await?;
    Ok(messages.take(count).try_collect().await?)
}

/// The stream is the log: the same events in the same order, nothing missing, nothing twice.
pub async fn is_the_log(servers: impl ToServerAddrs, log: &[StoredEvent]) {
    let last = log.last().map_or(0, |event| event.position);
    holds(&servers, last).await;
    let messages = messages(&servers).await;
    let positions: Vec<u64> = messages
        .iter()
        .map(|message| decode(message).data.position)
        .collect();
    assert_eq!(positions, (1..=last).collect::<Vec<u64>>());
    for (message, stored) in messages.iter().zip(log) {
        let event = decode(message);
        assert_eq!(event, CloudEvent::new(stored, &event.source));
        assert_eq!(
            message.subject.as_str(),
            Subjects::default().of(&stored.key, stored.event.name())
        );
        let headers = message.headers.as_ref().unwrap();
        assert_eq!(
            headers.get("Nats-Msg-Id").unwrap().as_str(),
            stored.event_id.to_string()
        );
        assert_eq!(headers.get("Content-Type").unwrap().as_str(), CONTENT_TYPE);
    }
}

/// How many messages name the one that they follow, each of which is right about it and of the same entity.
pub async fn chained(servers: impl ToServerAddrs) -> usize {
    let messages = messages(&servers).await;
    let mut chained = 0;
    for pair in messages.windows(2) {
        let headers = pair[1].headers.as_ref().unwrap();
        if let Some(named) = headers.get("Nats-Expected-Last-Msg-Id") {
            let before = decode(&pair[0]);
            assert_eq!(named.as_str(), before.id.to_string());
            assert_eq!(decode(&pair[1]).subject, before.subject);
            chained += 1;
        }
    }
    chained
}

/// The event in a message.
pub fn decode(message: &Message) -> CloudEvent {
    CloudEvent::decode(&message.payload).unwrap()
}
