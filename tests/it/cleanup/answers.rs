//! Answers of a storage that are not whole, or not to what was asked, on their way through the worker: none of them gives
//! `purged` while objects are there, and none keeps a purge from its end once the storage answers as it should.

use super::world::{World, context, run};
use crate::cleanup_clouds::fake as clouds;
use crate::cleanup_s3::fake as s3;
use crate::harness::meddler::{Meddler, Meddling};
use crate::harness::on_both_backends;
use crate::harness::server::Backend;
use archive_ledger::cleanup::backoff::Backoff;
use archive_ledger::cleanup::blobs::Blobs;
use archive_ledger::cleanup::purges::Retried;
use archive_ledger::cleanup::s3::S3Store;
use archive_ledger::cleanup::uri::Cloud;
use archive_ledger_domain::{EntityKey, State};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use axum::http::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

const BUCKET: &str = s3::BUCKET;
/// How many objects each entity has.
const OBJECTS: u64 = 3;

/// One request is tried twice.
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(1),
    cap: Duration::from_millis(1),
    attempts: 2,
};

type Edit = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// What is wrong with an answer.
#[derive(Clone)]
enum Bad {
    /// Another one comes instead.
    Instead(u16, Vec<u8>),
    /// The body is another one.
    Edit(Edit),
    /// This many bytes of a hundred are left of the body.
    Cut(usize),
}

/// A case: its name, which listings are concerned (all that have this in their query), and what is wrong with their answers.
struct Case {
    name: String,
    of: &'static str,
    bad: Bad,
}

fn case(name: impl Into<String>, of: &'static str, bad: Bad) -> Case {
    let name = name.into();
    Case { name, of, bad }
}

fn edit(edit: impl Fn(&str) -> String + Send + Sync + 'static) -> Bad {
    Bad::Edit(Arc::new(edit))
}

fn swap(from: &'static str, to: &'static str) -> Bad {
    edit(move |body| body.replacen(from, to, 1))
}

/// What is between the first `from` and the last `to` goes, with both.
fn without(body: &str, from: &str, to: &str) -> String {
    match (body.find(from), body.rfind(to)) {
        (Some(start), Some(end)) => format!("{}{}", &body[..start], &body[end + to.len()..]),
        _ => body.to_owned(),
    }
}

/// What is wrong with any answer, whichever cloud it comes from.
fn anywhere() -> Vec<Case> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut cases: Vec<Case> = (0..10)
        .map(|tenth| 10 * tenth)
        .chain([99])
        .map(|percent| case(format!("cut off after {percent} %"), "", Bad::Cut(percent)))
        .collect();
    let html = "<html><head><title>ok</title></head><body>Welcome</body></html>";
    for (name, status, body) in [
        ("empty", 200, text("")),
        ("a page of a portal", 200, text(html)),
        (
            "an error with a good status",
            200,
            text("<Error><Code>InternalError</Code></Error>"),
        ),
        ("an empty object", 200, text("{}")),
        ("an empty list", 200, text("[]")),
        ("nothing", 204, text("")),
        ("a part", 206, text(html)),
        ("100,000 open tags", 200, "<a>".repeat(100_000).into_bytes()),
        ("100,000 open brackets", 200, "[".repeat(100_000).into_bytes()),
        ("no text", 200, vec![0xff; 100]),
        ("no method", 405, text("")),
        (
            "not implemented",
            501,
            text("<Error><Code>NotImplemented</Code></Error>"),
        ),
        (
            "not implemented, created",
            201,
            text("<Error><Code>NotImplemented</Code></Error>"),
        ),
        ("log in first", 511, text(html)),
        ("gateway", 502, text(html)),
        ("busy", 503, text(html)),
        ("too many", 429, text("")),
        ("timeout", 408, text("")),
        ("failure", 500, text("{\"error\":{}}")),
    ] {
        cases.push(case(name, "", Bad::Instead(status, body)));
    }
    cases
}

