//! Two roots that are one place by two names.

use super::{fill, uri};
use crate::harness::ledger::Place;
use crate::harness::on_both_backends;
use crate::harness::roots::{Bind, MARKER};
use std::fs;
use std::os::unix::fs::symlink;

on_both_backends! {
    async fn roots_that_are_one_place_by_two_names_are_refused_at_start(backend: Backend) {
        let place = Place::new(backend).await;
        let home = tempfile::tempdir().unwrap();
        let path = |below: &str| home.path().join(below);
        fill(&path("a/b"), 1);
        symlink(path("a"), path("link")).unwrap();
        symlink("a/b", path("inner")).unwrap();
        let at = |below: &str| uri(&path(below));
        let mut pairs = vec![
            [at("a"), at("a")],
            [at("a"), format!("{}/", at("a"))],
            [at("a"), at("link")],
            [at("link"), at("inner")],
            [at("a"), at("a/b")],
            [at("a/b"), at("a")],
            ["s3://bucket/x".into(), "s3://bucket/x/".into()],
            ["s3://bucket".into(), "s3://bucket/x/y".into()],
            ["gs://bucket/x/y".into(), "gs://bucket/x".into()],
            ["az://container".into(), "az://container/".into()],
        ];
        fs::create_dir(path("again")).unwrap();
        let same = Bind::new(&path("a"), &path("again"));
        let below = Bind::new(&path("a/b"), &path("below"));
        if same.is_some() && below.is_some() {
            pairs.extend([[at("a"), at("again")], [at("below"), at("a")], [at("again"), at("below")]]);
        }
        for pair in pairs {
            let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
            args.extend(pair.iter().flat_map(|root| ["--storage-root", root]));
            let output = place.run(&args).await;
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{pair:?}: {told}");
            let last = told.lines().last().unwrap();
            assert!(last.contains("--storage-root"), "{told}");
            for root in &pair {
                assert!(last.contains(root.trim_end_matches('/')), "{root} is not named: {told}");
            }
        }
        assert!(!path("a").join(MARKER).exists() && !path("a/b").join(MARKER).exists());
    }

    async fn one_bucket_by_two_endpoints_is_refused_at_start(backend: Backend) {
        let mut place = Place::new(backend).await;
        for (more, roots) in [
            (vec!["--s3-endpoint", "https://storage.googleapis.com"], ["s3://bucket/x", "gs://bucket/x"]),
            (vec!["--s3-endpoint", "https://bucket.storage.googleapis.com"], ["gs://bucket/x", "s3://bucket"]),
            (vec!["--s3-endpoint", "http://127.0.0.1:9", "--gcs-endpoint", "http://127.0.0.1:9/"], ["s3://bucket/x/y", "gs://bucket/x"]),
            (vec!["--s3-endpoint", "http://localhost:9", "--gcs-endpoint", "http://127.0.0.1:9"], ["s3://bucket/x", "gs://bucket/x/y"]),
            (vec!["--s3-endpoint", "http://storage.googleapis.com.:80"], ["s3://bucket", "gs://bucket/x"]),
            // From the environment, where the AWS chain finds it too.
            (vec!["--gcs-endpoint", "http://[::1]:9"], ["s3://bucket/x", "gs://bucket/x"]),
        ] {
            if !more.contains(&"--s3-endpoint") {
                place.set("AWS_ENDPOINT_URL", "http://localhost:9");
            }
            let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
            args.extend(&more);
            args.extend(roots.iter().flat_map(|root| ["--storage-root", *root]));
            let output = place.run(&args).await;
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{told}");
            let last = told.lines().last().unwrap();
            assert!(roots.iter().all(|root| last.contains(root)) && last.contains("--storage-root"), "{told}");
            assert!(last.contains("one place") || last.contains("overlap"), "{told}");
        }
    }
}
