//! NATS as its operators run it: accounts, tokens, keys, credentials, certificates.

use super::SOON;
use super::connection::openssl;
use crate::harness::nats::Nats;
use crate::harness::server::{Backend, Server, run_binary};
use crate::harness::{eventually, fresh_id, init};
use archive_ledger::bus::nats::STREAM;
use async_nats::ConnectOptions;
use async_nats::jetstream;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A password with what a URL escapes, and the same in a URL.
const PASSWORD: &str = "hunter2/@:%+ ";
const IN_URL: &str = "hunter2%2F%40%3A%25%2B%20";

fn secret(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

/// The server's URL with this in front of its address.
fn with(nats: &Nats, credentials: &str) -> String {
    nats.url().replace("nats://", &format!("nats://{credentials}@"))
}

/// A service that is shown to NATS by these options publishes what happens, and shows nobody how.
async fn publishes(url: &str, options: &[&str], watcher: ConnectOptions, address: &str) -> Server {
    let mut builder = Server::builder(Backend::Embedded).arg("--nats-url").arg(url);
    for option in options {
        builder = builder.arg(*option);
    }
    let server = builder.start().await;
    let watcher = jetstream::new(watcher.connect(address).await.unwrap());
    record(&server).await;
    holds(&watcher, STREAM, 1).await;
    assert!(!server.log().contains("hunter2"), "{}", server.log());
    server
}

async fn record(server: &Server) {
    let token = server.token(&["--role", "admin"]).await;
    let body = json!({"id": fresh_id(), "name": "n"});
    let answer = server
        .post("/api/admin/archived/users", &token, &body)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 201);
}

async fn holds(watcher: &jetstream::Context, stream: &str, count: u64) {
    eventually("the events are on the stream", SOON, || async {
        let stream = watcher.get_stream(stream).await.ok()?;
        (stream.cached_info().state.messages >= count).then_some(())
    })
    .await;
}

