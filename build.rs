//! Tells the code which commit it is built from, where that is known: `SOURCE_COMMIT` (for a build without a checkout, such as an
//! image's), or the checkout's own.
//!
//! It runs again when another commit is checked out, and not otherwise; the same sources at the same commit give the same output.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of a fixed length: how much of it git shows by itself depends on what else is in the repository.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_COMMIT");
    let given = env::var("SOURCE_COMMIT").ok().and_then(|commit| digits(&commit));
    // What is built for daily work is not built anew with each commit.
    let released = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given
        .or_else(|| released.then(checked_out).flatten())
        .unwrap_or_default();
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let told = if commit.is_empty() {
        version
    } else {
        format!("{version} ({commit})")
    };
    println!("cargo::rustc-env=ARCHIVE_LEDGER_BUILD_COMMIT={commit}");
    println!("cargo::rustc-env=ARCHIVE_LEDGER_BUILD_VERSION={told}");
}

/// The commit that is checked out here; none where this is no checkout, or only lies within another project's.
fn checked_out() -> Option<String> {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?);
    let top = PathBuf::from(git(&here, &["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != here.canonicalize().ok()? {
        return None;
    }
    // The log of HEAD grows with each commit and checkout. Where none is kept, what HEAD names does. A file that is not there would have
    // this run with every build.
    let kept = ["logs/HEAD", "HEAD"].map(str::to_owned).into_iter();
    let branch = git(&here, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in kept.chain(branch).chain(["packed-refs".to_owned()]) {
        let path = git(&here, &["rev-parse", "--git-path", &name]).map(|path| here.join(path));
        if let Some(path) = path.filter(|path| path.exists()) {
            println!("cargo::rerun-if-changed={}", path.display());
            if name == "logs/HEAD" {
                break;
            }
        }
    }
    digits(&git(&here, &["rev-parse", "HEAD"])?)
}

fn digits(commit: &str) -> Option<String> {
    let commit = commit.trim();
    let hex = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| commit.chars().take(DIGITS).collect::<String>().to_lowercase())
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
