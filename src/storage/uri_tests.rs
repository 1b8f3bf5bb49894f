//! What may be named for deletion, and every spelling that may not.

use super::roots::StorageRoots;
use super::uri::{MAX_URI_BYTES, Place, StorageUri, UriRefusal};
use crate::storage::roots::identify::FirstUse;
use UriRefusal::*;
use std::os::unix::fs::symlink;
use uuid::Uuid;

fn roots(dir: &std::path::Path) -> StorageRoots {
    let roots = [
        format!("file://{}/root", dir.display()),
        format!("file://{}/nested/a/b", dir.display()),
        "s3://bucket/prefix".to_owned(),
        "s3://whole-bucket".to_owned(),
        "s3://bucket/deep/er/".to_owned(),
    ];
    used(&roots)
}

/// The roots, as the first start of a ledger finds them.
fn used(roots: &[String]) -> StorageRoots {
    let roots = StorageRoots::parse(roots).unwrap();
    let next = std::cell::Cell::new(1);
    let new_id = || Uuid::from_u128(next.replace(next.get() + 1));
    roots
        .identify(Uuid::nil(), &[], &|_| FirstUse::Allowed, &new_id)
        .unwrap();
    roots
}

fn scene() -> (tempfile::TempDir, StorageRoots) {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["root", "root/entity", "root-other", "nested/a/b", "outside"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    let roots = roots(dir.path());
    (dir, roots)
}

fn local(checked: &StorageUri) -> &[String] {
    match checked.place() {
        Place::Local(place) => place.below(),
        Place::Bucket(_) => panic!("not a file"),
    }
}

#[test]
fn every_path_trick_is_refused_for_its_reason() {
    let (dir, roots) = scene();
    let base = format!("file://{}", dir.path().display());
    let long = "x".repeat(MAX_URI_BYTES);
    let component = "x".repeat(256);
    let key = "k/".repeat(600);
    let table: Vec<(String, UriRefusal)> = [
        // No URI, or not one of ours.
        ("", NoScheme),
        ("/srv/backups/x", NoScheme),
        ("root/entity", NoScheme),
        ("//host/share", NoScheme),
        (":///x", NoScheme),
        (" {base}/root/entity", NoScheme),
        ("C:\\root\\entity", UnknownScheme),
        ("http://bucket/prefix/x", UnknownScheme),
        ("ftp://bucket/prefix/x", UnknownScheme),
        ("FILE:///root/entity", UnknownScheme),
        ("S3://bucket/prefix/x", UnknownScheme),
        ("s3a://bucket/prefix/x", UnknownScheme),
        ("javascript:alert(1)", UnknownScheme),
        ("gcs://bucket/prefix/x", UnknownScheme),
        ("abfss://bucket/prefix/x", UnknownScheme),
        ("gs:///prefix/x", NoBucket),
        ("az://account:secret@bucket/prefix/x", Credentials),
        ("az://bucket/prefix/x?snapshot=1", QueryOrFragment),
        ("gs://bucket/prefix/../y", DotSegment),
        // A bucket of the same name in another cloud is another bucket.
        ("az://bucket/prefix/x", OutsideRoots),
        ("gs://whole-bucket/prefix/x", OutsideRoots),
        // Not absolute.
        ("file:root/entity", Relative),
        ("file:./root/entity", Relative),
        ("file:/root/entity", Relative),
        ("file:", Relative),
        ("file://", Relative),
        ("s3:bucket/prefix/x", Relative),
        ("s3:/bucket/prefix/x", Relative),
        // Host, port, credentials.
        ("file://root/entity", Host),
        ("file://localhost{path}/root/entity", Host),
        ("file://../root/entity", Host),
        ("file://.{path}/root/entity", Host),
        ("file://user@{path}/root/entity", Credentials),
        ("file://user:secret@host{path}/root/entity", Credentials),
        ("s3://key:secret@bucket/prefix/x", Credentials),
        ("s3://key@bucket/prefix/x", Credentials),
        ("s3://bucket:9000/prefix/x", Host),
        // Query and fragment.
        ("{base}/root/entity?x=1", QueryOrFragment),
        ("{base}/root/entity?", QueryOrFragment),
        ("{base}/root/entity#x", QueryOrFragment),
        ("s3://bucket/prefix/x?versionId=1", QueryOrFragment),
        ("s3://bucket/prefix/x#", QueryOrFragment),
        // Control characters.
        ("{base}/root/entity\0", ControlCharacter),
        ("{base}/root/en\ntity", ControlCharacter),
        ("{base}/root/en\ttity", ControlCharacter),
        ("{base}/root/entity\r", ControlCharacter),
        ("{base}/root/en\u{7f}tity", ControlCharacter),
        ("{base}/root/en\u{85}tity", ControlCharacter),
        ("{base}/root/entity%00", ControlCharacter),
        ("{base}/root/entity%0a", ControlCharacter),
        ("{base}/root/entity%c2%85", ControlCharacter),
        ("{base}/root/entity%2500", ControlCharacter),
        ("s3://bucket/prefix/x%00", ControlCharacter),
        ("s3://bucket/prefix/x%1b", ControlCharacter),
        // Dot segments.
        ("{base}/root/../outside", DotSegment),
        ("{base}/root/entity/..", DotSegment),
        ("{base}/root/entity/../../outside", DotSegment),
        ("{base}/root/./entity", DotSegment),
        ("{base}/root/.", DotSegment),
        ("{base}/./root/entity", DotSegment),
        ("{base}/root/%2e%2e/outside", DotSegment),
        ("{base}/root/%2E%2E/outside", DotSegment),
        ("{base}/root/.%2e/outside", DotSegment),
        ("{base}/root/%2e./outside", DotSegment),
        ("{base}/root/%2e/entity", DotSegment),
        ("{base}/root/%252e%252e/outside", DotSegment),
        ("{base}/root/%25252e%25252e/outside", DotSegment),
        ("{base}/root/.%252e/outside", DotSegment),
        ("{base}/root/%%32e%%32e/outside", BadEscape),
        ("s3://bucket/prefix/../other/x", DotSegment),
        ("s3://bucket/prefix/x/..", DotSegment),
        ("s3://bucket/prefix/./x", DotSegment),
        ("s3://bucket/prefix/%2e%2e/other", DotSegment),
        ("s3://bucket/prefix/%252e%252e/other", DotSegment),
        ("s3://bucket/prefix/a/%2e", DotSegment),
        ("s3://../prefix/x", OutsideRoots),
        // Encoded separators.
        ("{base}/root%2fentity", EncodedSeparator),
        ("{base}/root/..%2foutside", EncodedSeparator),
        ("{base}/root/..%2Foutside", EncodedSeparator),
        ("{base}/root/%2e%2e%2foutside", EncodedSeparator),
        ("{base}/root/..%252foutside", EncodedSeparator),
        ("{base}/root/..%25252foutside", EncodedSeparator),
        ("{base}/root/..%5coutside", EncodedSeparator),
        ("{base}/root/..%255coutside", EncodedSeparator),
        ("s3://bucket/prefix%2fx", EncodedSeparator),
        ("s3://bucket/prefix/..%2fother", EncodedSeparator),
        ("s3://bucket/prefix/a%252fb", EncodedSeparator),
        // Backslashes.
        ("{base}/root\\entity", Backslash),
        ("{base}/root/..\\outside", Backslash),
        ("{base}/root/\\entity", Backslash),
        // Empty components.
        ("file:///{path}/root/entity", EmptyComponent),
        ("{base}//root/entity", EmptyComponent),
        ("{base}/root//entity", EmptyComponent),
        ("{base}/root/entity//", EmptyComponent),
        // Escapes.
        ("{base}/root/entity%", BadEscape),
        ("{base}/root/entity%2", BadEscape),
        ("{base}/root/entity%zz", BadEscape),
        ("{base}/root/%c0%ae%c0%ae/outside", BadEscape),
        ("{base}/root/%u002e%u002e/outside", BadEscape),
        ("{base}/root/%ff", BadEscape),
        ("s3://bucket/prefix/%e0%80%ae", BadEscape),
        ("s3://bucket/prefix/100%", BadEscape),
        // Not under a root.
        ("{base}/outside/x", OutsideRoots),
        ("{base}/root-other", OutsideRoots),
        ("{base}/root-other/x", OutsideRoots),
        ("{base}/rootother/x", OutsideRoots),
        ("{base}/roo/x", OutsideRoots),
        ("{base}/Root/entity", OutsideRoots),
        ("{base}/root%20/entity", OutsideRoots),
        ("file:///etc/passwd", OutsideRoots),
        ("s3://bucket/prefix-other/x", OutsideRoots),
        ("s3://bucket/prefixx", OutsideRoots),
        ("s3://bucket/other", OutsideRoots),
        ("s3://bucket//prefix/x", OutsideRoots),
        ("s3://bucket/Prefix/x", OutsideRoots),
        ("s3://bucket2/prefix/x", OutsideRoots),
        ("s3://Bucket/prefix/x", OutsideRoots),
        ("s3://bucke%74/prefix/x", OutsideRoots),
        ("s3://bucket.evil.example/prefix/x", OutsideRoots),
        ("s3://bucket\\prefix/x", OutsideRoots),
        ("s3://", NoBucket),
        ("s3:///bucket/prefix/x", NoBucket),
        // A root itself, or what holds one.
        ("{base}/root", HoldsRoot),
        ("{base}/root/", HoldsRoot),
        ("{base}", HoldsRoot),
        ("file:///", HoldsRoot),
        ("{base}/%72oot", HoldsRoot),
        ("{base}/nested/a", HoldsRoot),
        ("{base}/nested/a/b/", HoldsRoot),
        // What a root is recognized by.
        ("{base}/root/.archive-ledger-root", Marker),
        ("{base}/root/.archive-ledger-root/", Marker),
        ("{base}/root/%2Earchive-ledger%2Droot", Marker),
        ("{base}/root/.ARCHIVE-Ledger-root", Marker),
        ("{base}/root/.archive-ledger-root/x", Marker),
        ("{base}/root/.archive-ledger-root.0123abcd", Marker),
        ("s3://bucket/prefix", HoldsRoot),
        ("s3://bucket/prefix/", HoldsRoot),
        ("s3://bucket/prefix//", HoldsRoot),
        ("s3://bucket/deep", HoldsRoot),
        ("s3://bucket/deep/", HoldsRoot),
        ("s3://bucket", HoldsRoot),
        ("s3://bucket/", HoldsRoot),
        ("s3://bucket//", HoldsRoot),
        ("s3://whole-bucket", HoldsRoot),
        ("s3://whole-bucket/", HoldsRoot),
        ("s3://whole-bucket///", HoldsRoot),
        // Too long.
        ("{base}/root/{long}", TooLong),
        ("{base}/root/{component}", TooLong),
        ("s3://bucket/prefix/{key}", TooLong),
    ]
    .into_iter()
    .map(|(uri, refusal)| {
        let uri = uri
            .replace("{base}", &base)
            .replace("{path}", &dir.path().display().to_string())
            .replace("{long}", &long)
            .replace("{component}", &component)
            .replace("{key}", &key);
        (uri, refusal)
    })
    .collect();
    for (uri, refusal) in &table {
        assert_eq!(roots.check(uri).err(), Some(*refusal), "{uri:?}");
        let text = refusal.to_string();
        assert!(
            !text.contains("prefix") && !text.contains("entity") && !text.contains("outside"),
            "{text}"
        );
    }
    assert!(table.len() >= 120, "{}", table.len());
}

#[test]
fn a_plain_file_uri_names_its_decoded_components_below_the_root() {
    let (dir, roots) = scene();
    let base = format!("file://{}", dir.path().display());
    for (uri, below) in [
        ("/root/entity", vec!["entity"]),
        ("/root/entity/", vec!["entity"]),
        ("/root/not/there/yet", vec!["not", "there", "yet"]),
        ("/root/my%20folder/50%25", vec!["my folder", "50%"]),
        ("/root/my folder/a+b", vec!["my folder", "a+b"]),
        ("/root/%C3%A9t%C3%A9/été", vec!["été", "été"]),
        ("/root/%3F%23%3A@", vec!["?#:@"]),
        ("/root/.hidden/...", vec![".hidden", "..."]),
        ("/root/..a/b..", vec!["..a", "b.."]),
        ("/root/v1%252e2", vec!["v1%2e2"]),
        ("/nested/a/b/c", vec!["c"]),
    ] {
        let checked = roots.check(&format!("{base}{uri}")).unwrap();
        assert_eq!(local(&checked), below, "{uri}");
    }
}

#[test]
fn an_s3_uri_names_one_exact_key_and_the_folder_of_that_name() {
    let (_dir, roots) = scene();
    for (uri, object, folder) in [
        ("s3://bucket/prefix/a", Some("prefix/a"), "prefix/a/"),
        ("s3://bucket/prefix/a/", None, "prefix/a/"),
        ("s3://bucket/prefix/a//b", Some("prefix/a//b"), "prefix/a//b/"),
        ("s3://bucket/prefix/a//", None, "prefix/a//"),
        ("s3://bucket/prefix//a", Some("prefix//a"), "prefix//a/"),
        ("s3://whole-bucket//a", Some("/a"), "/a/"),
        ("s3://whole-bucket/a b+c%2Bd%25", Some("a b+c+d%"), "a b+c+d%/"),
        ("s3://whole-bucket/%C3%A9/é", Some("é/é"), "é/é/"),
        ("s3://whole-bucket/a\\b", Some("a\\b"), "a\\b/"),
        ("s3://bucket/deep/er/x", Some("deep/er/x"), "deep/er/x/"),
    ] {
        let checked = roots.check(uri).unwrap();
        let Place::Bucket(place) = checked.place() else {
            panic!("{uri}")
        };
        assert_eq!(
            (place.object(), place.folder().as_str()),
            (object, folder),
            "{uri}"
        );
    }
}

#[test]
fn symbolic_links_on_the_way_are_refused_wherever_they_lead() {
    let (dir, roots) = scene();
    let base = format!("file://{}/root", dir.path().display());
    let root = dir.path().join("root");
    symlink(dir.path().join("outside"), root.join("out")).unwrap();
    symlink("../outside", root.join("relative-out")).unwrap();
    symlink("entity", root.join("inside")).unwrap();
    symlink("/nowhere/at/all", root.join("dangling")).unwrap();
    symlink("../../outside", root.join("entity/deep")).unwrap();
    for name in [
        "out",
        "out/x",
        "relative-out",
        "inside",
        "inside/x",
        "dangling",
        "dangling/x",
        "entity/deep/x",
    ] {
        assert_eq!(
            roots.check(&format!("{base}/{name}")).err(),
            Some(Symlink),
            "{name}"
        );
    }
    roots.check(&format!("{base}/entity")).unwrap();
}

#[test]
fn a_root_that_is_itself_reached_through_a_link_works() {
    let (dir, _) = scene();
    symlink("root", dir.path().join("alias")).unwrap();
    let roots = used(&[format!("file://{}/alias", dir.path().display())]);
    roots
        .check(&format!("file://{}/alias/entity", dir.path().display()))
        .unwrap();
    assert_eq!(
        roots
            .check(&format!("file://{}/root/entity", dir.path().display()))
            .err(),
        Some(OutsideRoots)
    );
}

#[test]
fn the_ledgers_own_files_cannot_be_named_by_any_path() {
    let (dir, roots) = scene();
    let base = format!("file://{}/root", dir.path().display());
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("keys/deep")).unwrap();
    std::fs::write(root.join("keys/deep/real"), "key").unwrap();
    std::fs::write(root.join("db"), "rows").unwrap();
    std::fs::hard_link(root.join("db"), root.join("linked")).unwrap();
    symlink(root.join("keys/deep/real"), dir.path().join("key")).unwrap();
    let roots = roots
        .protecting_file(&dir.path().join("key"))
        .protecting_file(&root.join("entity/not-yet"))
        .protecting_file(&root.join("db"));
    for name in [
        "keys",
        "keys/deep",
        "keys/deep/real",
        "entity",
        "entity/not-yet",
        "db",
        "linked",
    ] {
        assert_eq!(
            roots.check(&format!("{base}/{name}")).err(),
            Some(Protected),
            "{name}"
        );
    }
    for name in ["keys/other", "entity/other", "db2"] {
        roots.check(&format!("{base}/{name}")).unwrap();
    }
}

