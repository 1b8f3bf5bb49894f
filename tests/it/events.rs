//! Events over HTTP: `GET /api/events`, and `/asyncapi.json`.

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::bus::cloud_event::{CloudEvent, Source};
use archive_ledger::http::api::event_streams::MAX_STREAMS;
use archive_ledger::http::events::feed::{Feed, FeedParts, Filter};
use archive_ledger::numbering::Numbering;
use archive_ledger_domain::{EntityType, EventName};
use chrono::TimeDelta;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(60);

/// A client of Server-Sent Events, as the standard describes one.
struct Subscriber {
    answer: Response,
    buffer: String,
    last_id: Option<u64>,
}

impl Subscriber {
    /// Connects to `/api/events{query}`, where there is one with the `Last-Event-ID`.
    async fn connect(server: &Server, token: &str, query: &str, last: Option<u64>) -> Self {
        let answer = Self::ask(server, token, query, last).await;
        assert_eq!(answer.status(), 200, "{query} {last:?}");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self {
            answer,
            buffer: String::new(),
            last_id: last,
        }
    }

    async fn ask(server: &Server, token: &str, query: &str, last: Option<u64>) -> Response {
        let mut request = server
            .get(&format!("/api/events{query}"), token)
            .timeout(5 * PATIENCE);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", format!("1-{last}"));
        }
        request.send().await.unwrap()
    }

    /// The lines of the next block; `None` at the stream's end.
    async fn block(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let lines: Vec<String> = block.lines().map(ToOwned::to_owned).collect();
                self.buffer = rest.to_owned();
                for line in &lines {
                    if let Some(id) = line.strip_prefix("id: ") {
                        self.last_id = Some(position_of(id));
                    }
                }
                return Some(lines);
            }
            let chunk = self.answer.chunk().await.unwrap()?;
            self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event; `None` at the stream's end.
    async fn next(&mut self) -> Option<CloudEvent> {
        loop {
            let lines = self.block().await?;
            let field = |name: &str| {
                lines
                    .iter()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            };
            if let Some(data) = field("data") {
                let event = CloudEvent::decode(data.as_bytes()).unwrap();
                assert_eq!(field("id").unwrap(), format!("1-{}", event.sequence));
                assert_eq!(field("event").unwrap(), event.data.event.as_str());
                return Some(event);
            }
        }
    }

    async fn take(&mut self, count: usize) -> Vec<CloudEvent> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.next().await.expect("the stream ended"));
        }
        events
    }

    async fn positions(&mut self, count: usize) -> Vec<u64> {
        let events = self.take(count).await;
        events.iter().map(|event| event.data.position).collect()
    }
}

/// The position in an id of a ledger that was never forked.
fn position_of(id: &str) -> u64 {
    id.strip_prefix("1-").unwrap().parse().unwrap()
}

fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

