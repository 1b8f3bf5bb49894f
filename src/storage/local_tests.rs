//! What a purge of a local folder removes, and what it leaves alone.

use super::blobs::Blobs;
use super::local;
use super::progress::Progress;
use super::roots::StorageRoots;
use super::uri::{Place, StorageUri, UriRefusal};
use crate::storage::deletion::{BlobError, BlobErrorKind, Cleaned};
use crate::storage::roots::identify::FirstUse;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// What follows the check of a URI, later.
async fn purge_checked(checked: &StorageUri, roots: &Arc<StorageRoots>) -> Result<Cleaned, BlobError> {
    let Place::Local(place) = checked.place() else {
        panic!("it is in no folder");
    };
    local::purge(place, roots, &Progress::new(&|_| {})).await
}

struct Scene {
    dir: tempfile::TempDir,
    blobs: Blobs,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root")).unwrap();
        let blobs = Blobs::with_stores(roots(dir.path()), None);
        Self { dir, blobs }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("root").join(below)
    }

    fn uri(&self, below: &str) -> String {
        format!("file://{}/root/{below}", self.dir.path().display())
    }

    fn write(&self, below: &str, content: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    async fn purge(&self, below: &str) -> Result<Cleaned, BlobErrorKind> {
        self.blobs
            .purge(&self.uri(below), &|_| {})
            .await
            .map_err(|e| e.kind)
    }
}

/// The storage root `root` in `dir`, as the first start of a ledger finds it.
fn roots(dir: &Path) -> StorageRoots {
    let roots = StorageRoots::parse(&[format!("file://{}/root", dir.display())]).unwrap();
    let id = || Uuid::from_u128(2);
    roots
        .identify(Uuid::from_u128(1), &[], &|_| FirstUse::Allowed, &id)
        .unwrap();
    roots
}

#[tokio::test]
async fn a_folder_goes_with_everything_in_it_and_its_siblings_stay() {
    let scene = Scene::new();
    scene.write("entity/a", "123");
    scene.write("entity/b/c/d", "4567");
    scene.write("entity/b/.hidden", "");
    scene.write("entity/odd \n\t%2e name", "x");
    fs::create_dir_all(scene.path("entity/empty/er")).unwrap();
    scene.write("entity-sibling/a", "stays");
    scene.write("entity2", "stays");
    let cleaned = scene.purge("entity").await.unwrap();
    assert_eq!(cleaned, Cleaned { objects: 4, bytes: 8 });
    assert!(!scene.path("entity").exists());
    assert!(scene.path("entity-sibling/a").exists() && scene.path("entity2").exists());
}

#[tokio::test]
async fn a_single_file_goes_alone() {
    let scene = Scene::new();
    scene.write("folder/one", "12345");
    scene.write("folder/two", "stays");
    assert_eq!(
        scene.purge("folder/one").await.unwrap(),
        Cleaned { objects: 1, bytes: 5 }
    );
    assert!(!scene.path("folder/one").exists() && scene.path("folder/two").exists());
}

#[tokio::test]
async fn what_is_gone_already_is_a_success_with_nothing_counted() {
    let scene = Scene::new();
    scene.write("file", "x");
    for below in ["never", "never/was/there", "file/below/a/file"] {
        assert_eq!(scene.purge(below).await.unwrap(), Cleaned::default(), "{below}");
    }
    assert!(scene.path("file").exists());
}

#[tokio::test]
async fn links_inside_the_folder_are_removed_and_never_followed() {
    let scene = Scene::new();
    let outside = scene.dir.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("precious"), "stays").unwrap();
    scene.write("sibling/precious", "stays");
    scene.write("entity/a", "1");
    symlink(&outside, scene.path("entity/absolute")).unwrap();
    symlink("../../outside", scene.path("entity/relative")).unwrap();
    symlink("../sibling", scene.path("entity/sibling")).unwrap();
    symlink("../sibling/precious", scene.path("entity/file")).unwrap();
    symlink("/nowhere", scene.path("entity/dangling")).unwrap();
    symlink(".", scene.path("entity/loop")).unwrap();
    assert_eq!(
        scene.purge("entity").await.unwrap(),
        Cleaned { objects: 1, bytes: 1 }
    );
    assert!(!scene.path("entity").exists());
    assert!(outside.join("precious").exists() && scene.path("sibling/precious").exists());
}