/// What is wrong with S3's listings of versions (which are listed first), and with those of objects where the one of versions
/// has nothing.
fn of_s3() -> Vec<Case> {
    let mut cases = anywhere();
    for (code, status) in [
        ("ExpiredToken", 400),
        ("RequestTimeTooSkewed", 403),
        ("BadDigest", 400),
    ] {
        let body = format!("<Error><Code>{code}</Code></Error>").into_bytes();
        cases.push(case(code, "", Bad::Instead(status, body)));
    }
    for (of, root, item) in [
        ("versions", "ListVersionsResult", "Version"),
        ("list-type=2", "ListBucketResult", "Contents"),
    ] {
        let (open, close) = (format!("<{item}>"), format!("</{item}>"));
        let emptied = move |body: &str| without(body, &open, &close);
        let tail = format!("</{root}>");
        let add = {
            let emptied = emptied.clone();
            move |more: &'static str| {
                let (emptied, tail) = (emptied.clone(), tail.clone());
                edit(move |body| emptied(body).replace(&tail, &format!("{more}{tail}")))
            }
        };
        let truncated = "<IsTruncated>true";
        let (e, f, g, h) = (emptied.clone(), emptied.clone(), emptied.clone(), emptied.clone());
        let again = if of == "versions" {
            "<NextKeyMarker>zzz</NextKeyMarker><NextVersionIdMarker>1</NextVersionIdMarker>"
        } else {
            "<NextContinuationToken>7a7a7a</NextContinuationToken>"
        };
        let tail = format!("</{root}>");
        for (name, bad) in [
            ("root alone", edit(move |_| format!("<{root}></{root}>"))),
            ("root alone, closed at once", edit(move |_| format!("<{root}/>"))),
            ("start of the root", edit(move |_| format!("<{root}>"))),
            (
                "another root",
                edit(move |body| emptied(body).replace(root, "ListAllResult")),
            ),
            (
                "another bucket",
                edit(move |body| e(body).replace("<Name>archive", "<Name>archive2")),
            ),
            (
                "another prefix",
                edit(move |body| f(body).replace("<Prefix>root", "<Prefix>route")),
            ),
            (
                "not said whether more follows",
                edit(move |body| g(body).replace("<IsTruncated>false</IsTruncated>", "")),
            ),
            (
                "more follows nowhere",
                edit({
                    let emptied = h.clone();
                    move |body| emptied(body).replace("<IsTruncated>false", truncated)
                }),
            ),
            (
                "more follows at the same place for ever",
                edit(move |body| {
                    let emptied = h(body).replace("<IsTruncated>false", truncated);
                    emptied.replace(&tail, &format!("{again}{tail}"))
                }),
            ),
            (
                "summed up",
                add("<CommonPrefixes><Prefix>root%2Fx%2F</Prefix></CommonPrefixes>"),
            ),
            (
                "encoded otherwise",
                swap("<EncodingType>url", "<EncodingType>base64"),
            ),
            (
                "inside the first key",
                edit(|body| body[..body.find("<Key>").unwrap_or(0) + 8].to_owned()),
            ),
            ("a nameless one", edit(|body| without(body, "<Key>", "</Key>"))),
        ] {
            cases.push(case(format!("{root}: {name}"), of, bad));
        }
    }
    for (name, bad) in [
        (
            "none of those that it counts",
            edit(|body| without(body, "<Contents>", "</Contents>")),
        ),
        ("more than it counts", swap("<KeyCount>3", "<KeyCount>2")),
        ("a count that is none", swap("<KeyCount>3", "<KeyCount>three")),
    ] {
        cases.push(case(format!("ListBucketResult: {name}"), "list-type=2", bad));
    }
    cases
}

/// Makes a page of GCS another one.
type PageEdit = fn(&mut Value);

