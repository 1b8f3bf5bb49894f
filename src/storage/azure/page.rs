//! What Azure answers to a listing, judged by the raw body.

use super::super::driver::{Cursor, EditionKind, ListingPage, NextPage, Object};
use super::super::request::Doubt;
use super::super::xml::{self, Element};

/// The page that a body is, if it is whole and the answer to what was asked.
///
/// <https://learn.microsoft.com/rest/api/storageservices/list-blobs>
pub(super) fn read(
    body: &[u8],
    container: &str,
    prefix: &str,
    from: Option<&Cursor>,
) -> Result<ListingPage, Doubt> {
    let root = xml::parse(body, "EnumerationResults")?;
    root.only(&[
        "Prefix",
        "Marker",
        "MaxResults",
        "Delimiter",
        "Blobs",
        "NextMarker",
    ])?;
    if root.attribute("ContainerName") != Some(container) {
        return Err(Doubt("it lists another container"));
    }
    let told = name(&root, "Prefix")?.unwrap_or_default();
    if told != prefix.as_bytes() {
        return Err(Doubt("it lists another prefix"));
    }
    let marker = from.and_then(|from| from.token.as_deref());
    if root.said("Marker")?.is_some_and(|told| Some(told) != marker) {
        return Err(Doubt("it begins elsewhere than it was asked to"));
    }
    if root.said("Delimiter")?.is_some() {
        return Err(Doubt("it sums up names, and was not asked to"));
    }
    let most = root.number("MaxResults")?;
    if most == Some(0) {
        return Err(Doubt("it has room for nothing"));
    }
    let blobs = root.optional("Blobs")?.ok_or(Doubt("it lists nothing at all"))?;
    blobs.only(&["Blob", "BlobPrefix"])?;
    if blobs.all("BlobPrefix").next().is_some() {
        return Err(Doubt("it leaves out names that it has summed up"));
    }
    let objects = blobs
        .all("Blob")
        .map(blob)
        .collect::<Result<Vec<Object>, Doubt>>()?;
    if most.is_some_and(|most| most < objects.len() as u64) {
        return Err(Doubt("it has more names than it has room for"));
    }
    let next = root
        .optional_text("NextMarker")?
        .ok_or(Doubt("it does not say whether more follows"))?;
    let next = if next.is_empty() {
        NextPage::End
    } else {
        NextPage::At(Cursor::token(next))
    };
    Ok(ListingPage::new(objects, next))
}

/// The name that an element below `parent` holds; one that XML cannot hold is percent-encoded.
fn name(parent: &Element<'_>, of: &str) -> Result<Option<Vec<u8>>, Doubt> {
    let Some(element) = parent.optional(of)? else {
        return Ok(None);
    };
    let text = element.text()?;
    match element.attribute("Encoded") {
        None | Some("false") => Ok(Some(text.as_bytes().to_vec())),
        Some("true") => xml::percent_decoded(text).map(Some),
        Some(_) => Err(Doubt("it says neither true nor false")),
    }
}

