//! Roots that share files through overlays.

use super::*;

/// A mount, until it is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Folders that overlays are made of.
const FOLDERS: [&str; 9] = [
    "lower/sub",
    "lower/other",
    "second/sub",
    "upper/more",
    "work",
    "merged",
    "bound",
    "upper2",
    "work2",
];

const ALL: &str = "lowerdir={}/lower:{}/second,upperdir={}/upper,workdir={}/work";

impl Scene {
    /// Mounts an overlay; `None`, with a line that says so, where this process may not.
    fn overlay(&self, options: &str, at: &str) -> Option<Mounted> {
        fs::create_dir_all(self.path(at)).unwrap();
        let options = options.replace("{}", self.dir.path().to_str().unwrap());
        self.mount(&["-t", "overlay", "overlay", "-o", &options], at)
    }

    fn bind(&self, from: &str, at: &str) -> Option<Mounted> {
        self.mount(&["--bind", from], at)
    }

    fn mount(&self, args: &[&str], at: &str) -> Option<Mounted> {
        let mounted = Command::new("mount")
            .args(args)
            .arg(at)
            .current_dir(self.dir.path())
            .output();
        if mounted.as_ref().is_ok_and(|output| output.status.success()) {
            return Some(Mounted(self.path(at)));
        }
        eprintln!("NOT RUN: nothing can be mounted here: {mounted:?}");
        None
    }

    /// Expects that no start has these two roots, in either order.
    fn joined(&self, pair: [&str; 2], known: &[KnownRoot], hows: &[&str]) {
        let [one, other] = pair;
        for pair in [[one, other], [other, one]] {
            let text = refusal(self.start(&pair, known));
            assert!(hows.iter().any(|how| text.contains(how)), "{pair:?}: {text}");
            for root in pair {
                assert!(text.contains(&self.uri(root)), "{pair:?}: {text}");
            }
        }
    }

    fn no_marker_in(&self, folders: &[&str]) {
        for folder in folders {
            assert!(!self.marker(folder).exists(), "{folder} was marked");
        }
    }
}

#[test]
fn an_overlay_and_its_layers_are_no_two_roots_and_none_is_marked() {
    let scene = Scene::new(&FOLDERS);
    let Some(_merged) = scene.overlay(ALL, "merged") else {
        return;
    };
    let _bound = scene.bind("merged/sub", "bound").unwrap();
    for pair in [
        ["lower", "merged"],
        ["lower/sub", "merged"],
        ["lower", "merged/sub"],
        ["lower/sub", "merged/sub"],
        ["second/sub", "merged"],
        ["upper", "merged"],
        ["upper/more", "merged"],
        ["upper", "merged/sub"],
        ["work", "merged"],
        ["lower", "bound"],
        ["second/sub", "bound"],
        ["upper", "bound"],
    ] {
        scene.joined(pair, &[], &["is an overlay by which"]);
    }
    scene.no_marker_in(&[
        "lower",
        "lower/sub",
        "second/sub",
        "upper",
        "upper/more",
        "merged",
        "bound",
    ]);
    // What is deleted in one of these changes nothing in the other.
    let apart = [
        ["lower/other", "merged/sub"],
        ["lower/other", "bound"],
        ["lower/sub", "second/sub"],
    ];
    for pair in apart.into_iter().chain([["merged/sub", "merged/other"]]) {
        let scene = Scene::new(&FOLDERS);
        let _merged = scene.overlay(ALL, "merged").unwrap();
        let _bound = scene.bind("merged/sub", "bound").unwrap();
        scene.start(&pair, &[]).unwrap();
    }
}

#[test]
fn two_overlays_of_one_folder_are_two_roots_and_an_overlay_of_an_overlay_is_none_beside_it() {
    let scene = Scene::new(&FOLDERS);
    let Some(_merged) = scene.overlay(ALL, "merged") else {
        return;
    };
    let other = "lowerdir={}/lower,upperdir={}/upper2,workdir={}/work2";
    let beside = scene.overlay(other, "beside").unwrap();
    let (_, known) = scene.start(&["merged/sub", "beside/sub"], &[]).unwrap();
    assert_eq!(known.len(), 2);
    drop(beside);

    let scene = Scene::new(&FOLDERS);
    let _merged = scene.overlay(ALL, "merged").unwrap();
    let _over = scene
        .overlay("lowerdir={}/merged,upperdir={}/upper2,workdir={}/work2", "over")
        .unwrap();
    for root in ["lower", "second", "upper/more", "merged", "merged/sub", "upper2"] {
        scene.joined(["over", root], &[], &["is an overlay by which"]);
    }
    scene.start(&["over/sub", "lower/other"], &[]).unwrap();
}

#[test]
fn an_overlay_that_hides_its_own_layer_is_no_root_beside_that() {
    let scene = Scene::new(&FOLDERS);
    let Some(_bound) = scene.bind("lower", "bound") else {
        return;
    };
    let _over = scene
        .overlay("lowerdir={}/lower,upperdir={}/upper2,workdir={}/work2", "lower")
        .unwrap();
    scene.joined(["bound", "lower"], &[], &["is an overlay by which"]);
    scene.joined(["bound", "lower/sub"], &[], &["is an overlay by which"]);
    scene.no_marker_in(&["bound", "lower"]);
    scene.start(&["bound/other", "lower/sub"], &[]).unwrap();
}