fn of_gcs() -> Vec<Case> {
    let mut cases = anywhere();
    cases.push(case("expired", "", Bad::Instead(401, Vec::new())));
    let edits: [(&str, PageEdit); 10] = [
        ("another kind", |page| page["kind"] = json!("storage#object")),
        ("no kind", |page| {
            drop(page.as_object_mut().unwrap().remove("kind"))
        }),
        ("another bucket", |page| {
            page["items"][0]["bucket"] = json!("archive2")
        }),
        ("summed up", |page| {
            *page = json!({"kind": "storage#objects", "prefixes": ["root/x/"]})
        }),
        ("more follows nowhere", |page| {
            *page = json!({"kind": "storage#objects", "nextPageToken": ""});
        }),
        ("no items, and more at the same place for ever", |page| {
            *page = json!({"kind": "storage#objects", "nextPageToken": "0"});
        }),
        ("null for items", |page| page["items"] = Value::Null),
        ("one for many", |page| page["items"] = page["items"][0].clone()),
        ("a nameless one", |page| page["items"][1]["name"] = json!("")),
        ("another prefix", |page| {
            *page = json!({"kind": "storage#objects",
                "items": [{"bucket": "archive", "name": "route/x", "generation": "1"}]});
        }),
    ];
    for (name, change) in edits {
        let bad = edit(move |body| {
            let mut page: Value = serde_json::from_str(body).unwrap();
            change(&mut page);
            page.to_string()
        });
        cases.push(case(name, "", bad));
    }
    cases.push(case(
        "said twice",
        "",
        edit(|body| body.replacen('{', "{\"items\":[],", 1)),
    ));
    cases
}

fn of_azure() -> Vec<Case> {
    let mut cases = anywhere();
    let emptied = |body: &str| without(body, "<Blob>", "</Blob>");
    let next = "<NextMarker></NextMarker>";
    for (name, bad) in [
        (
            "another root",
            edit(move |body| emptied(body).replace("EnumerationResults", "Results")),
        ),
        (
            "root alone",
            edit(|_| "<EnumerationResults ContainerName=\"archive\"/>".to_owned()),
        ),
        (
            "another container",
            edit(move |body| emptied(body).replace("ContainerName=\"archive", "ContainerName=\"other")),
        ),
        (
            "no container",
            edit(move |body| emptied(body).replace("ContainerName=\"archive\"", "")),
        ),
        (
            "another prefix",
            edit(move |body| emptied(body).replace("<Prefix>root", "<Prefix>route")),
        ),
        (
            "no prefix",
            edit(move |body| without(&emptied(body), "<Prefix>", "</Prefix>")),
        ),
        (
            "begins elsewhere",
            edit(move |body| emptied(body).replace("<MaxResults>", "<Marker>9</Marker><MaxResults>")),
        ),
        (
            "summed up",
            edit(move |body| {
                emptied(body).replace("<Blobs>", "<Blobs><BlobPrefix><Name>root/x/</Name></BlobPrefix>")
            }),
        ),
        ("no list", edit(|body| without(body, "<Blobs>", "</Blobs>"))),
        (
            "not said whether more follows",
            edit(move |body| emptied(body).replace(next, "")),
        ),
        (
            "more follows at the same place for ever",
            edit(move |body| emptied(body).replace(next, "<NextMarker>0</NextMarker>")),
        ),
        ("a nameless one", edit(|body| without(body, "<Name>", "</Name>"))),
        (
            "said twice",
            edit(move |body| emptied(body).replace("<Blobs>", "<Blobs></Blobs><Blobs>")),
        ),
    ] {
        cases.push(case(name, "", bad));
    }
    cases
}

/// The storage behind the one that meddles.
enum Storage {
    S3(s3::Shared),
    Cloud(clouds::Shared),
}

impl Storage {
    fn put(&self, name: &str) {
        match self {
            Self::S3(server) => drop(
                server
                    .lock()
                    .unwrap()
                    .objects
                    .insert(name.as_bytes().to_vec(), 10),
            ),
            Self::Cloud(server) => server.lock().unwrap().put(name, clouds::Kind::Current, 10),
        }
    }

    /// How many objects there are whose names begin like this.
    fn count(&self, prefix: &str) -> u64 {
        let count = match self {
            Self::S3(server) => {
                let server = server.lock().unwrap();
                let mine = |key: &&Vec<u8>| key.starts_with(prefix.as_bytes());
                server.objects.keys().filter(mine).count()
            }
            Self::Cloud(server) => {
                let server = server.lock().unwrap();
                server
                    .names()
                    .iter()
                    .filter(|name| name.starts_with(prefix))
                    .count()
            }
        };
        count as u64
    }
}

