use super::*;

const ASKED: Asked<'static> = Asked {
    bucket: "archive",
    prefix: "root/a b/",
    from: None,
};

const OBJECTS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
    <Name>archive</Name><Prefix>root/a+b/</Prefix><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys>\
    <EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
    <Contents><Key>root/a+b/1</Key><Size>10</Size></Contents>\
    <Contents><Key>root/a+b/%01%FF%2B</Key><Size>20</Size></Contents>\
    <Contents><Key>root/a+b/%C3%A9</Key><Size>0</Size></Contents></ListBucketResult>";

fn without(body: &str, part: &str) -> String {
    assert!(body.contains(part), "{part}");
    body.replacen(part, "", 1)
}

fn with(body: &str, part: &str, other: &str) -> String {
    assert!(body.contains(part), "{part}");
    body.replacen(part, other, 1)
}

#[test]
fn a_whole_page_of_objects_is_read_by_the_bytes_of_its_names() {
    let page = objects(OBJECTS.as_bytes(), ASKED).unwrap();
    assert_eq!(page.next, NextPage::End);
    assert!(!page.in_order);
    let names: Vec<_> = page
        .objects
        .iter()
        .map(|found| (found.name.clone(), found.bytes))
        .collect();
    assert_eq!(
        names,
        [
            (b"root/a b/1".to_vec(), Some(10)),
            (b"root/a b/\x01\xff+".to_vec(), Some(20)),
            ("root/a b/é".as_bytes().to_vec(), Some(0)),
        ]
    );
    // A prefix that is repeated as it was sent, and a server that encodes nothing.
    let raw = with(OBJECTS, "<Prefix>root/a+b/", "<Prefix>root/a b/");
    assert!(objects(raw.as_bytes(), ASKED).is_ok());
    let plain = without(OBJECTS, "<EncodingType>url</EncodingType>");
    assert!(
        objects(plain.as_bytes(), ASKED).is_err(),
        "the prefix is another one then"
    );
    let plain = with(&plain, "<Prefix>root/a+b/", "<Prefix>root/a b/");
    assert_eq!(
        objects(plain.as_bytes(), ASKED).unwrap().objects[0].name,
        b"root/a+b/1"
    );
}

#[test]
fn a_page_of_objects_that_is_cut_off_anywhere_is_not_believed() {
    for end in 0..OBJECTS.len() {
        assert!(
            objects(&OBJECTS.as_bytes()[..end], ASKED).is_err(),
            "{}",
            &OBJECTS[..end]
        );
    }
}

#[test]
fn a_page_of_objects_that_leaves_something_open_is_not_believed() {
    let token = "<NextContinuationToken>t</NextContinuationToken>";
    let truncated = with(OBJECTS, "<IsTruncated>false", "<IsTruncated>true");
    let end = "</ListBucketResult>";
    for body in [
        "<ListBucketResult/>".to_owned(),
        "<ListBucketResult></ListBucketResult>".to_owned(),
        "<ListVersionsResult/>".to_owned(),
        "<html><body>ok</body></html>".to_owned(),
        "<Error><Code>AccessDenied</Code></Error>".to_owned(),
        String::new(),
        without(OBJECTS, "<IsTruncated>false</IsTruncated>"),
        with(OBJECTS, "<IsTruncated>false</IsTruncated>", "<IsTruncated/>"),
        with(OBJECTS, "<IsTruncated>false", "<IsTruncated>no"),
        with(
            OBJECTS,
            "<IsTruncated>false</IsTruncated>",
            "<IsTruncated>false</IsTruncated><IsTruncated>false</IsTruncated>",
        ),
        without(OBJECTS, "<Name>archive</Name>"),
        with(OBJECTS, "<Name>archive", "<Name>archive2"),
        without(OBJECTS, "<Prefix>root/a+b/</Prefix>"),
        with(OBJECTS, "<Prefix>root/a+b/</Prefix>", "<Prefix/>"),
        with(OBJECTS, "<Prefix>root/a+b/", "<Prefix>root/"),
        with(OBJECTS, "<Prefix>root/a+b/", "<Prefix>root/a%2Bb/"),
        with(OBJECTS, "<EncodingType>url", "<EncodingType>base64"),
        with(OBJECTS, "<KeyCount>3", "<KeyCount>4"),
        with(OBJECTS, "<KeyCount>3", "<KeyCount>-1"),
        with(OBJECTS, "<Key>root/a+b/1</Key>", ""),
        with(OBJECTS, "<Key>root/a+b/1</Key>", "<Key/>"),
        with(
            OBJECTS,
            "<Key>root/a+b/1</Key>",
            "<Key>root/a+b/1</Key><Key>root/a+b/2</Key>",
        ),
        with(OBJECTS, "root/a+b/1", "root/a+b/%1"),
        with(OBJECTS, "root/a+b/1", "root/a+b/%zz"),
        with(OBJECTS, "<Size>10", "<Size>many"),
        with(
            OBJECTS,
            end,
            "<CommonPrefixes><Prefix>root/a+b/c/</Prefix></CommonPrefixes></ListBucketResult>",
        ),
        with(OBJECTS, end, &format!("{token}{end}")),
        with(
            OBJECTS,
            end,
            &format!("<ContinuationToken>x</ContinuationToken>{end}"),
        ),
        with(OBJECTS, end, &format!("<StartAfter>x</StartAfter>{end}")),
        with(OBJECTS, "<MaxKeys>1000", "<MaxKeys>0"),
        with(OBJECTS, end, &format!("<Delimiter>/</Delimiter>{end}")),
        with(OBJECTS, end, &format!("<NextMarker>x</NextMarker>{end}")),
        with(
            OBJECTS,
            end,
            &format!("<Error><Code>InternalError</Code></Error>{end}"),
        ),
        with(OBJECTS, end, &format!("<Entries/>{end}")),
        with(OBJECTS, end, &format!("<contents/>{end}")),
        with(OBJECTS, "<IsTruncated>false", "<IsTruncated><x/>"),
        truncated.clone(),
        with(&truncated, end, &format!("<NextContinuationToken/>{end}")),
        format!("{OBJECTS}<ListBucketResult/>"),
        format!("{OBJECTS}x"),
        with(OBJECTS, "<ListBucketResult", "<!DOCTYPE x><ListBucketResult"),
    ] {
        assert!(objects(body.as_bytes(), ASKED).is_err(), "{body}");
    }
    let more = with(&truncated, end, &format!("{token}{end}"));
    assert_eq!(
        objects(more.as_bytes(), ASKED).unwrap().next,
        NextPage::At(Cursor::token("t"))
    );
    let second = with(
        OBJECTS,
        end,
        &format!("<ContinuationToken>t</ContinuationToken>{end}"),
    );
    let marker = Cursor::token("t");
    let asked = Asked {
        from: Some(&marker),
        ..ASKED
    };
    assert!(objects(second.as_bytes(), asked).is_ok());
}