async fn delete(server: &Server, token: &str, entity_type: &str, number: u128) {
    let body = json!({"id": id(number), "name": "Ada's", "metadata": {}, "reason": "cleanup"});
    let path = format!("/api/admin/archived/{entity_type}");
    let answer = server.post(&path, token, &body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
}

/// Three events: deleted, then purged.
async fn purge(server: &Server, token: &str, entity_type: &str, number: u128) {
    delete(server, token, entity_type, number).await;
    let path = format!("/api/admin/archived/{entity_type}/{}/purge", id(number));
    let answer = server.delete(&path, token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

on_both_backends! {
    async fn a_subscriber_goes_on_from_any_position(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        for number in 1..=20 {
            delete(&server, &token, "backups", number).await;
        }
        for last in 0..20 {
            let wanted: Vec<u64> = (last + 1..=20).collect();
            let query = format!("?after={last}");
            let mut by_query = Subscriber::connect(&server, &token, &query, None).await;
            assert_eq!(by_query.positions(wanted.len()).await, wanted);
            // As a client connects again: the same address, and how far it has come.
            let mut by_header = Subscriber::connect(&server, &token, "?after=0", Some(last)).await;
            assert_eq!(by_header.positions(wanted.len()).await, wanted);
        }
        let mut subscriber = Subscriber::connect(&server, &token, "?after=0", None).await;
        let text = format!("{:?}", subscriber.take(20).await);
        assert!(!text.contains("Ada") && !text.contains("cleanup"), "{text}");
    }

    async fn without_a_position_a_stream_begins_at_the_head_and_tells_where_that_is(server: Server) {
        let token = server.token(&["--role", "auditor"]).await;
        let admin = server.token(&["--role", "admin"]).await;
        for number in 1..=5 {
            delete(&server, &admin, "backups", number).await;
        }
        let mut subscriber = Subscriber::connect(&server, &token, "", None).await;
        let first = subscriber.block().await.unwrap();
        assert!(first.contains(&"id: 1-5".to_owned()), "{first:?}");
        // Cut off before its first event, it misses nothing.
        delete(&server, &admin, "backups", 6).await;
        let mut again = Subscriber::connect(&server, &token, "", subscriber.last_id).await;
        assert_eq!(again.positions(1).await, [6]);
        assert_eq!(subscriber.positions(1).await, [6]);
    }

    async fn a_filter_lets_through_what_it_names_and_nothing_else(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        for number in 0..60 {
            purge(&server, &token, "backups", 3 * number).await;
            delete(&server, &token, "servers", 3 * number + 1).await;
            delete(&server, &token, "users", 3 * number + 2).await;
        }
        let mut everything = Subscriber::connect(&server, &token, "?after=0", None).await;
        let everything = everything.take(300).await;
        for (query, types, names) in [
            ("entity_type=servers", vec![EntityType::Servers], vec![]),
            ("event=purged", vec![], vec![EventName::Purged]),
            ("event=purged&event=purge_requested&event=purged", vec![], vec![EventName::Purged, EventName::PurgeRequested]),
            ("event=soft_deleted&event=purged&entity_type=users&entity_type=backups",
                vec![EntityType::Users, EntityType::Backups], vec![EventName::SoftDeleted, EventName::Purged]),
        ] {
            let wanted: Vec<&CloudEvent> = everything.iter()
                .filter(|event| types.is_empty() || types.contains(&event.data.entity_type))
                .filter(|event| names.is_empty() || names.contains(&event.data.event))
                .collect();
            let mut filtered = Subscriber::connect(&server, &token, &format!("?after=0&{query}"), None).await;
            let found = filtered.take(wanted.len()).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{query}");
        }
    }

    async fn a_subscriber_that_comes_and_goes_among_writers_misses_nothing_and_gets_nothing_twice(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        let write = async {
            let writers = (0..4).map(|writer: u128| {
                let (server, token) = (&server, &token);
                async move {
                    for number in 0..40 {
                        purge(server, token, "backups", 1_000 * (writer + 1) + number).await;
                    }
                }
            });
            futures::future::join_all(writers).await;
        };
        let steady = async {
            let mut subscriber = Subscriber::connect(&server, &token, "?after=0", None).await;
            subscriber.positions(480).await
        };
        let restless = async {
            let mut positions = Vec::new();
            let mut last = None;
            while positions.len() < 480 {
                let mut subscriber = Subscriber::connect(&server, &token, "?after=0", last).await;
                let count = 23.min(480 - positions.len());
                positions.extend(subscriber.positions(count).await);
                last = positions.last().copied();
            }
            positions
        };
        let ((), steady, restless) = tokio::join!(write, steady, restless);
        let all: Vec<u64> = (1..=480).collect();
        assert_eq!(steady, all);
        assert_eq!(restless, all);
    }

    async fn a_subscriber_goes_on_after_the_service_was_killed(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        let mut subscriber = Subscriber::connect(&server, &token, "", None).await;
        for number in 1..=3 {
            delete(&server, &token, "backups", number).await;
        }
        assert_eq!(subscriber.positions(2).await, [1, 2]);
        server.restart().await;
        delete(&server, &token, "backups", 4).await;
        let mut again = Subscriber::connect(&server, &token, "", subscriber.last_id).await;
        assert_eq!(again.positions(2).await, [3, 4]);
    }

    async fn what_is_asked_for_wrongly_is_refused(server: Server) {
        let token = server.token(&["--role", "auditor"]).await;
        for query in [
            "?after=", "?after=-1", "?after=x", "?after=+1", "?after=1", "?after=99999999999999999999", "?after=0&after=0",
            "?event=melted", "?event=", "?entity_type=planets", "?type=backups",
        ] {
            assert_eq!(Subscriber::ask(&server, &token, query, None).await.status(), 400, "{query}");
        }
        for last in ["", "x", "-1", "0", "7", "1-7", "0, 0", "1-0, 1-0", "0-0", "2-0", "1-", "01-0", "1-00"] {
            let request = server.get("/api/events", &token).header("Last-Event-ID", last);
            assert_eq!(request.send().await.unwrap().status(), 400, "{last}");
        }
        let admin = server.token(&["--role", "admin"]).await;
        delete(&server, &admin, "backups", 1).await;
        assert_eq!(Subscriber::ask(&server, &token, "?after=1", Some(0)).await.status(), 400);
        let reader = server.token(&["--right", "archived:read"]).await;
        assert_eq!(Subscriber::ask(&server, &reader, "", None).await.status(), 403);
        let nobody = server.client().get(server.url("/api/events")).send().await.unwrap();
        assert_eq!(nobody.status(), 401);
    }

    async fn open_streams_end_in_order_at_shutdown_and_do_not_delay_it(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        delete(&server, &token, "backups", 1).await;
        let mut live = Subscriber::connect(&server, &token, "?after=0", None).await;
        assert_eq!(live.positions(1).await, [1]);
        let mut filtered = Subscriber::connect(&server, &token, "?event=purged", None).await;
        filtered.block().await.unwrap();
        let begun = Instant::now();
        assert_eq!(server.terminate().await, 0);
        // The grace for work under way is 30 s.
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert_eq!(live.next().await, None);
        assert_eq!(filtered.next().await, None);
        // Of the service's own lines: the driver tells of a schema that was made slowly, with all its text.
        let log = server.log();
        let mut own = log.lines().filter(|line| line.contains(" archive_ledger::"));
        assert!(!own.any(|line| line.contains("cut off")), "{log}");
    }

    async fn streams_are_limited_and_one_that_was_left_makes_room(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        let mut streams = Vec::new();
        for _ in 0..MAX_STREAMS {
            streams.push(Subscriber::connect(&server, &token, "", None).await);
        }
        let refused = Subscriber::ask(&server, &token, "", None).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key("retry-after"));
        // Those that are there are served, and so is everybody else.
        delete(&server, &token, "backups", 1).await;
        for stream in &mut streams {
            assert_eq!(stream.positions(1).await, [1]);
        }
        streams.pop();
        eventually("room for a stream", PATIENCE, || async {
            let answer = Subscriber::ask(&server, &token, "", None).await;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
    }

    async fn the_asyncapi_document_describes_what_the_stream_gives(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        let answer = server.client().get(server.url("/asyncapi.json")).send().await.unwrap();
        let document: Value = answer.json().await.unwrap();
        assert_eq!(document["asyncapi"], "3.0.0");
        purge(&server, &token, "backups", 1).await;
        let mut subscriber = Subscriber::connect(&server, &token, "?after=0", None).await;
        for event in subscriber.take(3).await {
            let message = &document["components"]["messages"][event.data.event.as_str()];
            let example: CloudEvent = serde_json::from_value(message["examples"][0]["payload"].clone()).unwrap();
            assert_eq!((&event.source, &event.event_type), (&example.source, &example.event_type));
            let fields = |event: &CloudEvent| {
                let value = serde_json::to_value(event).unwrap();
                value["data"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(fields(&event), fields(&example));
        }
    }

    async fn a_stream_ends_with_the_token_that_opened_it(backend: Backend) {
        let place = Place::new(backend).await;
        let opened = place.open().await;
        for number in 1..=300 {
            opened.ledger.soft_delete(deletion(entity(EntityType::Backups, number)), context()).await.unwrap();
        }
        let feed = |lives: TimeDelta| Feed::new(FeedParts {
            reads: Arc::clone(opened.ledger.reads()),
            committed: opened.ledger.committed(),
            clock: Arc::clone(opened.ledger.clock()),
            source: Arc::new(Source::new("s", Numbering::default())),
            stopping: CancellationToken::new(),
            pages: Arc::new(Semaphore::new(1)),
            filter: Filter::default(),
            after: 0,
            valid_until: opened.ledger.clock().now() + lives,
        });
        let mut events = 0;
        let mut living = feed(TimeDelta::seconds(3));
        let begun = Instant::now();
        while let Some(bytes) = living.next().await {
            events += String::from_utf8_lossy(&bytes).matches("data: ").count();
        }
        assert_eq!(events, 300);
        assert!((Duration::from_secs(2)..PATIENCE).contains(&begun.elapsed()));
        let mut ended = feed(TimeDelta::zero());
        assert!(ended.next().await.is_some_and(|greeting| greeting.starts_with(b"retry: ")));
        assert!(ended.next().await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_what_another_instance_recorded_and_goes_on_there() {
    let server = Server::start(Backend::Clustered).await;
    let other = server.another().start().await;
    let token = server.token(&["--role", "admin"]).await;
    let mut subscriber = Subscriber::connect(&server, &token, "", None).await;
    subscriber.block().await.unwrap();
    for number in 1..=5 {
        delete(&other, &token, "backups", 2 * number).await;
        delete(&server, &token, "backups", 2 * number + 1).await;
    }
    assert_eq!(subscriber.positions(7).await, [1, 2, 3, 4, 5, 6, 7]);
    let mut again = Subscriber::connect(&other, &token, "", Some(7)).await;
    assert_eq!(again.positions(3).await, [8, 9, 10]);
}

/// How many streams the service says are open.
async fn open_streams(server: &Server) -> u64 {
    let answer = server.client().get(server.url("/metrics")).send().await.unwrap();
    let metrics = answer.text().await.unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("archive_ledger_event_streams "));
    line.expect("there is no such metric").parse().unwrap()
}

/// Takes the chunks of an HTTP body apart; whether the last one, which ends a body, is there.
fn dechunk(mut body: &[u8]) -> (String, bool) {
    let mut text = Vec::new();
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (String::from_utf8(text).unwrap(), true);
        }
        let chunk = &body[end + 2..];
        if chunk.len() < size + 2 {
            text.extend_from_slice(&chunk[..size.min(chunk.len())]);
            break;
        }
        text.extend_from_slice(&chunk[..size]);
        body = &chunk[size + 2..];
    }
    (String::from_utf8_lossy(&text).into_owned(), false)
}

// On one backend: what is proved here lies between the feed and the socket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_stops_reading_is_cut_off_and_the_others_go_on() {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    assert_eq!(open_streams(&server).await, 0);
    let mut steady = Subscriber::connect(&server, &token, "?after=0", None).await;
    steady.block().await.unwrap();

    // It asks for everything and reads nothing. Its own buffer is small; the service's and the kernel's hold a few megabytes.
    let address = server
        .url("")
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = socket.connect(address.parse().unwrap()).await.unwrap();
    let head = format!(
        "GET /api/events?after=0 HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    silent.write_all(head.as_bytes()).await.unwrap();
    eventually("both streams are open", PATIENCE, || async {
        (open_streams(&server).await == 2).then_some(())
    })
    .await;

    let writers = (0..32).map(|writer: u128| {
        let (server, token) = (&server, &token);
        async move {
            for number in 0..63 {
                purge(server, token, "backups", 1_000 * (writer + 1) + number).await;
            }
        }
    });
    let written = 32 * 63 * 3;
    let (_, seen) = tokio::join!(futures::future::join_all(writers), steady.positions(written));
    let last = written as u64;
    assert_eq!(seen, (1..=last).collect::<Vec<u64>>());

    eventually("the one that does not read is cut off", 2 * PATIENCE, || async {
        (open_streams(&server).await == 1).then_some(())
    })
    .await;
    delete(&server, &token, "servers", 1).await;
    assert_eq!(steady.positions(1).await, [last + 1]);

    // What was on its way is still whole, up to where it breaks off; there is no end that it could take for the stream's.
    let mut came = Vec::new();
    let read = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut came)).await;
    let _ended_or_reset = read.expect("the connection is still there");
    let body = came.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert!(came.starts_with(b"HTTP/1.1 200 "));
    let (text, ended) = dechunk(&came[body..]);
    assert!(!ended);
    let (blocks, _torn) = text.rsplit_once("\n\n").unwrap();
    let told: Vec<u64> = blocks
        .split("\n\n")
        .skip(1)
        .map(|block| position_of(block.strip_prefix("id: ").unwrap().lines().next().unwrap()))
        .collect();
    let heard = told.len() as u64;
    assert_eq!(told, (1..=heard).collect::<Vec<u64>>());
    assert!(heard < last, "it was not cut off");
    // It comes again and misses nothing.
    let mut again = Subscriber::connect(&server, &token, "?after=0", Some(heard)).await;
    let rest = usize::try_from(last + 1 - heard).unwrap();
    assert_eq!(
        again.positions(rest).await,
        (heard + 1..=last + 1).collect::<Vec<u64>>()
    );
}