fn s3_store(endpoint: &str) -> S3Store {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(endpoint)
        .force_path_style(true);
    S3Store::from_config(config).with_backoff(QUICK)
}

struct Scene {
    world: World,
    storage: Storage,
    meddler: Meddler,
    cloud: Cloud,
    entities: AtomicU32,
}

impl Scene {
    async fn new(backend: Backend, cloud: Cloud) -> Self {
        let (storage, endpoint) = match cloud {
            Cloud::S3 => {
                let (server, endpoint) = s3::serve(s3::Faults::default(), []).await;
                (Storage::S3(server), endpoint)
            }
            Cloud::Gcs | Cloud::Azure => {
                let server: clouds::Shared = Arc::new(Mutex::default());
                let endpoint = clouds::serve(cloud, &server).await;
                (Storage::Cloud(server), endpoint)
            }
        };
        let meddler = Meddler::before(&endpoint).await;
        let endpoint = meddler.endpoint().to_owned();
        let buckets = vec![format!("{}://{BUCKET}/root", cloud.scheme())];
        let world = World::with_storage(backend, &["root"], buckets, |roots| match cloud {
            Cloud::S3 => Blobs::with_stores(roots, Some(s3_store(&endpoint))),
            Cloud::Gcs | Cloud::Azure => clouds::connected(cloud, &endpoint, roots, QUICK),
        })
        .await;
        Self {
            world,
            storage,
            meddler,
            cloud,
            entities: AtomicU32::new(0),
        }
    }

    /// An entity with a few objects, whose purge is asked for: its folder, itself, the purge.
    async fn purging(&self) -> (String, EntityKey, Uuid) {
        let number = self.entities.fetch_add(1, Ordering::Relaxed);
        let folder = format!("root/e{number}/");
        for object in 0..OBJECTS {
            self.storage.put(&format!("{folder}{object}"));
        }
        let uri = format!("{}://{BUCKET}/root/e{number}", self.cloud.scheme());
        let key = self.world.archive(&[&uri]).await;
        let purge_id = self.world.purge(&key).await;
        (folder, key, purge_id)
    }

    /// Has every listing that a case is about answered badly, so many times. Returns whether any was.
    fn meddle(&self, case: &Case, times: u32) -> Arc<AtomicBool> {
        let (bad, of) = (case.bad.clone(), case.of);
        let hides_versions = of == "list-type=2";
        let done = Arc::new(AtomicBool::new(false));
        let (did, mut left) = (Arc::clone(&done), times);
        self.meddler.meddle(move |method, target| {
            // What is left of versions would be deleted before the objects are listed.
            if hides_versions && left > 0 && method == Method::GET && target.contains("versions") {
                return Meddling::Edit(Box::new(|body| {
                    let body = String::from_utf8(body).unwrap();
                    (200, without(&body, "<Version>", "</Version>").into_bytes())
                }));
            }
            let lists = target.contains("prefix=") && target.contains(of);
            if method != Method::GET || !lists || left == 0 {
                return Meddling::Nothing;
            }
            left -= 1;
            let did = Arc::clone(&did);
            match bad.clone() {
                Bad::Instead(status, body) => {
                    did.store(true, Ordering::Relaxed);
                    Meddling::Instead(status, body)
                }
                Bad::Cut(percent) => Meddling::Edit(Box::new(move |mut body| {
                    did.store(true, Ordering::Relaxed);
                    body.truncate(body.len() * percent / 100);
                    (200, body)
                })),
                Bad::Edit(edit) => Meddling::Edit(Box::new(move |body| {
                    let before = String::from_utf8(body).unwrap();
                    let after = edit(&before);
                    did.fetch_or(before != after, Ordering::Relaxed);
                    (200, after.into_bytes())
                })),
            }
        });
        done
    }

