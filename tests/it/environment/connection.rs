//! Ways to a PostgreSQL server, as libpq's users know them: sockets, password files, certificates.

use crate::harness::postgres::{Account, Postgres};
use crate::harness::server::run_binary;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// A password with all that a password file escapes, and all that a URL does.
const PASSWORD: &str = "p:a\\s's+ w%&=ord";

/// The same in a password file, and in a URL.
const IN_FILE: &str = "p\\:a\\\\s's+ w%&=ord";
const IN_URL: &str = "p%3Aa%5Cs%27s%2B%20w%25%26%3Dord";

/// Whoever is not the superuser needs a password.
const HBA: &str = "local all all scram-sha-256
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
";

/// A command of `openssl`, in this folder.
pub(super) fn openssl(folder: &Path, args: &str) {
    let output = Command::new("openssl")
        .args(args.split_whitespace())
        .current_dir(folder)
        .output();
    let output = output.expect("openssl is not installed: run ./test");
    assert!(
        output.status.success(),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An authority, and a certificate of it for a host of another name than the server has.
fn certificates(folder: &Path) {
    for name in ["authority", "stranger"] {
        openssl(
            folder,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt \
             -addext basicConstraints=critical,CA:TRUE"
            ),
        );
    }
    std::fs::write(
        folder.join("names"),
        "subjectAltName=DNS:db.example.org\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(
        folder,
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=db.example.org -keyout server.key -out server.csr",
    );
    openssl(
        folder,
        "x509 -req -in server.csr -CA authority.crt -CAkey authority.key -CAcreateserial -days 2 -extfile names -out server.crt",
    );
}

async fn server() -> Postgres {
    Postgres::prepared(&std::env::temp_dir(), |home, account| {
        let sockets = home.join("sockets");
        std::fs::create_dir(&sockets).unwrap();
        certificates(home);
        std::fs::write(home.join("data/pg_hba.conf"), HBA).unwrap();
        std::fs::set_permissions(home.join("server.key"), Permissions::from_mode(0o600)).unwrap();
        if let Some(Account { uid, gid }) = account {
            for file in ["sockets", "server.key", "server.crt", "data/pg_hba.conf"] {
                chown(home.join(file), Some(*uid), Some(*gid)).unwrap();
            }
        }
        let path = |name: &str| home.join(name).display().to_string();
        vec![
            format!("unix_socket_directories={}", path("sockets")),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", path("server.crt")),
            format!("ssl_key_file={}", path("server.key")),
        ]
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_reached_by_every_way_that_libpq_knows_or_what_is_wrong_is_told_in_one_line() {
    let server = server().await;
    let (home, port) = (server.directory(), server.port());
    let sql = format!(
        "CREATE ROLE ledger LOGIN PASSWORD '{}'",
        PASSWORD.replace('\'', "''")
    );
    server.run_sql("postgres", &sql).await;
    server
        .run_sql("postgres", "CREATE DATABASE \"led:ger\" OWNER ledger")
        .await;
    let own = tempfile::tempdir().unwrap();
    let temporary = own.path().join("t");
    std::fs::create_dir(&temporary).unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        let path = own.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let right = file(
        "right",
        &format!("# comment\nelsewhere:*:*:*:no\n*:{port}:led\\:ger:ledger:{IN_FILE}\n"),
        0o600,
    );
    let open = file("open", "*:*:*:*:no\n", 0o644);
    let nowhere = own.path().join("nowhere").display().to_string();
    let none = file("none", "elsewhere:*:*:*:no\n", 0o600);
    let ruined = file("ruined.crt", "no certificate", 0o644);
    let sockets = home.join("sockets").display().to_string();
    let escaped = sockets.replace('/', "%2F");
    let (authority, stranger) = (home.join("authority.crt"), home.join("stranger.crt"));
    let (authority, stranger) = (authority.display().to_string(), stranger.display().to_string());
    for (url, passfile, said) in [
        // Sockets.
        (
            format!("postgresql://ledger@/led:ger?host={sockets}&port={port}"),
            Some(&right),
            None,
        ),
        (
            format!("postgresql://ledger@/led:ger?host={escaped}&port={port}"),
            Some(&right),
            None,
        ),
        (
            format!("postgresql://ledger@:{port}/led:ger?host={sockets}"),
            Some(&right),
            None,
        ),
        (
            format!("postgresql://ledger@{escaped}:{port}/led:ger"),
            Some(&right),
            None,
        ),
        (
            format!("postgresql://ledger:{IN_URL}@/led:ger?host={sockets}&port={port}"),
            None,
            None,
        ),
        (
            format!("postgresql:///led%3Ager?user=ledger&host={sockets}&port={port}"),
            Some(&right),
            None,
        ),
        (
            format!("postgresql:///?dbname=led:ger&user=ledger&host={sockets}&port={port}&passfile={right}"),
            None,
            None,
        ),
        (
            format!("postgresql://ledger@/led:ger?host={sockets}/nowhere&port={port}"),
            Some(&right),
            Some("No such file"),
        ),
        // Passwords.
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger"),
            Some(&right),
            None,
        ),
        (
            format!("postgres://ledger:{IN_URL}@127.0.0.1:{port}/led:ger"),
            Some(&none),
            None,
        ),
        (
            format!("postgres://ledger@127.0.0.1/led:ger?hostaddr=127.0.0.1&port={port}&passfile={right}"),
            Some(&none),
            None,
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger"),
            Some(&open),
            Some(&*open),
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger"),
            Some(&none),
            Some("password"),
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?passfile={open}"),
            None,
            Some("chmod 600"),
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?passfile={nowhere}"),
            Some(&right),
            Some(&*nowhere),
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger"),
            Some(&nowhere),
            Some(&*nowhere),
        ),
        // Nobody asks for one: what cannot be used is nobody's business.
        (
            format!("postgres://postgres@127.0.0.1:{port}/led:ger"),
            Some(&open),
            None,
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/led:ger"),
            Some(&nowhere),
            None,
        ),
        // Several servers, which the driver does not try one after the other.
        (
            format!("postgres://ledger@127.0.0.1:{port},127.0.0.1:{port}/led:ger"),
            Some(&right),
            Some("several hosts"),
        ),
        (
            "postgres://ledger@localhost,127.0.0.1/led:ger".to_owned(),
            Some(&right),
            Some("several hosts"),
        ),
        (
            format!("postgresql:///led%3Ager?user=ledger&host={sockets},localhost&port={port}"),
            Some(&right),
            Some("several hosts"),
        ),
        // Certificates: whose name nobody asks for, or is asked for.
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?sslmode=require"),
            Some(&right),
            None,
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?sslmode=verify-ca&sslrootcert={authority}"),
            Some(&right),
            None,
        ),
        (
            format!(
                "postgres://ledger@localhost:{port}/led:ger?sslmode=verify-ca&sslrootcert={authority}&hostaddr=127.0.0.1"
            ),
            Some(&right),
            None,
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?sslmode=verify-full&sslrootcert={authority}"),
            Some(&right),
            Some("not valid for name"),
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?sslmode=verify-ca&sslrootcert={stranger}"),
            Some(&right),
            Some("certificate"),
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?sslmode=verify-ca&sslrootcert={ruined}"),
            Some(&right),
            Some(&*ruined),
        ),
        (
            format!(
                "postgres://ledger@127.0.0.1:{port}/led:ger?sslmode=verify-ca&sslrootcert={authority}.not"
            ),
            Some(&right),
            Some("No such file"),
        ),
        (
            format!("postgres://ledger@127.0.0.1:{port}/led:ger?sslmode=sometimes"),
            Some(&right),
            Some("sslmode"),
        ),
    ] {
        let mut env = vec![("ARCHIVE_LEDGER_DATABASE_URL".to_owned(), url.clone())];
        env.push(("HOME".to_owned(), own.path().display().to_string()));
        env.push(("TMPDIR".to_owned(), temporary.display().to_string()));
        env.extend(passfile.map(|path| ("PGPASSFILE".to_owned(), path.clone())));
        let output = run_binary(&["migrate"], &env, own.path()).await;
        let told = super::said(&output);
        match said {
            None => assert!(output.status.success(), "{url}: {told}"),
            Some(said) => {
                assert_eq!(output.status.code(), Some(2), "{url}: {told}");
                let last = told.lines().last().unwrap_or_default();
                assert!(
                    last.starts_with("archive-ledger: --database-url"),
                    "{url}: {told}"
                );
                assert!(last.contains(said) && !told.contains("panicked"), "{url}: {told}");
                assert!(
                    !told.contains(IN_FILE) && !told.contains(PASSWORD) && !told.contains(IN_URL),
                    "{told}"
                );
            }
        }
    }
    // Nothing is left of the ways that were made.
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_lives_behind_a_certificate_of_another_name() {
    let server = server().await;
    let sql = format!(
        "CREATE ROLE ledger LOGIN PASSWORD '{}'",
        PASSWORD.replace('\'', "''")
    );
    server.run_sql("postgres", &sql).await;
    server
        .run_sql("postgres", "CREATE DATABASE ledger OWNER ledger")
        .await;
    let authority = server.directory().join("authority.crt").display().to_string();
    let port = server.port();
    let world = super::World::on(format!(
        "postgres://ledger:{IN_URL}@127.0.0.1:{port}/ledger?sslmode=verify-ca&sslrootcert={authority}"
    ))
    .await;
    world.live().await;
    world.inspect().await;
    // The server goes away and comes back: so do the connections.
    server.restart().await;
    let token = world.server.token(&["--role", "admin"]).await;
    let body = serde_json::json!({"id": crate::harness::fresh_id(), "name": "n"});
    crate::harness::eventually("it records again", super::SOON, || async {
        let answer = world
            .server
            .post("/api/admin/archived/users", &token, &body)
            .send()
            .await
            .unwrap();
        [201, 409].contains(&answer.status().as_u16()).then_some(())
    })
    .await;
}
