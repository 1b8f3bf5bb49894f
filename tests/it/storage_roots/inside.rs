//! A root that lies inside another one which was used before, or that another instance has, under another name.

use super::{Scene, fill, uri};
use crate::harness::on_both_backends;
use crate::harness::roots::{Bind, MARKER};
use std::fs;
use std::os::unix::fs::symlink;

on_both_backends! {
    async fn a_root_inside_a_root_that_was_used_under_another_name_is_refused_at_start(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, inner) = (scene.path("root"), scene.path("root/sub"));
        fill(&inner.join("x"), 1);
        fill(&scene.path("elsewhere"), 1);
        assert_eq!(scene.delete(1, "sub/x").await, 201);
        assert_eq!(scene.server.terminate().await, 0);
        let link = scene.path("link");
        symlink(&inner, &link).unwrap();
        symlink(&root, scene.path("all")).unwrap();
        let bound = scene.path("bound");
        let mut other_names = vec![link, scene.path("all/sub"), scene.path("all/sub/x")];
        let mount = Bind::new(&inner, &bound);
        other_names.extend(mount.is_some().then_some(bound));
        for name in other_names {
            let told = scene.refused(&[uri(&name)]).await;
            let last = told.lines().last().unwrap();
            assert!(last.contains("one place under two names") && last.contains(&uri(&name)) && last.contains(&uri(&root)), "{told}");
            let (code, _, told) = scene.run(&["reconcile", "--storage-root", &uri(&name)]).await;
            assert_eq!(code, 2, "{told}");
        }
        assert!(!inner.join(MARKER).exists() && !inner.join("x").join(MARKER).exists());

        // By its own name it is known what was named there, as before there was a root of its own.
        let (code, _, told) = scene.run(&["reconcile", "--storage-root", &uri(&inner)]).await;
        assert!(code == 2 && told.contains("was never used by this ledger"), "{told}");
    }

    async fn nothing_is_named_in_a_root_through_another_one(backend: Backend) {
        let scene = Scene::start(backend).await;
        let inner = scene.path("root/sub");
        fill(&inner.join("x"), 1);
        let ledger = fs::read_to_string(scene.path("root").join(MARKER)).unwrap();
        let ledger = ledger.lines().next().unwrap().to_owned();
        for marker in [format!("{ledger}\n{}\n", crate::harness::fresh_id()), format!("{0}\n{0}\n", crate::harness::fresh_id())] {
            fs::write(inner.join(MARKER), marker).unwrap();
            for place in ["sub", "sub/x", "sub/x/0", "sub/absent"] {
                assert_eq!(scene.delete(1, place).await, 400, "{place}");
                assert_eq!(scene.register("archive", place).await, 400, "{place}");
            }
        }
        fs::remove_file(inner.join(MARKER)).unwrap();
        assert_eq!(scene.delete(1, "sub/x").await, 201);
    }
}
