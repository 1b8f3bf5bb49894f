//! Roots that share files through an overlay: neither paths nor inodes say so.

use super::{Scene, fill, uri};
use crate::harness::on_both_backends;
use crate::harness::roots::{Bind, MARKER, entries};
use crate::harness::server::Backend;
use std::fs;

impl Scene {
    /// A service whose root is an overlay of `lower` and `upper`, with a file of `one` in `lower`; `None` where nothing can be mounted.
    async fn overlaid(backend: Backend, options: &str) -> Option<(Self, Bind)> {
        let home = tempfile::tempdir().unwrap();
        for folder in ["lower", "second", "upper", "work", "root"] {
            fs::create_dir(home.path().join(folder)).unwrap();
        }
        fill(&home.path().join("lower/one"), 2);
        let overlay = Bind::overlay(home.path(), options, "root")?;
        Some((Self::start_in(backend, home, &[]).await, overlay))
    }
}

on_both_backends! {
    async fn a_root_and_an_overlay_of_it_are_refused_and_no_live_file_is_deleted_through_the_other(backend: Backend) {
        // The table of mounts names the folders, or means them from where they were mounted.
        for base in ["{}/", ""] {
            let options = format!("lowerdir={base}lower:{base}second,upperdir={base}upper,workdir={base}work");
            let Some((scene, overlay)) = Scene::overlaid(backend, &options).await else { return };
            let root = scene.path("root");
            assert_eq!(scene.delete(1, "one").await, 201);
            assert_eq!(scene.server.terminate().await, 0);
            // The root's own marker hides theirs.
            for other in ["lower", "second"] {
                let other = scene.path(other);
                for pair in [[&root, &other], [&other, &root]] {
                    let told = scene.refused(&pair.map(|path| uri(path))).await;
                    let last = told.lines().last().unwrap();
                    let names_both = pair.iter().all(|path| last.contains(&uri(path)));
                    assert!(names_both && last.contains("share files") && last.contains("--storage-root"), "{told}");
                    let roots = pair.map(|path| uri(path));
                    let (code, _, told) = scene.run(&["reconcile", "--fix", "--storage-root", &roots[0], "--storage-root", &roots[1]]).await;
                    assert_eq!(code, 2, "{told}");
                }
                fs::remove_file(other.join(MARKER)).unwrap_or_default();
            }
            assert_eq!(entries(&scene.path("lower/one")), ["0", "1"]);
            drop(overlay);
        }
    }

    async fn a_comparison_that_deletes_looks_itself_whether_roots_share_files(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        for folder in ["root", "second", "upper", "work"] {
            fs::create_dir(home.path().join(folder)).unwrap();
        }
        fill(&home.path().join("lower/one"), 2);
        let roots = ["lower", "root"].map(|root| uri(&home.path().join(root)));
        let args = ["--storage-root", &roots[0], "--storage-root", &roots[1]];
        let scene = Scene::start_in(backend, home, &args).await;
        assert_eq!(scene.delete(1, "one").await, 201);
        assert_eq!(scene.server.terminate().await, 0);
        // It shows the root's marker, and the other one's files.
        fs::copy(scene.path("root").join(MARKER), scene.path("upper").join(MARKER)).unwrap();
        let options = "lowerdir=lower:second,upperdir=upper,workdir=work";
        let Some(_overlay) = Bind::overlay(&scene.path(""), options, "root") else { return };
        let (code, _, told) = scene.run(&["reconcile", "--fix", args[0], args[1], args[2], args[3]]).await;
        assert!(code == 2 && told.contains("share files"), "{told}");
        assert!(roots.iter().all(|root| told.contains(root)), "{told}");
        assert_eq!(entries(&scene.path("lower/one")), ["0", "1"]);
    }

    async fn an_overlay_that_joins_two_roots_of_a_running_service_stops_their_purges(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        for folder in ["root", "upper", "work"] {
            fs::create_dir(home.path().join(folder)).unwrap();
        }
        fill(&home.path().join("other/two"), 1);
        fill(&home.path().join("root/one"), 2);
        let other = uri(&home.path().join("other"));
        let args = ["--storage-root", &other, "--storage-root", &uri(&home.path().join("root"))];
        let scene = Scene::start_in(backend, home, &args).await;
        assert_eq!(scene.delete(1, "one").await, 201);
        let options = "lowerdir={}/root:{}/other,upperdir={}/upper,workdir={}/work";
        let Some(overlay) = Bind::overlay(&scene.path(""), options, "root") else { return };
        scene.purge(1).await;
        let failed = scene.failed().await;
        assert!(failed["last_error"].as_str().unwrap().contains("an overlay is mounted"), "{failed}");
        let at = failed["obligations"][0]["failed_at"].as_str();
        assert_eq!(at, scene.path("root").to_str(), "{failed}");
        drop(overlay);
        assert_eq!(entries(&scene.path("root/one")), ["0", "1"]);
        scene.retry(&failed).await;
        assert_eq!(scene.purged(1).await, 2);
    }
}
