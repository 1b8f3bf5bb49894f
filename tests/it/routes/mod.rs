//! The HTTP surface as its clients meet it: the real binary, on both backends.
//!
//! Tests of one backend share one service (see [`Api::shared`]), so they work on entities of their own and count nothing
//! that another test could change; a test that must be alone starts a service for itself.

mod audit;
mod bad_input;
mod connections;
mod cursors;
mod envelope;
mod event_schemas;
mod forwarded;
mod idempotency;
mod issuers;
mod life;
mod lists;
mod metadata;
mod openapi;
mod parameters;
mod paths;
mod permissions;
mod preconditions;
mod providers;
mod seeds;
mod slow;
mod tenancy;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::time::Duration;

use archive_ledger::clock::{Clock, SystemClock};
use archive_ledger::http::auth::rights::{Right, Role};
use archive_ledger::http::auth::token::{TokenRequest, mint};
use archive_ledger::secret_files::jwt_secret;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

use crate::harness::described::{self, Told as _};
use crate::harness::server::{Backend, Builder, Server};

/// Where oCore's routes begin.
pub const ARCHIVED: &str = "/api/admin/archived";

/// Where Onedata's routes begin.
pub const ARCHIVES: &str = "/api/v3/oneprovider/archives";

/// A storage URI that is accepted and never cleaned, so that a purge stays under way (see [`busy_storage`]).
pub const HELD: &str = "s3://held/objects/x/";

/// Such a URI that nobody else names, nor a place around it, or the purge would fail.
pub fn held(id: &str) -> String {
    format!("s3://held/objects/of/{id}/")
}

/// A service, and a way to it that belongs to this test.
pub struct Api {
    pub host: String,
    pub admin: String,
    http: Client,
    secret: Vec<u8>,
}

impl Api {
    /// The service that all tests of this backend share.
    pub async fn shared(backend: Backend) -> Self {
        static EMBEDDED: OnceCell<Server> = OnceCell::const_new();
        static CLUSTERED: OnceCell<Server> = OnceCell::const_new();
        let shared = match backend {
            Backend::Embedded => &EMBEDDED,
            Backend::Clustered => &CLUSTERED,
        };
        let server = shared.get_or_init(|| configured(backend).start()).await;
        Self::of(server)
    }

    /// A service of the test's own.
    pub fn of(server: &Server) -> Self {
        let secret = jwt_secret(&server.data_dir().join("jwt-secret")).unwrap();
        let no_redirects = reqwest::redirect::Policy::none();
        let http = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .redirect(no_redirects);
        let mut api = Self {
            host: server.url("").trim_start_matches("http://").to_owned(),
            admin: String::new(),
            http: http.build().unwrap(),
            secret,
        };
        api.admin = api.token(Grant::default().role(Role::Admin));
        api
    }

    /// A token of the service's own key.
    pub fn token(&self, grant: Grant) -> String {
        mint(&self.secret, &grant.0, &SystemClock).unwrap()
    }

    /// A request without a token.
    pub fn bare(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("http://{}{path}", self.host))
    }

    /// A request of an administrator.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(&self.admin)
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        answer(self.request("POST", path).json(body)).await
    }

    /// Records a deletion that must be accepted, and gives the list item.
    pub async fn soft_delete(&self, entity_type: &str, id: &str) -> Value {
        let body = json!({"id": id, "name": format!("the name of {id}"), "metadata": {"of": id}});
        self.post(&format!("{ARCHIVED}/{entity_type}"), &body)
            .await
            .json(201)
    }

    /// Records a deletion of an entity whose purge will stay under way.
    pub async fn soft_delete_held(&self, entity_type: &str, id: &str) {
        let body = json!({"id": id, "name": "held", "storage": [held(id)]});
        self.post(&format!("{ARCHIVED}/{entity_type}"), &body)
            .await
            .json(201);
    }

    pub async fn restore(&self, entity_type: &str, id: &str) -> Answer {
        answer(self.request("POST", &format!("{ARCHIVED}/{entity_type}/{id}/restore"))).await
    }

    pub async fn purge(&self, entity_type: &str, id: &str) -> Answer {
        answer(self.request("DELETE", &format!("{ARCHIVED}/{entity_type}/{id}/purge"))).await
    }

    /// Registers an archive that must be accepted.
    pub async fn register(&self, id: &str, space: &str) {
        let body = json!({"archiveId": id, "datasetId": "d1", "spaceId": space, "description": "an archive"});
        self.post(ARCHIVES, &body).await.json(201);
    }

    /// The names of an entity's events, oldest first; none when the ledger has never heard of it.
    pub async fn events(&self, entity_type: &str, id: &str) -> Vec<String> {
        let history = self.get(&format!("{ARCHIVED}/{entity_type}/{id}/history")).await;
        if history.status == 404 {
            return Vec::new();
        }
        let items = history.json(200)["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| item["event"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Records one event and gives its position: positions have no gaps, so two of these tell how many events came between.
    pub async fn probe(&self) -> u64 {
        let id = new_id();
        self.soft_delete("servers", &id).await;
        let history = self
            .get(&format!("{ARCHIVED}/servers/{id}/history"))
            .await
            .json(200);
        history["items"][0]["position"].as_u64().unwrap()
    }

    /// Sends exactly these bytes and reads until the service closes the connection.
    pub async fn raw(&self, request: &[u8]) -> Answer {
        let mut connection = TcpStream::connect(&self.host).await.unwrap();
        // The service may answer and close before all of it is sent.
        let _ = connection.write_all(request).await;
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(60), connection.read_to_end(&mut bytes))
            .await
            .expect("the service kept the connection open");
        let answer = Answer::parse(&bytes);
        let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
        // A line that is none has no operation, and its refusal is looked at by who sent it.
        if let Ok(line) = std::str::from_utf8(line)
            && let [method, target, "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..]
            && answer.header("transfer-encoding").is_none()
        {
            described::check(method, target, answer.status, &answer.headers, &answer.body);
        }
        answer
    }

    /// A request head of an administrator that closes its connection, up to and without the blank line.
    pub fn head(&self, line: &str) -> String {
        format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n",
            self.host, self.admin
        )
    }
}

