//! What can be wrong with a listing of Azure.

use super::case::{Bad, Case, anywhere, case, edit, swap, without};

pub fn cases() -> Vec<Case> {
    let mut cases = anywhere();
    let emptied = |body: &str| without(body, "<Blob>", "</Blob>");
    let next = "<NextMarker></NextMarker>";
    for code in [
        "ConcurrentOperations",
        "AccountBeingCreated",
        "ContainerBeingDeleted",
    ] {
        let body = format!("<Error><Code>{code}</Code></Error>").into_bytes();
        cases.push(case(code, "", Bad::Instead(409, body)));
    }
    for (name, bad) in [
        (
            "room for nothing",
            edit(move |body| {
                let most = "<MaxResults>1000</MaxResults>";
                emptied(body).replace(most, "<MaxResults>0</MaxResults>")
            }),
        ),
        (
            "summed up unasked",
            edit(move |body| emptied(body).replace("<Blobs>", "<Delimiter>/</Delimiter><Blobs>")),
        ),
        (
            "an error inside",
            edit(move |body| emptied(body).replace("<Blobs>", "<Error><Code>x</Code></Error><Blobs>")),
        ),
        (
            "an error inside its list",
            edit(move |body| emptied(body).replace("<Blobs>", "<Blobs><Error><Code>x</Code></Error>")),
        ),
        (
            "a text for its list",
            edit(move |body| emptied(body).replace("<Blobs>", "<Blobs>The server is busy.")),
        ),
        (
            "its list by another name",
            edit(|body| body.replace("Blobs>", "blobs>")),
        ),
        (
            "an empty list beside one by another name",
            edit(|body| {
                body.replace("<Blobs>", "<Blobs/><blobs>")
                    .replace("</Blobs>", "</blobs>")
            }),
        ),
        (
            "more than it has room for",
            swap("<MaxResults>1000", "<MaxResults>2"),
        ),
        (
            "an error beside a good status",
            Bad::Header("x-ms-error-code", "InternalError"),
        ),
        (
            "blobs by another name",
            edit(|body| body.replace("<Blob>", "<blob>").replace("</Blob>", "</blob>")),
        ),
        (
            "more follows at no place",
            edit(move |body| emptied(body).replace(next, "<NextMarker><x/></NextMarker>")),
        ),
        (
            "another root",
            edit(move |body| emptied(body).replace("EnumerationResults", "Results")),
        ),
        (
            "root alone",
            edit(|_| "<EnumerationResults ContainerName=\"archive\"/>".to_owned()),
        ),
        (
            "another container",
            edit(move |body| emptied(body).replace("ContainerName=\"archive", "ContainerName=\"other")),
        ),
        (
            "no container",
            edit(move |body| emptied(body).replace("ContainerName=\"archive\"", "")),
        ),
        (
            "another prefix",
            edit(move |body| emptied(body).replace("<Prefix>root", "<Prefix>route")),
        ),
        (
            "no prefix",
            edit(move |body| without(&emptied(body), "<Prefix>", "</Prefix>")),
        ),
        (
            "begins elsewhere",
            edit(move |body| emptied(body).replace("<MaxResults>", "<Marker>9</Marker><MaxResults>")),
        ),
        (
            "summed up",
            edit(move |body| {
                emptied(body).replace("<Blobs>", "<Blobs><BlobPrefix><Name>root/x/</Name></BlobPrefix>")
            }),
        ),
        ("no list", edit(|body| without(body, "<Blobs>", "</Blobs>"))),
        (
            "not said whether more follows",
            edit(move |body| emptied(body).replace(next, "")),
        ),
        (
            "more follows at the same place for ever",
            edit(move |body| emptied(body).replace(next, "<NextMarker>0</NextMarker>")),
        ),
        ("a nameless one", edit(|body| without(body, "<Name>", "</Name>"))),
        (
            "said twice",
            edit(move |body| emptied(body).replace("<Blobs>", "<Blobs></Blobs><Blobs>")),
        ),
    ] {
        cases.push(case(name, "", bad));
    }
    cases
}
