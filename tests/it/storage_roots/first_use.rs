//! Roots that a ledger meets for the first time, although it knows of storage below them: as one does that is older than the
//! markers, and whose volume is not mounted yet.

use super::{Scene, fill, uri};
use crate::harness::ledger::change;
use crate::harness::on_both_backends;
use crate::harness::roots::{MARKER, entries};
use std::fs;

impl Scene {
    /// Leaves the root as a version does that knows no markers, while nothing is served.
    async fn forget_root(&self) {
        assert_eq!(self.server.terminate().await, 0);
        fs::remove_file(self.path("root").join(MARKER)).unwrap();
        let statement = "DELETE FROM storage_roots";
        change(self.server.database_url(), &self.server.data_dir(), statement).await;
    }

    /// What anybody may read of the service names no path.
    async fn names_no_path(&self) {
        let readiness = self.readiness().await.to_string();
        let metrics = self
            .server
            .client()
            .get(self.server.url("/metrics"))
            .send()
            .await
            .unwrap();
        let (metrics, home) = (metrics.text().await.unwrap(), self.path("").display().to_string());
        let home = home.trim_end_matches('/');
        assert!(!readiness.contains(home), "{readiness}");
        assert!(!metrics.contains(home), "{metrics}");
        assert!(
            readiness.contains("storage root number 1 is unavailable: "),
            "{readiness}"
        );
        assert!(self.server.log().contains(home));
    }
}

on_both_backends! {
    async fn an_older_ledger_whose_root_is_not_mounted_marks_nothing_and_goes_on_when_it_is(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, away) = (scene.path("root"), scene.path("away"));
        for (number, place) in [(1, "one"), (2, "two"), (3, "three")] {
            fill(&root.join(place), 3);
            assert_eq!(scene.delete(number, place).await, 201);
        }
        // The mount point is empty, holds something that nobody knows, or is not there at all.
        for number in 1..=3 {
            scene.forget_root().await;
            fs::rename(&root, &away).unwrap();
            if number < 3 {
                fs::create_dir(&root).unwrap();
            }
            if number == 2 {
                fill(&root.join("stray"), 1);
            }
            scene.server.restart().await;
            scene.storage_is("unavailable").await;
            scene.names_no_path().await;
            assert_eq!(scene.delete(9, "new").await, 503);
            scene.purge(number).await;
            scene.waits().await;
            assert!(!root.join(MARKER).exists(), "the folder below the mount was marked");
            if number < 3 {
                fs::remove_dir_all(&root).unwrap();
            }
            fs::rename(&away, &root).unwrap();
            assert_eq!(scene.purged(number).await, 3);
            scene.storage_is("ok").await;
            assert!(root.join(MARKER).exists());
        }
        assert_eq!(entries(&root), [""; 0]);
    }

    async fn an_older_ledger_takes_the_root_that_has_its_storage_into_use(backend: Backend) {
        let scene = Scene::start(backend).await;
        let root = scene.path("root");
        fill(&root.join("tenant/deep/one"), 3);
        fill(&root.join("of somebody else"), 1);
        assert_eq!(scene.delete(1, "tenant/deep/one").await, 201);
        scene.forget_root().await;
        scene.server.restart().await;
        assert_eq!(scene.readiness().await["storage"], "ok");
        assert!(root.join(MARKER).exists());
        scene.purge(1).await;
        assert_eq!(scene.purged(1).await, 3);
    }

    async fn a_person_may_say_that_an_empty_folder_is_the_root_after_all(backend: Backend) {
        let scene = Scene::start(backend).await;
        let root = scene.path("root");
        assert_eq!(scene.delete(1, "one").await, 201);
        scene.forget_root().await;
        scene.server.restart().await;
        scene.storage_is("unavailable").await;
        let log = scene.server.log();
        let command = log.split("say so: ").nth(1).unwrap().split("'\"").next().unwrap();
        let command = command.lines().next().unwrap();
        let end = command.find(MARKER).unwrap() + MARKER.len() + 1;
        let command = command[..end].replace("\\\\n", "\\n");
        let said = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(said.success(), "{command}");
        scene.storage_is("ok").await;
        scene.purge(1).await;
        assert_eq!(scene.purged(1).await, 0);
        assert_eq!(entries(&root), [""; 0]);
    }

    async fn a_root_that_is_not_there_and_that_nothing_is_known_below_ends_the_start(backend: Backend) {
        let scene = Scene::start(backend).await;
        assert_eq!(scene.delete(1, "one").await, 201);
        assert_eq!(scene.server.terminate().await, 0);
        let missing = uri(&scene.path("missing"));
        let told = scene.refused(std::slice::from_ref(&missing)).await;
        let last = told.lines().last().unwrap();
        assert!(last.contains(&missing) && last.contains("--storage-root"), "{told}");
    }
}