fn blob(element: &Element<'_>) -> Result<Object, Doubt> {
    let nameless = Doubt("it has something without a name");
    let name = name(element, "Name")?.ok_or(nameless)?;
    if name.is_empty() {
        return Err(nameless);
    }
    let properties = element.optional("Properties")?;
    let bytes = match properties {
        Some(properties) => properties.number("Content-Length")?,
        None => None,
    };
    let (snapshot, version) = (element.said("Snapshot")?, element.said("VersionId")?);
    let current =
        snapshot.is_none() && (version.is_none() || element.flag("IsCurrentVersion")? == Some(true));
    Ok(Object {
        name,
        edition: snapshot.or(version).map(ToOwned::to_owned),
        bytes: Some(bytes.unwrap_or(0)),
        current,
        kind: if snapshot.is_some() {
            EditionKind::Snapshot
        } else {
            EditionKind::Version
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://a/\" \
        ContainerName=\"c\"><Prefix>p/</Prefix><MaxResults>1000</MaxResults><Blobs>\
        <Blob><Name>p/a</Name><Properties><Content-Length>10</Content-Length></Properties><OrMetadata/></Blob>\
        <Blob><Name Encoded=\"true\">p/%EF%BF%BF</Name><Snapshot>s</Snapshot></Blob>\
        <Blob><Name>p/a</Name><VersionId>v</VersionId></Blob></Blobs><NextMarker/></EnumerationResults>";

    fn page(body: &str) -> Result<ListingPage, Doubt> {
        read(body.as_bytes(), "c", "p/", None)
    }

    #[test]
    fn a_whole_list_is_read() {
        let whole = page(WHOLE).unwrap();
        let told: Vec<_> = whole
            .objects
            .iter()
            .map(|object| {
                (
                    object.name.as_slice(),
                    object.edition.as_deref(),
                    object.bytes,
                    object.current,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (b"p/a".as_slice(), None, Some(10), true),
                ("p/\u{ffff}".as_bytes(), Some("s"), Some(0), false),
                (b"p/a", Some("v"), Some(0), false),
            ]
        );
        assert_eq!(whole.next, NextPage::End);
        // What Azurite writes, and a second page.
        let empty = "<EnumerationResults ContainerName=\"c\"><Prefix>p/</Prefix><Marker/><MaxResults>1000</MaxResults>\
            <Delimiter/><Blobs/><NextMarker/></EnumerationResults>";
        assert!(page(empty).unwrap().objects.is_empty());
        let second = empty.replace("<Marker/>", "<Marker>m</Marker>");
        let from = Cursor::token("m");
        assert!(read(second.as_bytes(), "c", "p/", Some(&from)).is_ok());
        assert!(page(&second).is_err());
    }

    #[test]
    fn a_list_that_is_cut_off_anywhere_or_goes_on_is_none() {
        for (end, _) in WHOLE.char_indices() {
            assert!(page(&WHOLE[..end]).is_err(), "{}", &WHOLE[..end]);
        }
        for more in ["x", "\0", "<x/>", WHOLE] {
            assert!(page(&format!("{WHOLE}{more}")).is_err(), "{more}");
        }
    }

    #[test]
    fn a_list_with_anything_else_in_it_is_none() {
        for (from, to) in [
            ("<MaxResults>1000", "<MaxResults>0"),
            ("<MaxResults>1000", "<MaxResults>2"),
            ("<MaxResults>1000", "<MaxResults>many"),
            ("<MaxResults>1000", "<MaxResults><x/>"),
            ("<Blobs>", "<Delimiter>/</Delimiter><Blobs>"),
            ("<Blobs>", "<Delimiter><x/></Delimiter><Blobs>"),
            ("<Blobs>", "<Error><Code>InternalError</Code></Error><Blobs>"),
            ("<Blobs>", "<Entries/><Blobs>"),
            ("<Blobs>", "<Blobs/><Blobs>"),
            ("<Blobs>", "<Marker>m</Marker><Blobs>"),
            ("<Blobs>", "<Blobs><Error/>"),
            ("<Blobs>", "<Blobs><blob/>"),
            ("<Blobs>", "<Blobs>text"),
            ("<Blobs>", "<Blobs><BlobPrefix><Name>p/x/</Name></BlobPrefix>"),
            ("<NextMarker/>", ""),
            ("<NextMarker/>", "<nextmarker/>"),
            ("<NextMarker/>", "<NextMarker/><NextMarker/>"),
            ("<NextMarker/>", "<NextMarker><x/></NextMarker>"),
            ("ContainerName=\"c\"", ""),
            ("ContainerName=\"c\"", "ContainerName=\"d\""),
            ("ContainerName=\"c\"", "ContainerName=\"c\" ContainerName=\"c\""),
            ("<Prefix>p/</Prefix>", ""),
            ("<Prefix>p/</Prefix>", "<Prefix/>"),
            ("<Prefix>p/</Prefix>", "<Prefix>p/<x/></Prefix>"),
            ("<Prefix>p/</Prefix>", "<Prefix>p</Prefix>"),
            ("<Name>p/a</Name>", ""),
            ("<Name>p/a</Name>", "<Name/>"),
            ("<Name>p/a</Name>", "<name>p/a</name>"),
            ("<Name>p/a</Name>", "<Name><x>p/a</x></Name>"),
            ("<Name>p/a</Name>", "<Name>p/a</Name><Name>p/b</Name>"),
            ("Encoded=\"true\"", "Encoded=\"base64\""),
            ("%EF%BF%BF", "%EF%BF%B"),
            ("%EF%BF%BF", "%zz"),
            ("<Content-Length>10", "<Content-Length>ten"),
        ] {
            let other = WHOLE.replacen(from, to, 1);
            assert_ne!(other, WHOLE);
            assert!(page(&other).is_err(), "{from} {to}");
        }
    }
}