/// What a service that must not start says in its last line, and that it says it by this option.
async fn refused(url: &str, options: &[&str], option: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let env = [
        ("ARCHIVE_LEDGER_NATS_URL".to_owned(), url.to_owned()),
        ("ARCHIVE_LEDGER_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ];
    let output = run_binary(&[&["serve"], options].concat(), &env, home.path()).await;
    let told = super::said(&output);
    assert_eq!(output.status.code(), Some(2), "{options:?}: {told}");
    let last = told.lines().last().unwrap_or_default().to_owned();
    assert!(
        last.starts_with(&format!("archive-ledger: {option}")),
        "{options:?}: {told}"
    );
    assert!(!told.contains("hunter2") && !told.contains("panicked"), "{told}");
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_an_account_signs_in_by_a_password_or_by_a_key() {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let configuration = |key: &KeyPair| {
        format!(
            "accounts {{ LEDGER {{ jetstream: enabled, users: [{{user: ledger, password: \"{PASSWORD}\", permissions: {{publish: [\"archive.>\", \"$JS.API.>\", \"$JS.ACK.>\"], subscribe: \"_INBOX.>\"}}}}, {{nkey: {}}}] }}, \
             BARE {{ users: [{{user: bare, password: bare}}] }} }}",
            key.public_key()
        )
    };
    let nats = Nats::configured(|_| configuration(&user)).await;
    let home = tempfile::tempdir().unwrap();
    let by_password = || ConnectOptions::new().user_and_password("ledger".to_owned(), PASSWORD.to_owned());

    let server = publishes(
        &with(&nats, &format!("ledger:{IN_URL}")),
        &[],
        by_password(),
        &nats.url(),
    )
    .await;
    server.terminate().await;
    jetstream::new(by_password().connect(nats.url()).await.unwrap())
        .delete_stream(STREAM)
        .await
        .unwrap();
    let seed = secret(home.path(), "user.nk", &user.seed().unwrap());
    let server = publishes(
        &nats.url(),
        &["--nats-nkey-file", &seed],
        by_password(),
        &nats.url(),
    )
    .await;

    // The key is replaced where the server knows it and where the service reads it, while the service runs.
    secret(home.path(), "user.nk", &stranger.seed().unwrap());
    nats.configure(&configuration(&stranger));
    nats.restart().await;
    record(&server).await;
    holds(
        &jetstream::new(by_password().connect(nats.url()).await.unwrap()),
        STREAM,
        2,
    )
    .await;
    server.terminate().await;

    refused(&nats.url(), &[], "--nats-url: NATS at nats://127.0.0.1").await;
    refused(
        &with(&nats, "ledger:hunter2"),
        &[],
        "--nats-url: NATS at nats://***@127.0.0.1",
    )
    .await;
    refused(
        &with(&nats, "hunter2"),
        &[],
        "--nats-url: NATS at nats://***@127.0.0.1",
    )
    .await;
    let told = refused(&with(&nats, "bare:bare"), &[], "--nats-url").await;
    assert!(told.contains("no JetStream"), "{told}");
    let old = secret(home.path(), "old.nk", &user.seed().unwrap());
    refused(
        &nats.url(),
        &["--nats-nkey-file", &old],
        "--nats-nkey-file: NATS at",
    )
    .await;
    std::fs::set_permissions(&old, Permissions::from_mode(0o644)).unwrap();
    let told = refused(&nats.url(), &["--nats-nkey-file", &old], "--nats-nkey-file: ").await;
    assert!(told.contains("chmod 600"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_the_url_signs_in() {
    let nats = Nats::configured(|_| "authorization { token: \"hunter2\" }".to_owned()).await;
    let by_token = ConnectOptions::with_token("hunter2".to_owned());
    let _server = publishes(&with(&nats, "hunter2"), &[], by_token, &nats.url()).await;
    refused(
        &with(&nats, "hunter"),
        &[],
        "--nats-url: NATS at nats://***@127.0.0.1",
    )
    .await;
}

/// A JWT as NATS' servers read them.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, claims: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(json!({"typ": "JWT", "alg": "ed25519-nkey"})),
        part(json!({
            "jti": fresh_id(), "iat": now, "iss": issuer.public_key(), "sub": subject.public_key(), "name": name, "nats": claims,
        }))
    );
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap())
    )
}

fn credentials(jwt: &str, user: &KeyPair) -> String {
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n{}\n\
         ------END USER NKEY SEED------\n",
        user.seed().unwrap()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_sign_in_where_an_operator_signs_for_accounts_and_these_for_users() {
    let (operator, system, account) = (
        KeyPair::new_operator(),
        KeyPair::new_account(),
        KeyPair::new_account(),
    );
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let of_account = json!({"type": "account", "version": 2, "limits": limits});
    let of_system = json!({"type": "account", "version": 2, "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    }});
    let nats = Nats::configured(|_| {
        format!(
            "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {}\n {}: {} }}\n",
            jwt(
                &operator,
                &operator,
                "operator",
                &json!({"type": "operator", "version": 2})
            ),
            system.public_key(),
            system.public_key(),
            jwt(&operator, &system, "SYS", &of_system),
            account.public_key(),
            jwt(&operator, &account, "LEDGER", &of_account),
        )
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let made = |signer: &KeyPair| {
        let user = KeyPair::new_user();
        let claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}});
        credentials(&jwt(signer, &user, "ledger", &claims), &user)
    };
    let text = made(&account);
    let path = secret(home.path(), "ledger.creds", &text);
    let watcher = ConnectOptions::with_credentials(&text).unwrap();
    let _server = publishes(&nats.url(), &["--nats-creds", &path], watcher, &nats.url()).await;

    let foreign = secret(home.path(), "foreign.creds", &made(&KeyPair::new_account()));
    refused(&nats.url(), &["--nats-creds", &foreign], "--nats-creds: NATS at").await;
    let half = secret(home.path(), "half.creds", &text[..200]);
    refused(&nats.url(), &["--nats-creds", &half], "--nats-creds: ").await;
    refused(
        &with(&nats, "hunter2"),
        &["--nats-creds", &path],
        "--nats-creds: cannot stand beside",
    )
    .await;
    let both = ["--nats-creds", &path, "--nats-nkey-file", &path];
    refused(
        &nats.url(),
        &both,
        "--nats-nkey-file: cannot stand beside --nats-creds",
    )
    .await;
    refused(
        "",
        &["--nats-creds", &path],
        "--nats-creds: means nothing without --nats-url",
    )
    .await;
}

/// An authority, and certificates of it for a server on loopback and for a client; a stranger's too.
fn certificates(folder: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["authority", "stranger"] {
        openssl(
            folder,
            &format!(
                "req -x509 {key} -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt -addext \
                 basicConstraints=critical,CA:TRUE"
            ),
        );
    }
    std::fs::write(
        folder.join("names"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    for (name, by) in [
        ("server", "authority"),
        ("client", "authority"),
        ("other", "stranger"),
    ] {
        openssl(
            folder,
            &format!("req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA {by}.crt -CAkey {by}.key -CAcreateserial -days 2 -extfile names -out {name}.crt"
            ),
        );
        std::fs::set_permissions(folder.join(format!("{name}.key")), Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_show_the_server_and_the_service_to_each_other() {
    init();
    let nats = Nats::configured(|home| {
        certificates(home);
        let path = |name: &str| home.join(name).display().to_string();
        format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
            path("server.crt"),
            path("server.key"),
            path("authority.crt")
        )
    })
    .await;
    let path = |name: &str| nats.home().join(name).display().to_string();
    let (authority, certificate, key) = (path("authority.crt"), path("client.crt"), path("client.key"));
    let watcher = ConnectOptions::new()
        .add_root_certificates(authority.clone().into())
        .add_client_certificate(certificate.clone().into(), key.clone().into());
    let all = [
        "--nats-ca",
        &authority,
        "--nats-cert",
        &certificate,
        "--nats-key",
        &key,
    ];
    let _server = publishes(&nats.url(), &all, watcher, &nats.url()).await;

    let (stranger, other, other_key) = (path("stranger.crt"), path("other.crt"), path("other.key"));
    refused(&nats.url(), &[], "--nats-url: cannot connect to NATS").await;
    refused(
        &nats.url(),
        &["--nats-ca", &authority],
        "--nats-url: cannot connect to NATS",
    )
    .await;
    let told = refused(
        &nats.url(),
        &["--nats-ca", &stranger],
        "--nats-url: cannot connect to NATS",
    )
    .await;
    assert!(told.contains("certificate"), "{told}");
    let others = [
        "--nats-ca",
        &authority,
        "--nats-cert",
        &other,
        "--nats-key",
        &other_key,
    ];
    refused(&nats.url(), &others, "--nats-url: cannot connect to NATS").await;
    let mixed = [
        "--nats-ca",
        &authority,
        "--nats-cert",
        &certificate,
        "--nats-key",
        &other_key,
    ];
    let told = refused(&nats.url(), &mixed, "--nats-key: ").await;
    assert!(told.contains("is not the key of the certificate"), "{told}");
    refused(&nats.url(), &["--nats-ca", &key], "--nats-ca: ").await;
    refused(
        &nats.url(),
        &["--nats-cert", &certificate],
        "--nats-cert: needs its key",
    )
    .await;
    refused(
        &nats.url(),
        &["--nats-key", &key],
        "--nats-key: needs its certificate",
    )
    .await;
    std::fs::set_permissions(&other_key, Permissions::from_mode(0o644)).unwrap();
    let told = refused(&nats.url(), &others, "--nats-key: ").await;
    assert!(told.contains("chmod 600"), "{told}");

    // A server that does not speak TLS hears nothing of a service that was told whom to trust.
    let plain = Nats::start().await;
    refused(
        &plain.url(),
        &["--nats-ca", &authority],
        "--nats-url: cannot connect to NATS",
    )
    .await;
}
