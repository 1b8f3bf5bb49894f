//! The import: the real binary, lines good and bad, killed and run again.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use archive_ledger::ledger::Purge;
use archive_ledger_domain::EntityType;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::process::clean_command;
use crate::harness::server::{BINARY, Backend};
use crate::harness::{eventually, on_both_backends};

const SOON: Duration = Duration::from_secs(60);

/// Content that must never be printed.
const SECRET: &str = "Ada Lovelace";

fn line(number: u128) -> Value {
    let types = ["backups", "users", "servers"];
    json!({
        "entity_type": types[(number % 3) as usize],
        "id": Uuid::from_u128(number),
        "name": format!("{SECRET} {number}"),
        "metadata": {"number": number as u64},
        "reason": SECRET,
    })
}

fn lines(numbers: impl IntoIterator<Item = u128>) -> String {
    numbers
        .into_iter()
        .map(|number| format!("{}\n", line(number)))
        .collect()
}

fn file(place: &Place, content: impl AsRef<[u8]>) -> PathBuf {
    let path = place.home().join("lines.ndjson");
    std::fs::write(&path, content).unwrap();
    path
}

/// A place where the service has made its keys.
async fn served(backend: Backend) -> Place {
    let place = Place::new(backend).await;
    place.open().await.close().await.unwrap();
    place
}

async fn import(place: &Place, content: impl AsRef<[u8]>) -> Output {
    let path = file(place, content);
    place
        .run(&["import", path.to_str().unwrap(), "--actor", "importer"])
        .await
}

/// The exit code and what was said; nothing on standard output, and nothing of what the lines hold.
fn told(output: &Output) -> (i32, String) {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.stdout, b"", "{told}");
    assert!(!told.contains(SECRET), "{told}");
    (output.status.code().unwrap(), told)
}

async fn head(place: &Place) -> u64 {
    let head = place
        .texts("SELECT CAST(position AS text) FROM ledger_head")
        .await;
    head[0].parse().unwrap()
}

async fn counted(place: &Place) -> Vec<String> {
    place
        .texts(
            "SELECT entity_type || ' ' || count FROM archived_summary WHERE count > 0 ORDER BY entity_type",
        )
        .await
}