    async fn ends_purged(&self, about: &str, folder: &str, key: &EntityKey, purge_id: Uuid) {
        assert_eq!(self.world.outcome(key, purge_id).await, State::Purged, "{about}");
        assert_eq!(self.storage.count(folder), 0, "{about}");
        let (objects, at_least) = self.world.removed(key).await;
        let exact = if at_least {
            objects <= OBJECTS
        } else {
            objects == OBJECTS
        };
        assert!(exact, "{about}: {objects} {at_least}");
    }
}

async fn nothing_bad_is_believed(backend: Backend, cloud: Cloud, cases: Vec<Case>) {
    let scene = Scene::new(backend, cloud).await;
    let worker = run(&scene.world.cleanup());
    for case in cases {
        let about = format!("{cloud:?}: {}", case.name);
        let (folder, key, purge_id) = scene.purging().await;
        let done = scene.meddle(&case, u32::MAX);
        scene.world.deliver().await;
        assert_eq!(
            scene.world.outcome(&key, purge_id).await,
            State::PurgeFailed,
            "{about}"
        );
        assert!(done.load(Ordering::Relaxed), "{about}: nothing was wrong");
        assert_eq!(scene.storage.count(&folder), OBJECTS, "{about}");
        let failures = scene.world.failures(&key).await;
        assert!(
            failures.len() == 1 && failures[0].starts_with("storage 1 of 1: "),
            "{about}: {failures:?}"
        );
        scene.world.idle().await;
        scene.meddler.stop();
        let again = scene
            .world
            .cleanup()
            .purges()
            .retry(purge_id, context())
            .await
            .unwrap();
        let Retried::RequestedAgain(receipt) = again else {
            panic!("{about}: {again:?}")
        };
        scene.world.deliver().await;
        scene
            .ends_purged(&about, &folder, &key, receipt.purge_id.unwrap())
            .await;
    }
    worker.end().await;
}

async fn what_passes_is_waited_for(backend: Backend, cloud: Cloud, cases: Vec<Case>) {
    let scene = Scene::new(backend, cloud).await;
    let worker = run(&scene.world.cleanup());
    for case in cases {
        // Once within one attempt, and beyond it.
        for times in [1, 3] {
            let about = format!("{cloud:?}: {} ({times})", case.name);
            let (folder, key, purge_id) = scene.purging().await;
            let done = scene.meddle(&case, times);
            scene.world.deliver().await;
            scene.ends_purged(&about, &folder, &key, purge_id).await;
            assert!(done.load(Ordering::Relaxed), "{about}: nothing was wrong");
            assert_eq!(scene.world.failures(&key).await, [""; 0], "{about}");
            assert_eq!(scene.world.removed(&key).await, (OBJECTS, false), "{about}");
            scene.world.idle().await;
        }
    }
    worker.end().await;
}