#[test]
fn nothing_can_be_named_in_a_root_of_which_nobody_knows_what_it_is() {
    let (dir, _) = scene();
    let roots = StorageRoots::parse(&[format!("file://{}/outside", dir.path().display())]).unwrap();
    let uri = format!("file://{}/outside/x", dir.path().display());
    assert_eq!(roots.check(&uri).err(), Some(RootUnavailable));
}

#[test]
fn the_ledgers_own_folder_cannot_be_named() {
    let (dir, roots) = scene();
    let base = format!("file://{}", dir.path().display());
    std::fs::create_dir_all(dir.path().join("root/ledger/data")).unwrap();
    let roots = roots.protecting(&dir.path().join("root/ledger/data")).unwrap();
    for name in ["ledger", "ledger/data", "ledger/data/ledger.db"] {
        assert_eq!(
            roots.check(&format!("{base}/root/{name}")).err(),
            Some(Protected),
            "{name}"
        );
    }
    roots.check(&format!("{base}/root/ledger/other")).unwrap();
}

#[test]
fn a_missing_root_is_a_transient_refusal() {
    let (dir, roots) = scene();
    std::fs::remove_dir_all(dir.path().join("root")).unwrap();
    let refusal = roots
        .check(&format!("file://{}/root/entity", dir.path().display()))
        .unwrap_err();
    assert_eq!(refusal, RootUnavailable);
    assert!(refusal.is_transient());
}

