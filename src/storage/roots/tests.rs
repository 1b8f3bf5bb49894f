//! Which folders may be roots, what they are recognized by, and when they count as away.

mod layers;
mod overlap;

use super::identify::FirstUse;
use super::local_root::RootTrouble;
use super::marker::MARKER;
use super::overlap::Endpoints;
use crate::storage::blobs::Blobs;
use crate::storage::deletion::BlobErrorKind;
use crate::storage::roots::known::{KnownRoot, Numbers};
use crate::storage::roots::{RootError, StorageRoots};
use crate::storage::uri::UriRefusal;
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use uuid::Uuid;

const LEDGER: Uuid = Uuid::from_u128(0xa);
const OTHER: Uuid = Uuid::from_u128(0xb);

/// Folders, and a ledger that uses some of them as roots.
struct Scene {
    dir: tempfile::TempDir,
    next: Cell<u128>,
}

impl Scene {
    fn new(folders: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        Self {
            dir,
            next: Cell::new(1),
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn uri(&self, below: &str) -> String {
        format!("file://{}/{below}", self.dir.path().display())
    }

    fn roots(&self, below: &[&str]) -> Result<StorageRoots, RootError> {
        let roots: Vec<String> = below.iter().map(|below| self.uri(below)).collect();
        StorageRoots::parse(&roots)
    }

    fn identify(&self, roots: &StorageRoots, known: &[KnownRoot]) -> Result<Vec<KnownRoot>, RootError> {
        let new_id = || Uuid::from_u128(self.next.replace(self.next.get() + 1));
        roots.identify(LEDGER, known, &|_| FirstUse::Allowed, &new_id)
    }

    /// A start of the ledger with these roots; what it knows of them after that.
    fn start(
        &self,
        below: &[&str],
        known: &[KnownRoot],
    ) -> Result<(StorageRoots, Vec<KnownRoot>), RootError> {
        let roots = self.roots(below)?;
        let mut news = self.identify(&roots, known)?;
        news.extend(
            known
                .iter()
                .filter(|known| !news.iter().any(|new| new.uri == known.uri))
                .cloned()
                .collect::<Vec<_>>(),
        );
        Ok((roots, news))
    }

    fn marker(&self, root: &str) -> PathBuf {
        self.path(root).join(MARKER)
    }
}

fn refusal(outcome: Result<(StorageRoots, Vec<KnownRoot>), RootError>) -> String {
    outcome.map(drop).unwrap_err().to_string()
}

#[test]
fn a_root_is_marked_once_and_recognized_from_then_on() {
    let scene = Scene::new(&["a"]);
    let (roots, known) = scene.start(&["a"], &[]).unwrap();
    let marker = fs::read_to_string(scene.marker("a")).unwrap();
    assert_eq!(marker, format!("{LEDGER}\n{}\n", known[0].root_id));
    assert_eq!(known[0].numbers, None);
    assert_eq!(roots.unavailable(), 0);
    roots.check(&scene.uri("a/x")).unwrap();
    let (_, again) = scene.start(&["a"], &known).unwrap();
    assert_eq!(again, known);
    // Also by a database that has forgotten it, and under another path.
    let (_, anew) = scene.start(&["a"], &[]).unwrap();
    assert_eq!(anew, known);
    fs::rename(scene.path("a"), scene.path("moved")).unwrap();
    let (roots, moved) = scene.start(&["moved"], &known).unwrap();
    assert_eq!(moved[0].root_id, known[0].root_id);
    roots.check(&scene.uri("moved/x")).unwrap();
    assert_eq!(fs::read_to_string(scene.marker("moved")).unwrap(), marker);
}

#[test]
fn a_root_that_was_used_and_is_away_is_waited_for_and_one_that_never_was_is_refused() {
    let scene = Scene::new(&["a"]);
    let text = refusal(scene.start(&["never"], &[]));
    assert!(
        text.contains("does not exist") && text.contains(&scene.uri("never")),
        "{text}"
    );
    fs::write(scene.path("file"), "").unwrap();
    assert!(refusal(scene.start(&["file"], &[])).contains("it is no folder"));
    let (_, known) = scene.start(&["a"], &[]).unwrap();
    fs::rename(scene.path("a"), scene.path("away")).unwrap();
    let seen = |roots: &StorageRoots| {
        let refused = roots.check(&scene.uri("a/x")).err();
        (refused, roots.locals().next().unwrap().trouble())
    };
    let (roots, _) = scene.start(&["a"], &known).unwrap();
    assert_eq!(
        seen(&roots),
        (Some(UriRefusal::RootUnavailable), Some(RootTrouble::Missing))
    );
    // The folder that it is mounted at.
    fs::create_dir(scene.path("a")).unwrap();
    assert_eq!(
        seen(&roots),
        (Some(UriRefusal::RootUnavailable), Some(RootTrouble::Unmarked))
    );
    let (roots, _) = scene.start(&["a"], &known).unwrap();
    assert_eq!(
        seen(&roots),
        (Some(UriRefusal::RootUnavailable), Some(RootTrouble::Unmarked))
    );
    assert!(
        !scene.marker("a").exists(),
        "the folder below the mount was marked"
    );
    fs::write(scene.path("a/stray"), "").unwrap();
    assert_eq!(seen(&roots).0, Some(UriRefusal::RootUnavailable));
    fs::remove_dir_all(scene.path("a")).unwrap();
    fs::rename(scene.path("away"), scene.path("a")).unwrap();
    assert_eq!(seen(&roots), (None, None));
}

#[test]
fn a_marker_that_is_not_this_roots_is_refused_at_start_and_makes_a_running_one_unavailable() {
    let scene = Scene::new(&["a", "b"]);
    let (roots, known) = scene.start(&["a", "b"], &[]).unwrap();
    let (marker, content) = (scene.marker("a"), fs::read(scene.marker("a")).unwrap());
    let elsewhere = scene.path("elsewhere");
    fs::write(&elsewhere, &content).unwrap();
    let write = |content: &str| fs::write(&marker, content).unwrap();
    let wrongs: [(&dyn Fn(), &str); 9] = [
        (&|| write(&format!("{OTHER}\n")), "another ledger"),
        (
            &|| write(&format!("{OTHER}\n{}\n", Uuid::from_u128(1))),
            "another ledger",
        ),
        (&|| write(&format!("{LEDGER}\n{OTHER}\n")), "another root"),
        (&|| write(""), "no marker"),
        (&|| write("this is our root"), "no marker"),
        (&|| write(&"x".repeat(1 << 20)), "too large"),
        (&|| symlink(&elsewhere, &marker).unwrap(), "symbolic link"),
        (&|| fs::create_dir(&marker).unwrap(), "no regular file"),
        (
            &|| assert!(Command::new("mkfifo").arg(&marker).status().unwrap().success()),
            "no regular file",
        ),
    ];
    for (make, how) in wrongs {
        fs::remove_file(&marker).unwrap();
        assert_eq!(
            roots.check(&scene.uri("a/x")).err(),
            Some(UriRefusal::RootUnavailable),
            "{how}"
        );
        make();
        assert_eq!(
            roots.check(&scene.uri("a/x")).err(),
            Some(UriRefusal::RootUnavailable),
            "{how}"
        );
        roots.check(&scene.uri("b/x")).unwrap();
        for known in [&known[..], &[]] {
            if how == "another root" && known.is_empty() {
                continue;
            }
            let text = refusal(scene.start(&["a", "b"], known));
            assert!(text.contains(how) && text.contains(&scene.uri("a")), "{text}");
        }
        if marker.is_dir() {
            fs::remove_dir(&marker).unwrap();
        } else {
            fs::remove_file(&marker).unwrap();
        }
        fs::write(&marker, &content).unwrap();
        roots.check(&scene.uri("a/x")).unwrap();
    }
    // A person may say that it is the root without knowing which.
    write(&format!("{LEDGER}\n"));
    roots.check(&scene.uri("a/x")).unwrap();
    assert_eq!(scene.start(&["a", "b"], &known).unwrap().1.len(), 2);
}

#[test]
fn two_roots_that_have_changed_places_are_both_away() {
    let scene = Scene::new(&["a", "b"]);
    let (roots, known) = scene.start(&["a", "b"], &[]).unwrap();
    fs::rename(scene.path("a"), scene.path("c")).unwrap();
    fs::rename(scene.path("b"), scene.path("a")).unwrap();
    fs::rename(scene.path("c"), scene.path("b")).unwrap();
    for root in ["a", "b"] {
        let refused = roots.check(&scene.uri(&format!("{root}/x"))).err();
        assert_eq!(refused, Some(UriRefusal::RootUnavailable), "{root}");
    }
    assert!(refusal(scene.start(&["a", "b"], &known)).contains("another root"));
}

#[test]
fn a_copy_of_a_root_is_not_a_second_root() {
    let scene = Scene::new(&["a", "b"]);
    let (_, known) = scene.start(&["a"], &[]).unwrap();
    fs::copy(scene.marker("a"), scene.marker("b")).unwrap();
    let text = refusal(scene.start(&["a", "b"], &known));
    assert!(
        text.contains(&scene.uri("a")) && text.contains(&scene.uri("b")),
        "{text}"
    );
    fs::remove_file(scene.marker("b")).unwrap();
    scene.start(&["a", "b"], &known).unwrap();
}

/// What the database remembers of a root that could not be marked.
fn unmarked(scene: &Scene, root: &str, change: impl FnOnce(&mut Numbers)) -> KnownRoot {
    let (_, known) = scene.start(&[root], &[]).unwrap();
    fs::remove_file(scene.marker(root)).unwrap();
    let meta = fs::metadata(scene.path(root)).unwrap();
    let born = meta.created().ok();
    let mut numbers = Numbers {
        device: meta.dev(),
        inode: meta.ino(),
        born: born.map(|born| {
            let since = born.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
            i64::try_from(since.as_nanos()).unwrap()
        }),
    };
    change(&mut numbers);
    KnownRoot {
        numbers: Some(numbers),
        ..known[0].clone()
    }
}

#[test]
fn a_root_without_a_marker_is_recognized_by_its_numbers_and_marked_once_it_can_be() {
    let scene = Scene::new(&["a"]);
    let known = unmarked(&scene, "a", |_| {});
    let roots = scene.roots(&["a"]).unwrap();
    roots.expect_all(LEDGER, std::slice::from_ref(&known));
    roots.check(&scene.uri("a/x")).unwrap();
    let (roots, now) = scene.start(&["a"], std::slice::from_ref(&known)).unwrap();
    assert_eq!((now[0].root_id, now[0].numbers), (known.root_id, None));
    fs::remove_file(scene.marker("a")).unwrap();
    assert_eq!(
        roots.check(&scene.uri("a/x")).err(),
        Some(UriRefusal::RootUnavailable)
    );
}

#[test]
fn a_root_without_a_marker_whose_folder_is_another_one_is_away_until_a_person_marks_it() {
    for change in [
        (|numbers| numbers.inode += 1) as fn(&mut Numbers),
        |numbers| numbers.born = Some(1),
        |numbers| (numbers.device, numbers.born) = (numbers.device + 1, None),
    ] {
        let scene = Scene::new(&["a"]);
        let known = unmarked(&scene, "a", change);
        let (roots, _) = scene.start(&["a"], std::slice::from_ref(&known)).unwrap();
        assert_eq!(
            roots.check(&scene.uri("a/x")).err(),
            Some(UriRefusal::RootUnavailable)
        );
        let root = roots.locals().next().unwrap();
        assert_eq!(root.trouble(), Some(RootTrouble::OtherFolder));
        assert!(
            !scene.marker("a").exists(),
            "it was marked although nobody knows it"
        );
        // As the log tells a person to do.
        let advice = root.advice(RootTrouble::OtherFolder);
        let (_, command) = advice.split_once("printf").unwrap();
        let done = Command::new("sh")
            .arg("-c")
            .arg(format!("printf{command}"))
            .status();
        assert!(done.unwrap().success(), "{advice}");
        roots.check(&scene.uri("a/x")).unwrap();
        let (_, now) = scene.start(&["a"], std::slice::from_ref(&known)).unwrap();
        assert_eq!((now[0].root_id, now[0].numbers), (known.root_id, None));
    }
}

#[test]
fn whoever_only_compares_takes_no_root_into_use() {
    let scene = Scene::new(&["a", "b"]);
    let (_, known) = scene.start(&["a"], &[]).unwrap();
    let roots = scene.roots(&["a", "b"]).unwrap();
    let error = roots.identify(LEDGER, &known, &|_| FirstUse::Refused, &|| unreachable!());
    assert!(matches!(error, Err(RootError::NeverUsed { .. })), "{error:?}");
    assert!(!scene.marker("b").exists());
    let roots = scene.roots(&["a"]).unwrap();
    roots
        .identify(LEDGER, &known, &|_| FirstUse::Refused, &|| unreachable!())
        .unwrap();
    assert!(roots.first_unavailable().is_none());
    fs::remove_file(scene.marker("a")).unwrap();
    let error = roots.first_unavailable().unwrap().to_string();
    assert!(
        error.contains("not mounted") && error.contains("printf"),
        "{error}"
    );
}

#[test]
fn a_root_inside_another_ledgers_root_is_refused() {
    let scene = Scene::new(&["outer/a/b"]);
    symlink("outer/a/b", scene.path("link")).unwrap();
    fs::write(scene.marker("outer"), format!("{OTHER}\n")).unwrap();
    for root in ["outer/a/b", "link", "outer/a"] {
        let text = refusal(scene.start(&[root], &[]));
        assert!(
            text.contains("inside") && text.contains(&OTHER.to_string()),
            "{text}"
        );
    }
    assert!(!scene.marker("outer/a/b").exists());
    // One that this ledger has given up for a smaller one.
    fs::write(scene.marker("outer"), format!("{LEDGER}\n")).unwrap();
    scene.start(&["outer/a"], &[]).unwrap();
}

#[tokio::test]
async fn a_purge_leaves_a_folder_that_is_another_root_and_takes_a_copy_of_this_roots_marker() {
    let scene = Scene::new(&["a"]);
    let (roots, known) = scene.start(&["a"], &[]).unwrap();
    let blobs = Blobs::with_stores(roots, None);
    let other_root = Uuid::from_u128(0xff);
    for content in [
        format!("{OTHER}\n"),
        format!("{OTHER}\n{}", known[0].root_id),
        format!("{LEDGER}\n{other_root}\n"),
    ] {
        for place in ["a/entity", "a/entity/deep"] {
            touch(&scene.path("a/entity/deep/1"));
            touch(&scene.path("a/entity/beside/1"));
            fs::write(scene.marker(place), &content).unwrap();
            let error = blobs.purge(&scene.uri("a/entity"), &|_| {}).await.unwrap_err();
            let held = matches!(error.kind, BlobErrorKind::Refused(UriRefusal::HoldsRoot));
            assert!(held && !error.retryable, "{error:?}");
            // What is named itself is told by its URI.
            let told = scene
                .path(place)
                .to_str()
                .filter(|_| place != "a/entity")
                .map(ToOwned::to_owned);
            assert_eq!(error.at, told);
            assert!(scene.path("a/entity/deep/1").exists() && scene.marker(place).exists());
            fs::remove_file(scene.marker(place)).unwrap();
        }
    }
    for content in [
        format!("{LEDGER}\n{}\n", known[0].root_id),
        "what an entity calls so".to_owned(),
    ] {
        touch(&scene.path("a/entity/1"));
        fs::write(scene.marker("a/entity"), content).unwrap();
        blobs.purge(&scene.uri("a/entity"), &|_| {}).await.unwrap();
        assert!(!scene.path("a/entity").exists());
    }
}

#[test]
fn a_root_that_does_not_answer_is_left_alone_until_somebody_gets_through() {
    let scene = Scene::new(&["a", "b"]);
    let (roots, known) = scene.start(&["a", "b"], &[]).unwrap();
    let root = roots.locals().next().unwrap();
    root.give_up_on();
    assert_eq!(
        roots.check(&scene.uri("a/x")).err(),
        Some(UriRefusal::RootUnavailable)
    );
    roots.check(&scene.uri("b/x")).unwrap();
    assert_eq!(
        (roots.unavailable(), root.trouble()),
        (1, Some(RootTrouble::Silent))
    );
    assert!(
        roots.warnings()[0].contains("does not answer"),
        "{:?}",
        roots.warnings()
    );
    assert!(root.open_anyway().is_ok());
    roots.check(&scene.uri("a/x")).unwrap();
    // From the start on: known it is waited for, and never used it is refused.
    for (known, starts) in [(&known[..], true), (&[], false)] {
        let roots = scene.roots(&["a", "b"]).unwrap();
        roots.locals().next().unwrap().give_up_on();
        assert_eq!(scene.identify(&roots, known).is_ok(), starts);
    }
}

fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "x").unwrap();
}

