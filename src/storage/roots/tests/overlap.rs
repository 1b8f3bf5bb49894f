//! Roots that are one place, or one inside the other.

use super::*;

#[test]
fn roots_that_are_one_place_by_their_names_are_refused_with_both_names() {
    for (one, other, how) in [
        ("file:///srv/a", "file:///srv/a", "one place"),
        ("file:///srv/a", "file:///srv/a/", "one place"),
        ("file:///srv/a", "file:///srv/%61", "one place"),
        ("file:///srv/a/b", "file:///srv/a", "first lies inside"),
        ("file:///srv", "file:///srv/a/b", "second lies inside"),
        ("s3://bucket", "s3://bucket", "one place"),
        ("s3://bucket", "s3://bucket/", "one place"),
        ("s3://bucket/a", "s3://bucket/a/", "one place"),
        ("s3://bucket/a", "s3://bucket/%61", "one place"),
        ("s3://bucket/a", "s3://Bucket/a", "one place"),
        ("s3://bucket/a/b", "s3://bucket/a", "first lies inside"),
        ("s3://bucket", "s3://bucket/a", "second lies inside"),
        ("gs://bucket/a", "gs://bucket/a/b", "second lies inside"),
        ("az://container/a/b", "az://container", "first lies inside"),
    ] {
        let refused = StorageRoots::parse(&["s3://fine/x".to_owned(), one.to_owned(), other.to_owned()]);
        let text = refused.unwrap_err().to_string();
        assert!(
            text.contains("storage roots ") && text.contains(how),
            "{one} {other}: {text}"
        );
    }
}

#[test]
fn roots_side_by_side_are_allowed() {
    let roots = [
        "file:///srv/a",
        "file:///srv/ab",
        "file:///srv/A",
        "file:///a",
        "s3://bucket/a",
        "s3://bucket/ab",
        "s3://bucket/A",
        "s3://bucket2/a",
        "gs://bucket/a",
        "az://bucket/a",
    ];
    let roots = StorageRoots::parse(&roots.map(str::to_owned)).unwrap();
    roots.check_endpoints(&Endpoints::default()).unwrap();
}

#[test]
fn buckets_that_two_endpoints_lead_to_are_one_place() {
    let url = |url: &str| Some(url.parse().unwrap());
    for (s3, gcs, azure, refused) in [
        (None, None, None, false),
        (url("https://storage.googleapis.com"), None, None, true),
        (url("https://STORAGE.googleapis.com:443/"), None, None, true),
        (url("https://bucket.storage.googleapis.com"), None, None, true),
        (url("https://mystorage.googleapis.com"), None, None, false),
        (url("https://storage.googleapis.com./"), None, None, true),
        (url("http://storage.googleapis.com:80"), None, None, true),
        (url("https://commondatastorage.googleapis.com"), None, None, true),
        (
            url("https://bucket.commondatastorage.googleapis.com"),
            None,
            None,
            true,
        ),
        (
            url("http://localhost:9000"),
            url("http://127.0.0.1:9000/"),
            None,
            true,
        ),
        (
            url("http://localhost.:9000"),
            url("http://[::1]:9000/"),
            None,
            true,
        ),
        (
            url("http://bucket.localhost:9000"),
            url("http://127.1:9000/"),
            None,
            true,
        ),
        (
            url("http://0.0.0.0:9000"),
            url("http://[::ffff:127.0.0.1]:9000/"),
            None,
            true,
        ),
        (
            url("http://127.0.0.2:9000"),
            url("http://LOCALHOST:9000/x"),
            None,
            true,
        ),
        (url("http://localhost"), url("https://127.0.0.1:443/"), None, true),
        (
            url("http://localhost:9000"),
            url("http://notlocalhost:9000"),
            None,
            false,
        ),
        (
            url("http://10.0.0.1:9000"),
            url("http://localhost:9000"),
            None,
            false,
        ),
        (url("http://minio.:9000"), url("http://minio:9000"), None, true),
        (
            url("http://127.0.0.1:9000"),
            url("http://127.0.0.1:9000/"),
            None,
            true,
        ),
        (
            url("http://127.0.0.1:9000"),
            url("http://127.0.0.1:9001"),
            None,
            false,
        ),
        (
            url("http://127.0.0.1:9000"),
            None,
            url("http://127.0.0.1:9000/account"),
            true,
        ),
        (None, url("http://h:1"), url("http://bucket.h:1"), true),
    ] {
        let endpoints = Endpoints { s3, gcs, azure };
        for (one, other) in [("a", "a"), ("a", "a/b"), ("a/b", "a")] {
            let roots = ["s3", "gs", "az"].map(|scheme| {
                let prefix = if scheme == "s3" { one } else { other };
                // Only two of them at a time may meet.
                match (scheme, &endpoints) {
                    (
                        "gs",
                        Endpoints {
                            gcs: None,
                            s3: Some(s3),
                            ..
                        },
                    ) if s3.host_str() == Some("127.0.0.1") => {
                        format!("{scheme}://elsewhere/{prefix}")
                    }
                    _ => format!("{scheme}://bucket/{prefix}"),
                }
            });
            let roots = StorageRoots::parse(&roots).unwrap();
            assert_eq!(
                roots.check_endpoints(&endpoints).is_err(),
                refused,
                "{endpoints:?}"
            );
        }
        let apart = ["s3://bucket/a", "gs://bucket/b", "az://bucket/c"].map(str::to_owned);
        StorageRoots::parse(&apart)
            .unwrap()
            .check_endpoints(&endpoints)
            .unwrap();
    }
}

