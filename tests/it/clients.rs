//! The published clients: each is what the generators make of the description that this service serves, and each tells a backup's life.

mod fuzz;
mod rust;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::receiver::Receiver;
use crate::harness::server::{Backend, Server};
use crate::harness::{described, fresh_id, on_both_backends};

/// A path of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where `./test` has installed a tool.
fn tool(variable: &str, usual: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| repository(usual), PathBuf::from)
}

/// The virtual environment with the generator of the Python client, and what that client needs.
pub fn python_tools() -> PathBuf {
    tool("ARCHIVE_LEDGER_CLIENT_TOOLS", "target/tools/clients")
}

/// The packages of `clients/typescript`.
fn node_modules() -> PathBuf {
    tool(
        "ARCHIVE_LEDGER_CLIENT_NODE_MODULES",
        "target/tools/typescript/node_modules",
    )
}

/// Runs a command to its end, which must be a good one.
async fn run(mut command: Command) -> String {
    let what = format!("{command:?}");
    let Output {
        status,
        stdout,
        stderr,
    } = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(status.success(), "{what}: {}{}", text(&stdout), text(&stderr));
    text(&stdout)
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What running the client leaves.
                if !path.ends_with("__pycache__") {
                    folders.push(path);
                }
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn the_published_clients_are_what_the_generators_make_of_the_description() {
    let scratch = tempfile::tempdir().unwrap();
    let document = scratch.path().join("openapi.json");
    std::fs::write(&document, described::document().to_string()).unwrap();
    let mut generate = Command::new(repository("clients/generate"));
    generate.arg(&document).arg(scratch.path());
    generate.env("ARCHIVE_LEDGER_CLIENT_TOOLS", python_tools());
    generate.env("ARCHIVE_LEDGER_CLIENT_NODE_MODULES", node_modules());
    run(generate).await;
    let package = "python/archive_ledger_client";
    let (made, published) = (
        files(&scratch.path().join(package)),
        files(&repository("clients").join(package)),
    );
    let names = |files: &[(PathBuf, String)]| files.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&made), names(&published), "run clients/generate");
    for ((path, made), (_, published)) in made.iter().zip(&published) {
        assert!(
            made == published,
            "{} is stale: run clients/generate",
            path.display()
        );
    }
    let schema = "typescript/src/schema.ts";
    let made = std::fs::read_to_string(scratch.path().join(schema)).unwrap();
    let published = std::fs::read_to_string(repository("clients").join(schema)).unwrap();
    assert!(made == published, "{schema} is stale: run clients/generate");
}

/// A service, a token for it, and a receiver that it may call.
pub async fn scene(backend: Backend) -> (Server, String, Receiver) {
    let server = Server::builder(backend).callbacks_to_loopback().start().await;
    let token = server.token(&["--role", "admin"]).await;
    (server, token, Receiver::start().await)
}

on_both_backends! {
    async fn a_backups_life_is_told_in_python(backend: Backend) {
        let (server, token, receiver) = scene(backend).await;
        let id = fresh_id().to_string();
        let mut story = Command::new(python_tools().join("bin/python"));
        story.arg(repository("tests/it/clients/story.py"));
        story.args([server.url(""), token, id, receiver.url("/deleted")]);
        story.env("PYTHONPATH", repository("clients/python")).env("PYTHONDONTWRITEBYTECODE", "1");
        assert_eq!(run(story).await.trim(), "told");
    }

    async fn a_backups_life_is_told_in_typescript(backend: Backend) {
        let (server, token, receiver) = scene(backend).await;
        let id = fresh_id().to_string();
        // A project of its own, with the client as a stranger installs it: compiled, under its name.
        let project = tempfile::tempdir().unwrap();
        let package = project.path().join("node_modules/@archive-ledger/client");
        std::fs::create_dir_all(&package).unwrap();
        for link in ["openapi-fetch", "openapi-typescript-helpers", "typescript"] {
            std::os::unix::fs::symlink(node_modules().join(link), project.path().join("node_modules").join(link)).unwrap();
        }
        for file in ["package.json", "tsconfig.json"] {
            std::fs::copy(repository("clients/typescript").join(file), package.join(file)).unwrap();
        }
        std::fs::create_dir(package.join("src")).unwrap();
        for file in ["index.ts", "schema.ts"] {
            std::fs::copy(repository("clients/typescript/src").join(file), package.join("src").join(file)).unwrap();
        }
        std::fs::write(project.path().join("package.json"), r#"{"type":"module"}"#).unwrap();
        std::fs::copy(repository("tests/it/clients/story.ts"), project.path().join("story.ts")).unwrap();
        let tsc = |arguments: &[&str]| {
            let mut tsc = Command::new("node");
            tsc.arg(node_modules().join("typescript/bin/tsc")).args(arguments).current_dir(project.path());
            tsc
        };
        run(tsc(&["--project", "node_modules/@archive-ledger/client"])).await;
        std::fs::copy(repository("tests/it/clients/tsconfig.json"), project.path().join("tsconfig.json")).unwrap();
        run(tsc(&[])).await;
        let mut story = Command::new("node");
        story.arg(project.path().join("story.js")).args([server.url(""), token, id, receiver.url("/deleted")]);
        assert_eq!(run(story).await.trim(), "told");
    }
}
