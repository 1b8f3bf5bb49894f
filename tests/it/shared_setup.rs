//! Instances that are not set up alike are told so, and nothing that is secret is in the database.

use crate::harness::ledger::Place;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, fresh_id, on_both_backends};
use archive_ledger::store::instance_marks::InstanceMark;
use serde_json::Value;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than it takes an instance to look at the others again.
const SOON: Duration = Duration::from_secs(90);

const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

async fn warnings(server: &Server) -> Vec<String> {
    let answer = server.client().get(server.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let body: Value = answer.json().await.unwrap();
    let warnings = body["warnings"].as_array().unwrap().iter();
    warnings
        .map(|warning| warning.as_str().unwrap().to_owned())
        .collect()
}

/// How many other instances differ in something, as the metric has it; `None` before they were compared.
async fn differ(server: &Server, what: &str) -> Option<u64> {
    let text = server.client().get(server.url("/metrics")).send().await.unwrap();
    let text = text.text().await.unwrap();
    let name = format!("archive_ledger_instances_differ{{what=\"{what}\"}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&name))
        .map(|value| value.parse().unwrap())
}

async fn warned(server: &Server, of: &str) -> Vec<String> {
    eventually("it is told", SOON, || async {
        let warnings = warnings(server).await;
        warnings
            .iter()
            .any(|warning| warning.contains(of))
            .then_some(warnings)
    })
    .await
}

fn secret_file(path: PathBuf, content: &str) -> PathBuf {
    let mut options = std::fs::File::options();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .unwrap();
    std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
    path
}

async fn another(server: &Server, option: &str, file: &Path) -> Server {
    server.another().arg(option).arg(file).start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_with_another_secret_or_guard_is_told_by_all_and_one_that_rotates_is_not() {
    let server = Server::start(Backend::Clustered).await;
    let home = server.home().to_owned();
    let standing = std::fs::read_to_string(server.data_dir().join("callback-secrets")).unwrap();

    // The same set-up, and one with a second signature: nothing differs.
    let rotating = secret_file(home.join("rotating"), &format!("{OTHER}\n{standing}"));
    let like = another(&server, "--callback-secret-file", &rotating).await;
    eventually("they are compared", SOON, || async {
        differ(&like, "callback_secret").await
    })
    .await;
    for what in [
        "callback_secret",
        "jwt_secret",
        "token_issuer",
        "keyring",
        "guard",
        "service",
        "callbacks",
        "storage_endpoints",
    ] {
        assert_eq!(differ(&like, what).await, Some(0), "{what}");
    }
    assert_eq!(warnings(&like).await, Vec::<String>::new());
    assert_eq!(like.terminate().await, 0);

    let secret = secret_file(home.join("another"), OTHER);
    let unlike = another(&server, "--callback-secret-file", &secret).await;
    let told = warned(&unlike, "callback secrets").await;
    assert_eq!(
        told,
        [
            "1 other instance has none of this one's callback secrets (--callback-secret-file): all must have the same"
        ]
    );
    assert_eq!(differ(&unlike, "callback_secret").await, Some(1));
    assert!(unlike.log().contains("WARN") && unlike.log().contains("none of this one's callback secrets"));
    assert_eq!(unlike.terminate().await, 0);

    for (option, file, of) in [
        (
            "--guard-file",
            home.join("elsewhere.guard"),
            "its guard elsewhere",
        ),
        ("--service-id", PathBuf::from("another-service"), "another name"),
        (
            "--callback-allow",
            PathBuf::from("receiver.example.org"),
            "other rules for callbacks",
        ),
    ] {
        let unlike = another(&server, option, &file).await;
        assert_eq!(warned(&unlike, of).await.len(), 1, "{option}");
        assert_eq!(unlike.terminate().await, 0);
    }

    // Those that were there first see it as well; who was killed is forgotten after a while.
    let key = secret_file(home.join("jwt"), "a key that is long enough to sign tokens with");
    let unlike = another(&server, "--jwt-secret-file", &key).await;
    assert_eq!(
        warned(&unlike, "none of this one's keys for tokens").await.len(),
        1
    );
    assert_eq!(
        warned(&server, "none of this one's keys for tokens").await.len(),
        1
    );
    assert_eq!(differ(&server, "jwt_secret").await, Some(1));
}

on_both_backends! {
    async fn what_an_instance_has_is_told_to_the_others_until_it_is_gone(backend: Backend) {
        let place = Place::new(backend).await;
        let opened = place.open().await;
        let store = opened.store.instance_marks();
        let (one, other) = (fresh_id(), fresh_id());
        let marks = |values: &[&str]| vec![InstanceMark {
            name: "jwt_secret".to_owned(),
            marks: values.iter().map(ToString::to_string).collect(),
        }];
        let fresh = Duration::from_secs(3600);
        assert_eq!(store.tell_marks(one, &marks(&["a"]), fresh).await.unwrap(), []);
        let seen = store.tell_marks(other, &marks(&["b", "c"]), fresh).await.unwrap();
        assert_eq!(seen, [(one, marks(&["a"]).remove(0))]);
        let seen = store.tell_marks(one, &marks(&["d"]), fresh).await.unwrap();
        assert_eq!(seen, [(other, marks(&["b", "c"]).remove(0))]);
        store.forget_marks(other).await.unwrap();
        assert_eq!(store.tell_marks(one, &marks(&["d"]), fresh).await.unwrap(), []);
        // By the database's time: whoever told it in another one is gone.
        let late = match backend {
            Backend::Embedded => "UPDATE instance_marks SET seen_at = seen_at - 3601000000",
            Backend::Clustered => "UPDATE instance_marks SET seen_at = seen_at - interval '3601 seconds'",
        };
        assert_eq!(place.tamper(late).await, 1);
        assert_eq!(store.tell_marks(other, &marks(&["b"]), fresh).await.unwrap(), []);
        assert_eq!(place.texts("SELECT marks FROM instance_marks").await, ["[\"b\"]"]);
        opened.close().await.unwrap();
    }

    async fn no_secret_is_in_what_instances_tell(server: Server) {
        let count = async || {
            let sql = "UPDATE instance_marks SET name = name";
            crate::harness::ledger::change(server.database_url(), &server.data_dir(), sql).await
        };
        eventually("it is told", SOON, || async { (count().await == 8).then_some(()) }).await;
        for file in ["callback-secrets", "jwt-secret"] {
            let content = std::fs::read_to_string(server.data_dir().join(file)).unwrap();
            let secret = content.lines().last().unwrap().trim_start_matches("whsec_").to_owned();
            let sql = format!("DELETE FROM instance_marks WHERE marks LIKE '%{secret}%' OR name LIKE '%{secret}%'");
            assert_eq!(crate::harness::ledger::change(server.database_url(), &server.data_dir(), &sql).await, 0, "{file}");
        }
        assert_eq!(server.terminate().await, 0);
        assert_eq!(count().await, 0, "it is taken back at the end");
    }
}