on_both_backends! {
    async fn twenty_thousand_lines_are_recorded_once_however_often_they_are_imported(backend: Backend) {
        let place = served(backend).await;
        let content = lines(0..20_000);
        let (code, first) = told(&import(&place, &content).await);
        assert_eq!(code, 0, "{first}");
        assert!(first.contains("imported 20000, already there 0, rejected 0 in "), "{first}");
        assert_eq!(counted(&place).await, ["backups 6667", "servers 6666", "users 6667"]);
        let (code, second) = told(&import(&place, &content).await);
        assert_eq!(code, 0, "{second}");
        assert!(second.contains("imported 0, already there 20000, rejected 0 in "), "{second}");
        assert_eq!(head(&place).await, 20_000);
        assert_eq!(place.texts("SELECT DISTINCT actor FROM events").await, ["importer"]);
        let output = place.run(&["rebuild", "--check"]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }

    async fn a_bad_line_is_told_by_its_number_and_stops_nothing(backend: Backend) {
        let place = served(backend).await;
        let id = Uuid::from_u128(1);
        let mut content = b"\xef\xbb\xbf".to_vec();
        let mut add = |line: &[u8]| {
            content.extend_from_slice(line);
            content.push(b'\n');
        };
        add(line(1).to_string().as_bytes());
        add(format!("{{\"{SECRET}").as_bytes());
        add(b"");
        add(format!("{{\"entity_type\":\"users\",\"id\":\"{id}\",\"name\":\"{SECRET}\",\"name\":\"x\"}}").as_bytes());
        add(b"{\"entity_type\":\"users\",\"name\":\"\xff\xfe\"}");
        add(&vec![b' '; 3 << 20]);
        add(json!({"entity_type": "users", "id": id, "name": SECRET, SECRET: 1}).to_string().as_bytes());
        add(json!({"entity_type": "users", "id": SECRET, "name": SECRET}).to_string().as_bytes());
        add(json!({"entity_type": "users", "id": id, "name": SECRET, "deleted_at": "2999-01-01T00:00:00Z"}).to_string().as_bytes());
        add(json!({"entity_type": "users", "id": id, "name": SECRET, "storage": [format!("file:///etc/{SECRET}")]}).to_string().as_bytes());
        add(json!([SECRET]).to_string().as_bytes());
        content.extend_from_slice(line(2).to_string().as_bytes());
        let (code, told) = told(&import(&place, &content).await);
        assert_eq!(code, 1, "{told}");
        for expected in [
            "archive-ledger: line 2: it is not one JSON object in UTF-8\n",
            "archive-ledger: line 4: Bad value provided for \"name\": a key occurs twice.\n",
            "archive-ledger: line 5: it is not one JSON object in UTF-8\n",
            "archive-ledger: line 6: it is longer than 1048576 bytes\n",
            "archive-ledger: line 7: a field of a name that is not known: unknown field\n",
            "archive-ledger: line 8: Bad value: provided \"id\" must be a valid identifier.\n",
            "archive-ledger: line 9: deleted_at lies in the future\n",
            "archive-ledger: line 10: storage[0] is refused: ",
            "archive-ledger: line 11: it is not one JSON object in UTF-8\n",
            "archive-ledger: imported 2, already there 0, rejected 9 in ",
        ] {
            assert!(told.contains(expected), "{expected} is not in {told}");
        }
        assert_eq!(counted(&place).await, ["servers 1", "users 1"]);
    }

    async fn what_is_archived_already_is_no_error_and_what_was_purged_is(backend: Backend) {
        let place = served(backend).await;
        let opened = place.open().await;
        // As line 4, line 7 and line 10 will have them.
        for number in [4, 7, 10] {
            let key = entity(EntityType::Users, number);
            opened.ledger.soft_delete(deletion(key), context()).await.unwrap();
        }
        opened.ledger.purge(entity(EntityType::Users, 7), Purge::default(), context()).await.unwrap();
        opened.ledger.restore(entity(EntityType::Users, 10), context()).await.unwrap();
        opened.close().await.unwrap();
        // The last two lines are equal.
        let content = lines([4, 7, 10, 1, 1]);
        let (code, first) = told(&import(&place, &content).await);
        assert_eq!(code, 1, "{first}");
        assert!(first.contains("line 2: the entity was purged\n"), "{first}");
        assert!(first.contains("imported 2, already there 2, rejected 1 in "), "{first}");
        // A deletion that was imported and undone since is not repeated.
        let opened = place.open().await;
        opened.ledger.restore(entity(EntityType::Users, 1), context()).await.unwrap();
        opened.close().await.unwrap();
        let before = head(&place).await;
        let (_, second) = told(&import(&place, &content).await);
        assert!(second.contains("imported 0, already there 4, rejected 1 in "), "{second}");
        assert_eq!(head(&place).await, before);
    }

    async fn an_import_that_is_killed_is_run_again_and_goes_on(backend: Backend) {
        const LINES: u64 = 6_000;
        let place = served(backend).await;
        let path = file(&place, lines(0..u128::from(LINES)));
        let mut killed = 0;
        for target in [1, 2_000] {
            let mut child = clean_command(BINARY)
                .args(["import", path.to_str().unwrap(), "--actor", "importer"])
                .envs(place.env().iter().cloned())
                .current_dir(place.home())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            eventually("the import gets on", SOON, || async {
                (head(&place).await >= target).then_some(())
            })
            .await;
            child.kill().unwrap();
            killed += u32::from(!child.wait().unwrap().success());
        }
        let recorded = head(&place).await;
        assert!(killed > 0 && recorded < LINES, "the import was too quick to be killed");
        // A server goes on with what it was sent by whoever is gone: the commit under way may come later.
        let (code, told) = told(&place.run(&["import", path.to_str().unwrap(), "--actor", "importer"]).await);
        assert_eq!(code, 0, "{told}");
        let there = told.split_once(", already there ").and_then(|(_, rest)| rest.split_once(", rejected 0 in "));
        let there: u64 = there.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("{told}"));
        assert!((recorded..LINES).contains(&there), "{recorded}: {told}");
        assert!(told.contains(&format!("imported {}, already there", LINES - there)), "{told}");
        assert_eq!(head(&place).await, LINES);
        assert_eq!(counted(&place).await, ["backups 2000", "servers 2000", "users 2000"]);
    }

    async fn lines_are_read_from_standard_input(backend: Backend) {
        let place = served(backend).await;
        let mut child = clean_command(BINARY)
            .args(["import", "-"])
            .envs(place.env().iter().cloned())
            .current_dir(place.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(lines(0..500).as_bytes()).unwrap();
        drop(input);
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let (code, told) = told(&output);
        assert_eq!(code, 0, "{told}");
        assert!(told.contains("imported 500, already there 0, rejected 0 in "), "{told}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_in_one_line_and_makes_no_ledger() {
    let place = Place::new(Backend::Embedded).await;
    for path in ["missing.ndjson", "."] {
        let (code, told) = told(&place.run(&["import", path]).await);
        assert_eq!(code, 2, "{told}");
        assert!(
            told.starts_with(&format!("archive-ledger: {path}: ")) && told.lines().count() == 1,
            "{told}"
        );
    }
    assert!(!place.home().join("data").exists());
    let (code, told) = told(&place.run(&["import"]).await);
    assert_eq!((code, told.contains("FILE")), (2, true), "{told}");
}
