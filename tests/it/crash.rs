//! `kill -9` under load: what was acknowledged is in the log, nothing is half applied, and a repetition gets its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use archive_ledger::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::harness::on_both_backends;
use crate::harness::server::Server;
use crate::routes::{ARCHIVED, Answer, Api, answer, configured, new_id};

/// Clients that send commands at the same time.
const CLIENTS: usize = 12;

/// One command of a client, sent with an idempotency key of its own.
#[derive(Clone, Debug)]
struct Sent {
    id: String,
    action: &'static str,
    key: String,
    /// Absent when the service was killed before it answered.
    answer: Option<(u16, Vec<u8>)>,
}

impl Sent {
    async fn send(&self, api: &Api) -> reqwest::Result<(u16, Vec<u8>)> {
        let one = format!("{ARCHIVED}/backups/{}", self.id);
        let request = match self.action {
            "soft_delete" => {
                let body = json!({"id": self.id, "name": "n", "metadata": {"of": self.id}, "reason": "gone"});
                api.request("POST", &format!("{ARCHIVED}/backups")).json(&body)
            }
            "restore" => api.request("POST", &format!("{one}/restore")),
            _ => api.request("DELETE", &format!("{one}/purge")),
        };
        let response = request.header("idempotency-key", &self.key).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.bytes().await?.to_vec()))
    }

    /// The events that it records.
    fn events(&self) -> &'static [&'static str] {
        match self.action {
            "soft_delete" => &["soft_deleted"],
            "restore" => &["restored"],
            _ => &["purge_requested", "purged"],
        }
    }
}

/// What a client does to one entity after another: every way through the life of an entity.
const LIVES: [&[&str]; 4] = [
    &["soft_delete"],
    &["soft_delete", "restore"],
    &["soft_delete", "purge"],
    &["soft_delete", "restore", "soft_delete", "purge"],
];

/// Sends commands until the service is gone.
async fn load(api: &Api, log: &Mutex<Vec<Sent>>, client: usize) {
    for number in client.. {
        let id = new_id();
        for action in LIVES[number % LIVES.len()] {
            let mut sent = Sent {
                id: id.clone(),
                action,
                key: new_id(),
                answer: None,
            };
            let answered = sent.send(api).await;
            sent.answer = answered.ok();
            let gone = sent.answer.is_none();
            if let Some((status, body)) = &sent.answer {
                assert!(
                    [200, 201].contains(status),
                    "{action}: {}",
                    String::from_utf8_lossy(body)
                );
            }
            log.lock().unwrap().push(sent);
            if gone {
                return;
            }
        }
    }
}

/// A moment that nobody can foresee, within `within` milliseconds.
fn moment(within: u64) -> Duration {
    let random = SystemClock.new_id().as_u64_pair().1;
    Duration::from_millis(20 + random % within)
}

async fn history(api: &Api, id: &str) -> (Vec<String>, Vec<u64>) {
    let path = format!("{ARCHIVED}/backups/{id}/history");
    let answer: Answer = answer(api.request("GET", &path)).await;
    if answer.status == 404 {
        return (Vec::new(), Vec::new());
    }
    let items = answer.json(200)["items"].as_array().unwrap().clone();
    let name = |item: &Value| item["event"].as_str().unwrap().to_owned();
    let position = |item: &Value| item["position"].as_u64().unwrap();
    (
        items.iter().map(name).collect(),
        items.iter().map(position).collect(),
    )
}

/// Every archived id, page by page.
async fn listed(api: &Api) -> (BTreeSet<String>, u64) {
    let (mut ids, mut query) = (BTreeSet::new(), "limit=100".to_owned());
    loop {
        let page = api.get(&format!("{ARCHIVED}/backups?{query}")).await.json(200);
        for item in page["items"].as_array().unwrap() {
            let id = item["id"].as_str().unwrap().to_owned();
            assert_eq!(item["metadata"]["of"], json!(id));
            ids.insert(id);
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("limit=100&cursor={cursor}"),
            None => return (ids, page["total_count"].as_u64().unwrap()),
        }
    }
}

/// What each entity's log must be, given what was sent: all that was answered, and whole commands only.
async fn check_log(api: &Api, sent: &[Sent]) -> (BTreeSet<String>, BTreeSet<u64>) {
    let mut of_entity: BTreeMap<&str, Vec<&Sent>> = BTreeMap::new();
    for one in sent {
        of_entity.entry(&one.id).or_default().push(one);
    }
    let (mut archived, mut positions) = (BTreeSet::new(), BTreeSet::new());
    for (id, commands) in of_entity {
        let (events, places) = history(api, id).await;
        let acknowledged: Vec<&str> = commands
            .iter()
            .filter(|one| one.answer.is_some())
            .flat_map(|one| one.events().iter().copied())
            .collect();
        let all: Vec<&str> = commands
            .iter()
            .flat_map(|one| one.events().iter().copied())
            .collect();
        assert!(
            events == acknowledged || events == all,
            "{id}: {events:?}, answered {acknowledged:?}, sent {all:?}"
        );
        if events.last().is_some_and(|event| event == "soft_deleted") {
            archived.insert(id.to_owned());
        }
        positions.extend(places);
    }
    (archived, positions)
}

async fn rounds(server: &Server, rounds: usize, within: u64) {
    let mut all: Vec<Sent> = Vec::new();
    for round in 0..rounds {
        let api = Api::of(server);
        let log = Mutex::new(Vec::new());
        let killed = async {
            tokio::time::sleep(moment(within)).await;
            server.kill9().await;
        };
        tokio::join!(
            futures::future::join_all((0..CLIENTS).map(|client| load(&api, &log, client))),
            killed
        );
        let sent = log.into_inner().unwrap();
        server.restart().await;
        let api = Api::of(server);
        check_log(&api, &sent).await;

        // Whatever was sent is sent again: what was answered gets its answer, what was not is done now or was done then.
        let repeated = futures::future::join_all(sent.iter().map(|one| one.send(&api))).await;
        let mut settled = Vec::new();
        for (one, again) in sent.into_iter().zip(repeated) {
            let again = again.unwrap();
            match &one.answer {
                Some(first) => assert_eq!(first, &again, "round {round}: {one:?}"),
                None => assert!([200, 201].contains(&again.0), "round {round}: {one:?}"),
            }
            settled.push(Sent {
                answer: Some(again),
                ..one
            });
        }
        all.extend(settled);

        let (archived, positions) = check_log(&api, &all).await;
        let (listed, total) = listed(&api).await;
        let summary = api.get(&format!("{ARCHIVED}/summary")).await.json(200);
        assert_eq!(
            listed, archived,
            "round {round}: the list is not what the histories come to"
        );
        assert_eq!(
            (total, summary["backups"].as_u64()),
            (archived.len() as u64, Some(archived.len() as u64))
        );
        let contiguous = positions.iter().copied().eq(1..=positions.len() as u64);
        assert!(contiguous, "round {round}: the log has gaps");
    }
    assert!(all.len() > rounds, "the load recorded hardly anything");
}

on_both_backends! {
    async fn a_kill_under_load_loses_nothing_that_was_acknowledged(backend: Backend) {
        let server = configured(backend).start().await;
        rounds(&server, 3, 400).await;
    }

    #[ignore = "long: ./test --soak"]
    async fn many_kills_under_load_lose_nothing_that_was_acknowledged(backend: Backend) {
        let server = configured(backend).start().await;
        rounds(&server, 40, 2_000).await;
    }
}
