//! What can be wrong with a listing of S3.

use super::case::{Bad, Case, anywhere, case, edit, swap, without};

/// What is wrong with S3's listings of versions (which are listed first), and with those of objects where the one of versions
/// has nothing.
pub fn cases() -> Vec<Case> {
    let mut cases = anywhere();
    for (code, status) in [
        ("ExpiredToken", 400),
        ("RequestTimeTooSkewed", 403),
        ("BadDigest", 400),
        ("InvalidDigest", 400),
        ("TemporaryRedirect", 307),
        ("ClientDisconnected", 400),
        ("KMS.ThrottlingException", 400),
        ("ServerBusy", 400),
        ("XMinioServerNotInitialized", 400),
        ("BandwidthLimitExceeded", 400),
    ] {
        let body = format!("<Error><Code>{code}</Code></Error>").into_bytes();
        cases.push(case(code, "", Bad::Instead(status, body)));
    }
    for (of, root, item) in [
        ("versions", "ListVersionsResult", "Version"),
        ("list-type=2", "ListBucketResult", "Contents"),
    ] {
        let (open, close) = (format!("<{item}>"), format!("</{item}>"));
        let emptied = move |body: &str| without(body, &open, &close);
        let tail = format!("</{root}>");
        let add = {
            let emptied = emptied.clone();
            move |more: &'static str| {
                let (emptied, tail) = (emptied.clone(), tail.clone());
                edit(move |body| emptied(body).replace(&tail, &format!("{more}{tail}")))
            }
        };
        let truncated = "<IsTruncated>true";
        let (e, f, g, h) = (emptied.clone(), emptied.clone(), emptied.clone(), emptied.clone());
        let again = if of == "versions" {
            "<NextKeyMarker>zzz</NextKeyMarker><NextVersionIdMarker>1</NextVersionIdMarker>"
        } else {
            "<NextContinuationToken>7a7a7a</NextContinuationToken>"
        };
        let tail = format!("</{root}>");
        for (name, bad) in [
            ("root alone", edit(move |_| format!("<{root}></{root}>"))),
            ("root alone, closed at once", edit(move |_| format!("<{root}/>"))),
            ("start of the root", edit(move |_| format!("<{root}>"))),
            (
                "another root",
                edit(move |body| emptied(body).replace(root, "ListAllResult")),
            ),
            (
                "another bucket",
                edit(move |body| e(body).replace("<Name>archive", "<Name>archive2")),
            ),
            (
                "another prefix",
                edit(move |body| f(body).replace("<Prefix>root", "<Prefix>route")),
            ),
            (
                "not said whether more follows",
                edit(move |body| g(body).replace("<IsTruncated>false</IsTruncated>", "")),
            ),
            (
                "more follows nowhere",
                edit({
                    let emptied = h.clone();
                    move |body| emptied(body).replace("<IsTruncated>false", truncated)
                }),
            ),
            (
                "more follows at the same place for ever",
                edit(move |body| {
                    let emptied = h(body).replace("<IsTruncated>false", truncated);
                    emptied.replace(&tail, &format!("{again}{tail}"))
                }),
            ),
            (
                "summed up",
                add("<CommonPrefixes><Prefix>root%2Fx%2F</Prefix></CommonPrefixes>"),
            ),
            (
                "encoded otherwise",
                swap("<EncodingType>url", "<EncodingType>base64"),
            ),
            (
                "inside the first key",
                edit(|body| body[..body.find("<Key>").unwrap_or(0) + 8].to_owned()),
            ),
            ("a nameless one", edit(|body| without(body, "<Key>", "</Key>"))),
        ] {
            cases.push(case(format!("{root}: {name}"), of, bad));
        }
    }
    for (name, bad) in [
        (
            "none of those that it counts",
            edit(|body| without(body, "<Contents>", "</Contents>")),
        ),
        ("more than it counts", swap("<KeyCount>3", "<KeyCount>2")),
        ("a count that is none", swap("<KeyCount>3", "<KeyCount>three")),
    ] {
        cases.push(case(format!("ListBucketResult: {name}"), "list-type=2", bad));
    }
    cases
}