#[tokio::test]
async fn a_purge_and_a_look_wait_for_a_root_that_is_away_and_go_on_once_it_is_back() {
    let scene = Scene::new(&["a"]);
    touch(&scene.path("a/entity/1"));
    let (roots, _) = scene.start(&["a"], &[]).unwrap();
    let blobs = Blobs::with_stores(roots, None);
    let uri = scene.uri("a/entity");
    for marker in [scene.marker("a"), scene.path("a")] {
        let aside = scene.path("aside");
        fs::rename(&marker, &aside).unwrap();
        if marker == scene.path("a") {
            fs::create_dir(&marker).unwrap();
        }
        for uri in [&uri, &scene.uri("a/never")] {
            let error = blobs.purge(uri, &|_| {}).await.unwrap_err();
            assert!(error.retryable && error.kind.waits_for_root(), "{error:?}");
            let error = blobs.exists(uri).await.unwrap_err();
            assert!(error.waits_for_root(), "{error:?}");
        }
        let mut walk = blobs.walk(&blobs.trees()[0]);
        let first = walk.recv().await.unwrap().unwrap_err();
        assert!(matches!(first.kind, BlobErrorKind::RootUnavailable), "{first:?}");
        assert!(walk.recv().await.is_none());
        if marker == scene.path("a") {
            fs::remove_dir(&marker).unwrap();
        }
        fs::rename(&aside, &marker).unwrap();
    }
    assert!(blobs.exists(&uri).await.unwrap() && !blobs.exists(&scene.uri("a/never")).await.unwrap());
    let mut walk = blobs.walk(&blobs.trees()[0]);
    let met = walk.recv().await.unwrap().unwrap();
    assert!(met.name.ends_with("a/entity/1"), "{met:?}");
    assert!(walk.recv().await.is_none(), "the marker is nobody's object");
    // Of something that is not there in a root that is whole, nothing is left.
    assert_eq!(
        blobs.purge(&scene.uri("a/never"), &|_| {}).await.unwrap().objects,
        0
    );
    assert_eq!(blobs.purge(&uri, &|_| {}).await.unwrap().objects, 1);
    assert!(scene.marker("a").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_that_is_replaced_while_a_purge_runs_is_not_said_to_be_clean() {
    let scene = Scene::new(&["a", "copy"]);
    for number in 0..3_000 {
        touch(&scene.path(&format!("a/entity/{}/{number}", number % 30)));
    }
    touch(&scene.path("copy/entity/1"));
    let (roots, _) = scene.start(&["a"], &[]).unwrap();
    // What stands at the path in the end has the marker too, and the entity's files.
    fs::copy(scene.marker("a"), scene.marker("copy")).unwrap();
    let blobs = Blobs::with_stores(roots, None);
    let replaced = std::sync::Once::new();
    let (a, was, copy) = (scene.path("a"), scene.path("was"), scene.path("copy"));
    let swap = || {
        fs::rename(&a, &was).unwrap();
        fs::rename(&copy, &a).unwrap();
    };
    let error = blobs
        .purge(&scene.uri("a/entity"), &|_| replaced.call_once(swap))
        .await
        .unwrap_err();
    assert!(error.kind.waits_for_root() && error.done.objects > 0, "{error:?}");
    assert!(scene.path("a/entity/1").exists());
    assert_eq!(
        blobs
            .purge(&scene.uri("a/entity"), &|_| {})
            .await
            .unwrap()
            .objects,
        1
    );
}