const VERSIONS: &str = "<ListVersionsResult><Name>archive</Name><Prefix>root/a%20b/</Prefix><KeyMarker/><EncodingType>url</EncodingType>\
    <IsTruncated>true</IsTruncated><NextKeyMarker>root/a+b/2</NextKeyMarker><NextVersionIdMarker>v1</NextVersionIdMarker>\
    <Version><Key>root/a+b/1</Key><VersionId>v2</VersionId><Size>7</Size></Version>\
    <DeleteMarker><Key>root/a+b/0</Key><VersionId>v9</VersionId></DeleteMarker>\
    <Version><Key>root/a+b/1</Key><VersionId>null</VersionId><Size>8</Size></Version></ListVersionsResult>";

#[test]
fn a_whole_page_of_versions_is_read_and_no_other() {
    let page = versions(VERSIONS.as_bytes(), ASKED).unwrap();
    assert!(page.in_order);
    let seen: Vec<_> = page
        .objects
        .iter()
        .map(|one| (one.edition.as_deref().unwrap(), one.bytes))
        .collect();
    assert_eq!(seen, [("v2", Some(7)), ("null", Some(8)), ("v9", None)]);
    let next = Cursor {
        name: Some("root/a b/2".to_owned()),
        token: Some("v1".to_owned()),
    };
    assert_eq!(page.next, NextPage::At(next.clone()));
    let beyond = with(
        VERSIONS,
        "<NextKeyMarker>root/a+b/2",
        "<NextKeyMarker>root/a+b/%FF",
    );
    assert_eq!(versions(beyond.as_bytes(), ASKED).unwrap().next, NextPage::Beyond);
    for end in 0..VERSIONS.len() {
        assert!(versions(&VERSIONS.as_bytes()[..end], ASKED).is_err());
    }
    for body in [
        without(VERSIONS, "<NextKeyMarker>root/a+b/2</NextKeyMarker>"),
        without(VERSIONS, "<VersionId>v9</VersionId>"),
        with(VERSIONS, "<VersionId>v2</VersionId>", "<VersionId/>"),
        without(VERSIONS, "<Name>archive</Name>"),
        without(VERSIONS, "<Prefix>root/a%20b/</Prefix>"),
        without(VERSIONS, "<IsTruncated>true</IsTruncated>"),
        with(VERSIONS, "<KeyMarker/>", "<KeyMarker>root/a+b/0</KeyMarker>"),
        with(VERSIONS, "<KeyMarker/>", "<VersionIdMarker>zzz</VersionIdMarker>"),
        with(VERSIONS, "<IsTruncated>true", "<IsTruncated>false"),
        with(VERSIONS, "<KeyMarker/>", "<Delimiter>/</Delimiter>"),
        with(VERSIONS, "<KeyMarker/>", "<MaxKeys>0</MaxKeys>"),
        with(VERSIONS, "<KeyMarker/>", "<version/>"),
        OBJECTS.to_owned(),
    ] {
        assert!(versions(body.as_bytes(), ASKED).is_err(), "{body}");
    }
    let second = with(VERSIONS, "<KeyMarker/>", "<KeyMarker>root/a%20b/2</KeyMarker>");
    let asked = Asked {
        from: Some(&next),
        ..ASKED
    };
    assert!(versions(second.as_bytes(), asked).is_ok());
}