#[test]
fn what_is_written_into_one_root_and_shows_in_another_tells_what_the_table_of_mounts_does_not() {
    let relative = "lowerdir=lower:second,upperdir=upper,workdir=work";
    for pair in [
        ["merged", "lower"],
        ["merged", "second"],
        ["merged/sub", "lower"],
        ["merged", "lower/sub"],
        ["merged", "upper/more"],
    ] {
        let scene = Scene::new(&FOLDERS);
        let Some(merged) = scene.overlay(relative, "merged") else {
            return;
        };
        let [shown, layer] = pair;
        let text = refusal(scene.start(&pair, &[]));
        assert!(
            pair.iter().all(|root| text.contains(&scene.uri(root))),
            "{pair:?}: {text}"
        );
        let hows = ["share files", "the first lies inside the second"];
        assert!(hows.iter().any(|how| text.contains(how)), "{text}");
        // Each has a marker of its own by now, which hides the other's.
        scene.joined(pair, &[], &hows);
        for root in pair {
            let left = fs::read_dir(scene.path(root))
                .unwrap()
                .map(|entry| entry.unwrap().file_name());
            let left = left.filter(|name| name.to_str().unwrap().starts_with(&format!("{MARKER}.")));
            assert_eq!(left.count(), 0, "{root}");
        }
        drop(merged);
        fs::create_dir_all(scene.path(shown)).unwrap();
        fs::remove_file(scene.marker(layer)).unwrap();
        scene.start(&pair, &[]).unwrap();
    }
}

#[test]
fn a_root_that_was_used_before_counts_as_one_that_an_overlay_may_join() {
    let scene = Scene::new(&FOLDERS);
    let Some(merged) = scene.overlay(ALL, "merged") else {
        return;
    };
    let (_, known) = scene.start(&["merged"], &[]).unwrap();
    for root in ["lower", "lower/sub", "second", "upper/more"] {
        let text = refusal(scene.start(&[root], &known));
        assert!(
            text.contains(&scene.uri(root)) && text.contains(&scene.uri("merged")),
            "{text}"
        );
    }
    // That is where the root's files are: it has moved.
    let (_, moved) = scene.start(&["upper"], &known).unwrap();
    assert_eq!(moved[0].root_id, known[0].root_id);
    drop(merged);
    scene.start(&["second"], &known).unwrap();
}

#[test]
fn folders_that_show_each_others_markers_are_refused_at_the_first_start_as_well() {
    // As two mounts of one network export: a bind mount would be told by its inode.
    let passing = "lowerdir=second,upperdir=upper,workdir=work";
    for pair in [
        ["merged", "upper"],
        ["merged/more", "upper"],
        ["merged", "upper/more"],
    ] {
        let scene = Scene::new(&FOLDERS);
        let Some(_merged) = scene.overlay(passing, "merged") else {
            return;
        };
        let [one, other] = pair;
        for pair in [[one, other], [other, one]] {
            let text = refusal(scene.start(&pair, &[]));
            assert!(
                pair.iter().all(|root| text.contains(&scene.uri(root))),
                "{pair:?}: {text}"
            );
            for root in pair {
                let _ = fs::remove_file(scene.marker(root));
            }
        }
        // A person has written that it is the ledger's, and not which root.
        fs::write(scene.marker("upper"), format!("{LEDGER}\n")).unwrap();
        let roots = scene.roots(&["upper"]).unwrap();
        let news = scene.identify(&roots, &[]).unwrap();
        roots.complete_markers();
        let marker = fs::read_to_string(scene.marker("upper")).unwrap();
        assert_eq!(marker, format!("{LEDGER}\n{}\n", news[0].root_id));
    }
}

#[tokio::test]
async fn a_purge_deletes_nothing_where_an_overlay_has_joined_its_root_with_another_since() {
    let scene = Scene::new(&["a", "b", "upper", "work"]);
    touch(&scene.path("a/entity/1"));
    touch(&scene.path("b/entity/1"));
    let (roots, _) = scene.start(&["a", "b"], &[]).unwrap();
    let blobs = Blobs::with_stores(roots, None);
    // It still shows the marker of its own.
    let Some(over) = scene.overlay("lowerdir={}/b:{}/a,upperdir={}/upper,workdir={}/work", "b") else {
        return;
    };
    for root in ["a", "b"] {
        let error = blobs
            .purge(&scene.uri(&format!("{root}/entity")), &|_| {})
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind, BlobErrorKind::SharedRoot) && !error.retryable,
            "{error:?}"
        );
        assert_eq!(error.at.as_deref(), scene.path("b").to_str());
        assert!(scene.path(root).join("entity/1").exists());
    }
    drop(over);
    for root in ["a", "b"] {
        assert_eq!(
            blobs
                .purge(&scene.uri(&format!("{root}/entity")), &|_| {})
                .await
                .unwrap()
                .objects,
            1
        );
    }
}

#[test]
fn a_root_through_which_the_ledgers_own_folder_would_change_is_refused() {
    let scene = Scene::new(&FOLDERS);
    let Some(_merged) = scene.overlay(ALL, "merged") else {
        return;
    };
    fs::create_dir_all(scene.path("merged/data/storage")).unwrap();
    for (own, root, refused) in [
        ("merged/sub", "lower", true),
        ("merged/sub", "second/sub", true),
        ("upper/more", "merged", true),
        ("merged/data", "upper", true),
        ("lower/sub", "merged/sub", false),
        ("merged/sub", "lower/other", false),
        // Its walk knows the folder by its inode.
        ("merged/data", "merged", false),
    ] {
        let roots = scene
            .roots(&[root])
            .unwrap()
            .protecting(&scene.path(own))
            .unwrap();
        let outcome = scene.identify(&roots, &[]);
        match outcome {
            Err(error) => assert!(
                refused && matches!(error, RootError::ChangesOwn { .. }),
                "{own} {root}: {error}"
            ),
            Ok(_) => assert!(!refused, "{own} {root}"),
        }
        let _ = fs::remove_file(scene.marker(root));
    }
}