#[tokio::test]
async fn a_link_put_in_place_after_the_check_is_not_followed() {
    let scene = Scene::new();
    let outside = scene.dir.path().join("outside");
    fs::create_dir_all(outside.join("entity")).unwrap();
    fs::write(outside.join("entity/precious"), "stays").unwrap();
    scene.write("parent/entity/a", "1");
    scene.write("sibling/entity/precious", "stays");
    let roots = roots(scene.dir.path());
    let checked = roots.check(&scene.uri("parent/entity")).unwrap();
    let roots = Arc::new(roots);
    for target in [&outside, &PathBuf::from("sibling")] {
        // First the folder above becomes a link, then the folder itself.
        fs::rename(scene.path("parent"), scene.path("parent.was")).unwrap();
        symlink(target, scene.path("parent")).unwrap();
        let error = purge_checked(&checked, &roots).await.unwrap_err();
        assert!(
            matches!(error.kind, BlobErrorKind::Refused(UriRefusal::Symlink)),
            "{error}"
        );
        fs::remove_file(scene.path("parent")).unwrap();
        fs::rename(scene.path("parent.was"), scene.path("parent")).unwrap();

        fs::rename(scene.path("parent/entity"), scene.path("entity.was")).unwrap();
        symlink(target, scene.path("parent/entity")).unwrap();
        let error = purge_checked(&checked, &roots).await.unwrap_err();
        assert!(
            matches!(error.kind, BlobErrorKind::Refused(UriRefusal::Symlink)),
            "{error}"
        );
        assert!(!error.retryable);
        fs::remove_file(scene.path("parent/entity")).unwrap();
        fs::rename(scene.path("entity.was"), scene.path("parent/entity")).unwrap();
    }
    assert!(outside.join("entity/precious").exists() && scene.path("sibling/entity/precious").exists());
    assert_eq!(purge_checked(&checked, &roots).await.unwrap().objects, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_swapped_in_while_a_purge_runs_lead_it_nowhere() {
    let scene = Scene::new();
    let outside = scene.dir.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    for i in 0..200 {
        fs::write(outside.join(format!("precious-{i}")), "stays").unwrap();
    }
    for i in 0..2_000 {
        scene.write(&format!("entity/{}/{i}", i % 20), "x");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (entity, target, stopped) = (scene.path("entity"), outside.clone(), stop.clone());
    let swapper = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            for i in 0..20 {
                let (dir, away) = (entity.join(i.to_string()), entity.join(format!("away-{i}")));
                if fs::rename(&dir, &away).is_ok() {
                    let _ = symlink(&target, &dir);
                    let _ = fs::remove_file(&dir);
                    let _ = fs::rename(&away, &dir);
                }
            }
        }
    });
    let first = scene.blobs.purge(&scene.uri("entity"), &|_| {}).await;
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    // The swapper may have put something back; a purge is repeated until it succeeds.
    if let Err(error) = first {
        assert!(error.retryable, "{error}");
    }
    scene.purge("entity").await.unwrap();
    assert!(!scene.path("entity").exists());
    assert_eq!(fs::read_dir(outside).unwrap().count(), 200);
}