#[test]
fn a_whole_page_of_uploads_is_read_and_no_other() {
    let whole = "<ListMultipartUploadsResult><Bucket>archive</Bucket><KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker>\
        <NextKeyMarker>root/a b/1</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker><IsTruncated>false</IsTruncated>\
        <Upload><Key>root/a b/1</Key><UploadId>u</UploadId><Owner><ID>1</ID></Owner></Upload></ListMultipartUploadsResult>";
    let page = uploads(whole.as_bytes(), ASKED).unwrap();
    assert_eq!(
        (page.objects.len(), page.objects[0].bytes, page.next),
        (1, None, NextPage::End)
    );
    for end in 0..whole.len() {
        assert!(uploads(&whole.as_bytes()[..end], ASKED).is_err());
    }
    for body in [
        "<ListMultipartUploadsResult/>".to_owned(),
        with(whole, "<Bucket>archive", "<Bucket>other"),
        without(whole, "<Bucket>archive</Bucket>"),
        with(whole, "<IsTruncated>", "<Prefix>other/</Prefix><IsTruncated>"),
        with(whole, "<UploadIdMarker>", "<UploadIdMarker>zzz"),
        with(whole, "<IsTruncated>", "<Delimiter>/</Delimiter><IsTruncated>"),
        with(whole, "<IsTruncated>", "<MaxUploads>0</MaxUploads><IsTruncated>"),
        with(whole, "<IsTruncated>", "<upload/><IsTruncated>"),
        without(whole, "<UploadId>u</UploadId>"),
        without(whole, "<IsTruncated>false</IsTruncated>"),
    ] {
        assert!(uploads(body.as_bytes(), ASKED).is_err(), "{body}");
    }
}

#[test]
fn only_a_whole_answer_says_that_a_bucket_has_never_kept_versions() {
    use Versioning::{Kept, Never};
    let root = "VersioningConfiguration";
    assert_eq!(versioning(format!("<{root} xmlns=\"x\"/>").as_bytes()), Ok(Never));
    assert_eq!(versioning(format!("<{root}></{root}>").as_bytes()), Ok(Never));
    for status in ["Enabled", " Suspended "] {
        let body = format!("<{root}><Status>{status}</Status><MfaDelete>Disabled</MfaDelete></{root}>");
        assert_eq!(versioning(body.as_bytes()), Ok(Kept));
    }
    for body in [
        String::new(),
        format!("<{root}>"),
        format!("<{root}><Status>"),
        format!("<{root}><Status/></{root}>"),
        format!("<{root}><Status>On</Status></{root}>"),
        format!("<{root}><MfaDelete>Enabled</MfaDelete></{root}>"),
        format!("<{root}><MfaDelete>Disabled</MfaDelete></{root}>"),
        format!("<{root}><ExcludeFolders>true</ExcludeFolders></{root}>"),
        format!("<{root}><status>Enabled</status></{root}>"),
        format!("<{root}>Enabled</{root}>"),
        format!("<{root}><Status><Enabled/></Status></{root}>"),
        format!("<{root}><Error><Code>InternalError</Code></Error></{root}>"),
        format!("<{root}><Status>Enabled</Status><Status>Enabled</Status></{root}>"),
        "<html/>".to_owned(),
        "<Error/>".to_owned(),
        "<LocationConstraint/>".to_owned(),
    ] {
        assert!(versioning(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn a_bulk_deletion_tells_of_each_key() {
    let whole = "<DeleteResult><Deleted><Key>a&amp;b</Key><VersionId>v</VersionId></Deleted><Deleted><Key>c</Key></Deleted>\
        <Error><Key>d</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>";
    let told = deletions(whole.as_bytes()).unwrap();
    assert_eq!(told[0].key, "a&b");
    assert_eq!(told[0].version.as_deref(), Some("v"));
    assert_eq!((told[1].version.as_deref(), &told[1].error), (None, &None));
    assert_eq!(told[2].error, Some(("AccessDenied".to_owned(), "no".to_owned())));
    for end in 0..whole.len() {
        assert!(deletions(&whole.as_bytes()[..end]).is_err());
    }
    assert!(deletions(b"<DeleteResult><Error><Key>d</Key></Error></DeleteResult>").is_err());
    assert!(deletions(b"<Error><Code>NotImplemented</Code></Error>").is_err());
}