/// A service with room for every test of the routes.
pub fn configured(backend: Backend) -> Builder {
    let credentials = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    Server::builder(backend)
        .storage_root("s3://held/objects")
        .arg("--s3-endpoint")
        .arg(format!("http://{}", busy_storage()))
        .arg("--s3-force-path-style=true")
        .arg("--s3-region")
        .arg("us-east-1")
        .envs(credentials.map(|name| (name.to_owned(), "unused".to_owned())))
        .callbacks_to_loopback()
}

/// The address of an object store whose bucket is there at the service's start and too busy ever after: it lists one object
/// at a time and nothing else. On a thread of its own, because the service that uses it outlives the test that began it.
fn busy_storage() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut connection in listener.incoming().map_while(Result::ok) {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match connection.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        Ok(_) | Err(_) => break,
                    }
                }
                let listing = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
                let (status, body) = if String::from_utf8_lossy(&head).contains("max-keys=1&") {
                    ("200 OK", listing)
                } else {
                    ("503 Slow Down", "<Error><Code>SlowDown</Code></Error>")
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = connection.write_all(answer.as_bytes());
            }
        });
        address
    })
}

/// What a token grants.
#[derive(Clone, Debug)]
pub struct Grant(TokenRequest);

impl Default for Grant {
    fn default() -> Self {
        Self(TokenRequest {
            roles: Vec::new(),
            rights: Vec::new(),
            privileges: Vec::new(),
            spaces: std::collections::BTreeMap::new(),
            subject: "tester".to_owned(),
            ttl: Duration::from_hours(1),
            issuer: None,
            audience: None,
        })
    }
}

impl Grant {
    pub fn role(mut self, role: Role) -> Self {
        self.0.roles.push(role);
        self
    }

    pub fn right(mut self, right: Right) -> Self {
        self.0.rights.push(right);
        self
    }

    pub fn privileges(mut self, names: &[&str]) -> Self {
        self.0
            .privileges
            .extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    pub fn space(mut self, space: &str, names: &[&str]) -> Self {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.0.spaces.insert(space.to_owned(), names);
        self
    }

    pub fn issuer(mut self, issuer: &str) -> Self {
        self.0.issuer = Some(issuer.to_owned());
        self
    }

    pub fn subject(mut self, subject: &str) -> Self {
        self.0.subject = subject.to_owned();
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// Sends a request. What comes back must be what the service's description says ([`described`]).
pub async fn answer(request: RequestBuilder) -> Answer {
    let response = request.told().await;
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await.unwrap().to_vec(),
    }
}

impl Answer {
    /// Reads one answer off the wire; interim answers before it are skipped, and a chunked body stays as it came.
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .expect("no answer");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        if status < 200 {
            return Self::parse(&bytes[end + 4..]);
        }
        let headers = lines.map(|line| line.split_once(": ").unwrap());
        Self {
            status,
            headers: headers
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<Vec<(reqwest::header::HeaderName, _)>>()
                .into_iter()
                .collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that this is the one error body of seed 004, key for key, with this status and id; gives the error.
    #[track_caller]
    pub fn refused(&self, status: u16, id: &str) -> Value {
        let body = self.json(status);
        assert_eq!(keys(&body), ["error"]);
        let error = &body["error"];
        assert_eq!(error["id"], id, "{body}");
        let described = if error.get("details").is_some() {
            vec!["ctx", "description", "details", "id"]
        } else {
            vec!["ctx", "description", "id"]
        };
        assert_eq!(keys(error), described);
        assert!(error["description"].as_str().is_some_and(|text| !text.is_empty()));
        let ctx = &error["ctx"];
        assert_eq!(
            keys(ctx),
            [
                "line",
                "module",
                "onedataErrorsRevision",
                "service",
                "serviceBuildVersion",
                "serviceDomain",
                "serviceId",
                "serviceReleaseVersion",
                "timestamp",
            ]
        );
        assert!(ctx["timestamp"].is_u64() && ctx["line"].is_u64());
        let texts = keys(ctx)
            .into_iter()
            .filter(|key| !["timestamp", "line"].contains(key));
        assert!(texts.into_iter().all(|key| ctx[key].is_string()), "{ctx}");
        assert!(["ozw", "opw", "ozp", "opp"].contains(&ctx["service"].as_str().unwrap()));
        assert!(self.header("x-request-id").is_some());
        error.clone()
    }

    /// As [`Self::refused`] with 400, and the error must name `key`.
    #[track_caller]
    pub fn bad(&self, id: &str, key: &str) {
        let error = self.refused(400, id);
        assert_eq!(error["details"]["key"], key, "{error}");
        assert!(error["description"].as_str().unwrap().contains(key), "{error}");
    }
}

/// The keys of an object, sorted.
pub fn keys(value: &Value) -> Vec<&str> {
    let keys: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.into_iter().collect()
}

/// A fresh UUID.
pub fn new_id() -> String {
    SystemClock.new_id().to_string()
}