#[tokio::test]
async fn a_tree_deeper_than_any_path_goes_with_few_open_folders() {
    let scene = Scene::new();
    fs::create_dir_all(scene.path("entity")).unwrap();
    // Deeper than PATH_MAX, so that it has to be built through directory handles, as it is removed.
    let root =
        cap_std::fs::Dir::open_ambient_dir(scene.path("entity"), cap_std::ambient_authority()).unwrap();
    let mut dir = root.try_clone().unwrap();
    for _ in 0..3_000 {
        dir.create_dir("deeper").unwrap();
        dir.write("file", "x").unwrap();
        dir = dir.open_dir("deeper").unwrap();
    }
    // A name that this purge would use itself, left by one that was cut off.
    root.create_dir(".purging-0").unwrap();
    root.write(".purging-0/file", "x").unwrap();
    drop((root, dir));
    assert_eq!(
        scene.purge("entity").await.unwrap(),
        Cleaned {
            objects: 3_001,
            bytes: 3_001
        }
    );
    assert!(!scene.path("entity").exists());
}

#[tokio::test]
async fn progress_is_the_sum_so_far_and_ends_with_the_outcome() {
    let scene = Scene::new();
    for i in 0..2_500 {
        scene.write(&format!("entity/{}/{i}", i % 7), "ab");
    }
    let told = Mutex::new(Vec::new());
    let cleaned = scene
        .blobs
        .purge(&scene.uri("entity"), &|c| told.lock().unwrap().push(c.objects))
        .await
        .unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            objects: 2_500,
            bytes: 5_000
        }
    );
    assert_eq!(*told.lock().unwrap(), [1_000, 2_000, 2_500]);
}

#[tokio::test]
async fn a_file_that_may_not_be_removed_keeps_nothing_else_alive() {
    let scene = Scene::new();
    scene.write("entity/a", "1");
    scene.write("entity/locked/b", "2");
    scene.write("entity/z", "3");
    fs::set_permissions(scene.path("entity/locked"), fs::Permissions::from_mode(0o555)).unwrap();
    let privileged = fs::write(scene.path("entity/locked/probe"), "").is_ok();
    let outcome = scene.blobs.purge(&scene.uri("entity"), &|_| {}).await;
    if privileged {
        // Permissions stop no privileged user, for example in a container that tests run in.
        outcome.unwrap();
        return;
    }
    let error = outcome.unwrap_err();
    assert!(
        matches!(error.kind, BlobErrorKind::PermissionDenied) && !error.retryable,
        "{error:?}"
    );
    assert_eq!(error.done, Cleaned { objects: 2, bytes: 2 });
    assert_eq!(error.to_string(), "permission denied");
    fs::set_permissions(scene.path("entity/locked"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(scene.purge("entity").await.unwrap().objects, 1);
}

#[tokio::test]
async fn a_missing_root_is_never_taken_for_a_clean_one() {
    let scene = Scene::new();
    scene.write("entity/a", "1");
    let roots = roots(scene.dir.path());
    let checked = roots.check(&scene.uri("entity")).unwrap();
    let roots = Arc::new(roots);
    fs::rename(scene.dir.path().join("root"), scene.dir.path().join("unmounted")).unwrap();
    let error = purge_checked(&checked, &roots).await.unwrap_err();
    assert!(matches!(error.kind, BlobErrorKind::RootUnavailable) && error.retryable);
    let error = scene
        .blobs
        .purge(&scene.uri("entity"), &|_| {})
        .await
        .unwrap_err();
    assert!(matches!(error.kind, BlobErrorKind::Refused(UriRefusal::RootUnavailable)) && error.retryable);
}

#[tokio::test]
async fn a_refused_uri_is_a_terminal_error_that_does_not_repeat_it() {
    let scene = Scene::new();
    let error = scene
        .blobs
        .purge(&scene.uri("../jane-doe"), &|_| {})
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the storage URI is refused: it holds a dot segment"
    );
    assert!(!error.retryable);
}

#[tokio::test]
async fn special_files_go_uncounted() {
    let scene = Scene::new();
    scene.write("entity/a", "1");
    let socket = std::os::unix::net::UnixListener::bind(scene.path("entity/socket")).unwrap();
    assert_eq!(
        scene.purge("entity").await.unwrap(),
        Cleaned { objects: 1, bytes: 1 }
    );
    drop(socket);
    assert!(!scene.path("entity").exists());
}