#[test]
fn roots_that_are_one_folder_on_disk_are_refused_and_nothing_is_written_into_them() {
    let scene = Scene::new(&["a/b", "c"]);
    symlink(scene.path("a"), scene.path("link")).unwrap();
    symlink("a/b", scene.path("inner")).unwrap();
    symlink("link", scene.path("twice")).unwrap();
    for (roots, how) in [
        (["a", "link"], "one place"),
        (["twice", "link"], "one place"),
        (["a", "inner"], "second lies inside"),
        (["link/b", "a"], "first lies inside"),
        (["inner", "link"], "first lies inside"),
    ] {
        let text = refusal(scene.start(&roots, &[]));
        assert!(text.contains(how), "{roots:?}: {text}");
        assert!(roots.iter().all(|root| text.contains(&scene.uri(root))), "{text}");
    }
    assert!(!scene.marker("a").exists() && !scene.marker("a/b").exists());
    scene.start(&["link", "c"], &[]).unwrap();
}

#[test]
fn a_root_in_the_ledgers_own_folder_is_refused_by_whatever_path() {
    let scene = Scene::new(&["data/storage", "root"]);
    symlink("data/storage", scene.path("link")).unwrap();
    symlink("data", scene.path("alias")).unwrap();
    for root in ["data", "data/storage", "link", "alias"] {
        let roots = scene
            .roots(&[root])
            .unwrap()
            .protecting(&scene.path("data"))
            .unwrap();
        let error = scene.identify(&roots, &[]).unwrap_err();
        assert!(matches!(error, RootError::InsideOwn { .. }), "{root}: {error}");
    }
    assert!(!scene.marker("data").exists() && !scene.marker("data/storage").exists());
}

#[test]
fn what_is_mounted_below_a_root_is_no_part_of_it() {
    let scene = Scene::new(&["a/vol", "a/plain", "outside/x"]);
    fs::write(scene.path("outside/x/data"), "").unwrap();
    fs::write(scene.path("a/file"), "").unwrap();
    let (roots, _) = scene.start(&["a"], &[]).unwrap();
    for place in ["a/vol", "a/vol/x", "a/plain", "a/file", "a/file/x"] {
        roots.check(&scene.uri(place)).unwrap();
    }
    let mounts = [("outside", "a/vol"), ("outside/x/data", "a/file")];
    let mounted = mounts.map(|(from, to)| {
        let done = Command::new("mount")
            .arg("--bind")
            .args([scene.path(from), scene.path(to)])
            .output();
        done.is_ok_and(|output| output.status.success())
    });
    let refused = ["a/vol", "a/vol/x", "a/vol/x/data", "a/vol/absent", "a/file"]
        .map(|place| roots.check(&scene.uri(place)).err());
    let beside = roots.check(&scene.uri("a/plain")).is_ok();
    for ((_, to), mounted) in mounts.iter().zip(mounted) {
        if mounted {
            assert!(
                Command::new("umount")
                    .arg("-l")
                    .arg(scene.path(to))
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
    assert!(beside);
    if mounted != [true, true] {
        eprintln!("NOT RUN: nothing can be mounted here");
        return;
    }
    for refusal in refused {
        assert!(
            refusal.is_some_and(|refusal| !refusal.is_transient()),
            "{refusal:?}"
        );
    }
    roots.check(&scene.uri("a/vol/x")).unwrap();
}
