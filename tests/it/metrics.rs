//! What is measured, from the first moment on, and what is told of the build and of each command.

use crate::harness::fresh_id;
use crate::harness::on_both_backends;
use crate::harness::server::Server;
use archive_ledger::telemetry::{self, CATALOGUE, Kind};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

async fn scrape(server: &Server) -> String {
    let answer = server.client().get(server.url("/metrics")).send().await.unwrap();
    answer.text().await.unwrap()
}

/// The series of a scrape: a metric's name, without what histograms add, its labels without `le`, and the value.
fn series(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
                None => (series, ""),
            };
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|base| is_histogram(base)));
            let labels = labels.split("\",").filter_map(|label| label.split_once("=\""));
            let labels = labels.filter(|(label, _)| *label != "le");
            (
                base.unwrap_or(name).to_owned(),
                labels
                    .map(|(label, value)| (label.to_owned(), value.trim_end_matches('"').to_owned()))
                    .collect(),
                value.parse().unwrap(),
            )
        })
        .collect()
}

fn is_histogram(name: &str) -> bool {
    CATALOGUE
        .iter()
        .any(|metric| metric.name == name && metric.kind == Kind::Histogram)
}

/// Whether a scrape has nothing that the catalogue does not have, neither a name nor a label nor, where they are known, a value.
fn is_of_the_catalogue(text: &str) {
    for (name, labels, _) in series(text) {
        let metric = CATALOGUE.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        let known: BTreeSet<&str> = metric.labels.iter().map(|(label, _)| *label).collect();
        assert_eq!(
            labels.keys().map(String::as_str).collect::<BTreeSet<_>>(),
            known,
            "{name}"
        );
        for (label, values) in metric.labels {
            let value = labels[*label].as_str();
            assert!(
                values.is_empty() || values.contains(&value),
                "{name}: {label}={value}"
            );
        }
    }
}

on_both_backends! {
    async fn every_metric_is_there_from_the_start_with_a_help_and_its_known_labels(backend: Backend) {
        let root = tempfile::tempdir().unwrap();
        let server = Server::builder(backend)
            .storage_root(format!("file://{}", root.path().canonicalize().unwrap().display()))
            .start()
            .await;
        let text = scrape(&server).await;
        let found = series(&text);
        for metric in CATALOGUE {
            let name = metric.name;
            assert!(text.contains(&format!("# HELP {name} {}\n", metric.help)), "{name} has no help\n{text}");
            assert!(text.contains(&format!("# TYPE {name} {}\n", metric.kind.as_str())), "{name}\n{text}");
            assert!(found.iter().any(|(found, ..)| found == name), "{name} is not there\n{text}");
            for (label, values) in metric.labels {
                for value in *values {
                    let there = found.iter().any(|(found, labels, _)| found == name && labels[*label] == *value);
                    assert!(there, "{name}: no {label}={value}");
                }
            }
        }
        is_of_the_catalogue(&text);
        let value = |name: &str| found.iter().find(|(found, ..)| found == name).unwrap().2;
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_max_fds") >= value("process_open_fds") && value("process_open_fds") > 5.0);
        assert!(value("process_cpu_seconds_total") > 0.0);
        let age = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
            - value("process_start_time_seconds");
        assert!((-2.0..600.0).contains(&age), "{age}");
        let build = found.iter().find(|(name, ..)| name == telemetry::BUILD_INFO).unwrap();
        assert_eq!(build.1["version"], telemetry::VERSION);
        assert_eq!(build.1["commit"], telemetry::COMMIT);
        let at_work = found.iter().filter(|(name, ..)| name == telemetry::DATABASE_CONNECTIONS);
        assert!(at_work.map(|series| series.2).sum::<f64>() >= 1.0, "{text}");
    }

    async fn a_command_leaves_one_line_in_the_log_without_whom_or_what_it_is_about(backend: Backend) {
        let server = Server::start(backend).await;
        let subject = "somebody@example.org";
        let token = server.token(&["--role", "admin", "--subject", subject]).await;
        let id = fresh_id().to_string();
        let body = json!({"id": id, "name": "a name of somebody's"});
        let created = server
            .post("/api/admin/archived/users", &token, &body)
            .header("x-request-id", "the-first")
            .send()
            .await
            .unwrap();
        assert_eq!(created.status(), 201);
        let denied = server
            .post("/api/admin/archived/users", "no token", &body)
            .header("x-request-id", "the-second")
            .send()
            .await
            .unwrap();
        assert_eq!(denied.status(), 401);
        let read = server.get("/api/admin/archived/users", &token).header("x-request-id", "the-third");
        assert_eq!(read.send().await.unwrap().status(), 200);
        is_of_the_catalogue(&scrape(&server).await);
        assert_eq!(server.terminate().await, 0);
        let log = server.log();
        let lines = |request: &str| -> Vec<&str> {
            log.lines()
                .filter(|line| line.contains("http::around::access") && line.contains(request))
                .collect()
        };
        let of = lines("the-first");
        assert_eq!(of.len(), 1, "{log}");
        for told in ["INFO", "POST", "/api/admin/archived/{entity_type}", "201", "http.milliseconds", "subject of a token"] {
            assert!(of[0].contains(told), "{told}: {}", of[0]);
        }
        assert!(!of[0].contains(&id), "{}", of[0]);
        let of = lines("the-second");
        assert!(of.len() == 1 && of[0].contains("401") && of[0].contains("nobody known"), "{of:?}");
        assert!(lines("the-third").is_empty());
        assert!(!log.contains(subject) && !log.contains("a name of somebody's"), "{log}");
        assert!(log.contains(&format!("archive-ledger {} is listening", telemetry::VERSION_AND_COMMIT)), "{log}");
    }
}