on_both_backends! {
    async fn no_bad_answer_of_s3_gives_purged(backend: Backend) {
        nothing_bad_is_believed(backend, Cloud::S3, of_s3()).await;
    }

    async fn no_bad_answer_of_gcs_gives_purged(backend: Backend) {
        nothing_bad_is_believed(backend, Cloud::Gcs, of_gcs()).await;
    }

    async fn no_bad_answer_of_azure_gives_purged(backend: Backend) {
        nothing_bad_is_believed(backend, Cloud::Azure, of_azure()).await;
    }

    async fn a_purge_ends_well_when_s3_answers_as_it_should_again(backend: Backend) {
        what_passes_is_waited_for(backend, Cloud::S3, of_s3()).await;
    }

    async fn a_purge_ends_well_when_gcs_answers_as_it_should_again(backend: Backend) {
        what_passes_is_waited_for(backend, Cloud::Gcs, of_gcs()).await;
    }

    async fn a_purge_ends_well_when_azure_answers_as_it_should_again(backend: Backend) {
        what_passes_is_waited_for(backend, Cloud::Azure, of_azure()).await;
    }

    async fn a_bulk_deletion_that_s3_does_not_take_is_made_one_by_one(backend: Backend) {
        let scene = Scene::new(backend, Cloud::S3).await;
        let worker = run(&scene.world.cleanup());
        for (status, body, times) in [
            (400, "<Error><Code>InvalidArgument</Code></Error>", u32::MAX),
            (400, "<Error><Code>MalformedXML</Code></Error>", u32::MAX),
            (405, "", u32::MAX),
            (501, "<Error><Code>NotImplemented</Code></Error>", u32::MAX),
            (400, "<Error><Code>BadDigest</Code></Error>", 2),
            (400, "<Error><Code>ExpiredToken</Code></Error>", 2),
            (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", 2),
            (200, "", 2),
            (200, "<html></html>", 2),
            (200, "<DeleteResult>", 2),
            (200, "<DeleteResult></DeleteResult>", 2),
            (500, "", 2),
            (511, "", 2),
        ] {
            let about = format!("{status} {body}");
            let (folder, key, purge_id) = scene.purging().await;
            let mut left = times;
            scene.meddler.meddle(move |method, _| {
                if method != Method::POST || left == 0 {
                    return Meddling::Nothing;
                }
                left -= 1;
                Meddling::Instead(status, body.as_bytes().to_vec())
            });
            scene.world.deliver().await;
            scene.ends_purged(&about, &folder, &key, purge_id).await;
            assert_eq!(scene.world.removed(&key).await, (OBJECTS, false), "{about}");
            scene.world.idle().await;
        }
        worker.end().await;
    }

    async fn versions_that_may_be_there_and_cannot_be_listed_fail_the_purge(backend: Backend) {
        let scene = Scene::new(backend, Cloud::S3).await;
        let worker = run(&scene.world.cleanup());
        let denied = "<Error><Code>AccessDenied</Code></Error>";
        let kept = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        for (versions, versioning, text) in [
            ((403, denied), (403, denied), "nor s3:GetBucketVersioning"),
            ((405, ""), (403, denied), "nor s3:GetBucketVersioning"),
            ((501, ""), (405, ""), "nor s3:GetBucketVersioning"),
            ((403, denied), (200, kept), "s3:ListBucketVersions is not granted"),
            ((405, ""), (200, kept), "s3:ListBucketVersions is not granted"),
        ] {
            let about = format!("{versions:?} {versioning:?}");
            let (folder, key, purge_id) = scene.purging().await;
            scene.meddler.meddle(move |method, target| {
                let (status, body) = match target.split_once('?') {
                    Some((_, query)) if query.starts_with("versioning") || query.contains("&versioning") => versioning,
                    Some((_, query)) if query.contains("versions") => versions,
                    _ => return Meddling::Nothing,
                };
                assert_eq!(method, Method::GET);
                Meddling::Instead(status, body.as_bytes().to_vec())
            });
            scene.world.deliver().await;
            assert_eq!(scene.world.outcome(&key, purge_id).await, State::PurgeFailed, "{about}");
            assert_eq!(scene.storage.count(&folder), OBJECTS, "{about}");
            let failures = scene.world.failures(&key).await;
            assert!(failures[0].contains(text), "{about}: {failures:?}");
            scene.world.idle().await;
        }
        worker.end().await;
    }

    async fn names_that_xml_cannot_carry_go_by_their_bytes(backend: Backend) {
        let scene = Scene::new(backend, Cloud::S3).await;
        let worker = run(&scene.world.cleanup());
        let (folder, key, purge_id) = scene.purging().await;
        let Storage::S3(server) = &scene.storage else { unreachable!() };
        let odd: [&[u8]; 8] = [b"\x01", b"a\x0bb", b"\xff\xfe", b"caf\xe9", b"\xef\xbf\xbf", b"a&b<c>", b"%41", b"\r\n"];
        for name in odd {
            server.lock().unwrap().objects.insert([folder.as_bytes(), name].concat(), 10);
        }
        let neighbours = ["root/e0\u{1}", "root/e1/\u{1}", "root/e"];
        for name in neighbours {
            scene.storage.put(name);
        }
        scene.world.deliver().await;
        assert_eq!(scene.world.outcome(&key, purge_id).await, State::Purged);
        assert_eq!((scene.storage.count(&folder), scene.storage.count("")), (0, 3));
        assert_eq!(scene.world.removed(&key).await, (OBJECTS + odd.len() as u64, false));
        worker.end().await;
    }
}