#[test]
fn without_roots_everything_is_refused() {
    let roots = StorageRoots::parse(&[]).unwrap();
    assert_eq!(roots.check("file:///srv/x").err(), Some(OutsideRoots));
    assert_eq!(roots.check("s3://bucket/x").err(), Some(OutsideRoots));
}

#[test]
fn debug_output_of_a_checked_uri_holds_none_of_it() {
    let (_dir, roots) = scene();
    let shown = format!("{:?}", roots.check("s3://bucket/prefix/jane-doe").unwrap());
    assert_eq!(shown, "StorageUri(s3, root 2)");
}

#[test]
fn bad_roots_are_named_with_their_reason() {
    for (root, text) in [
        (
            "/srv/x",
            "storage root /srv/x is refused: it is not a URI with a scheme",
        ),
        (
            "file://srv/x",
            "storage root file://srv/x is refused: it holds a host or port",
        ),
        (
            "file:///srv/../x",
            "storage root file:///srv/../x is refused: it holds a dot segment",
        ),
        (
            "file:///",
            "storage root file:/// is refused: it is the whole file system",
        ),
        ("s3://", "storage root s3:// is refused: it names no bucket"),
        (
            "s3://a_b!/x",
            "storage root s3://a_b!/x is refused: its bucket name is not valid",
        ),
        (
            "s3://ab",
            "storage root s3://ab is refused: its bucket name is not valid",
        ),
        (
            "s3://bucket/a//b",
            "storage root s3://bucket/a//b is refused: its path holds an empty component",
        ),
        (
            "s3://k:secret@bucket",
            "storage root number 2 is refused: it holds credentials",
        ),
        (
            "gs://ab",
            "storage root gs://ab is refused: its bucket name is not valid",
        ),
        (
            "az://container/a//b",
            "storage root az://container/a//b is refused: its path holds an empty component",
        ),
    ] {
        let refused = StorageRoots::parse(&["s3://bucket/fine".to_owned(), root.to_owned()]).unwrap_err();
        assert_eq!(refused.to_string(), text);
    }
}
