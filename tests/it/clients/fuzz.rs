//! Schemathesis asks the service everything that its description allows, and much that it does not; all of its checks look at the answers.

use std::process::Command;

use super::{python_tools, repository, run};
use crate::harness::on_both_backends;
use crate::harness::server::{Backend, Server};

/// Asks with a token of these rights.
async fn ask(backend: Backend, grant: &[&str]) {
    let server = Server::start(backend).await;
    let token = server.token(grant).await;
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(python_tools().join("bin/schemathesis"));
    command
        .arg("--config-file")
        .arg(repository("tests/it/clients/schemathesis.toml"));
    command.arg("run").arg(server.url("/openapi.json"));
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    command.args([
        "--checks",
        "all",
        "--max-examples",
        "10",
        "--workers",
        "2",
        "--seed",
        "1",
        "--no-color",
    ]);
    // Its answer has no end; what it refuses is looked at in `events`.
    command.args(["--exclude-operation-id", "streamEvents"]);
    command
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", repository("tests/it/clients"));
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(scratch.path());
    let told = run(command).await;
    let document = crate::harness::described::document();
    let items = document["paths"].as_object().unwrap().values();
    let operations: usize = items.map(|item| item.as_object().unwrap().len()).sum();
    assert!(told.contains(&format!("Tested: {}", operations - 1)), "{told}");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

on_both_backends! {
    async fn whoever_may_do_all_finds_every_answer_described(backend: Backend) {
        let privileges = ["--privilege", "space_manage_datasets", "--privilege", "space_remove_archives"];
        ask(backend, &[&["--role", "admin"][..], &privileges].concat()).await;
    }

    async fn whoever_may_do_little_finds_every_answer_described(backend: Backend) {
        ask(backend, &["--right", "archived:read"]).await;
    }
}
