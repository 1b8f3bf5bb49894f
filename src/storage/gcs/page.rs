//! What GCS answers to a listing, judged by the raw body.

use super::super::driver::{Cursor, EditionKind, ListingPage, NextPage, Object};
use super::super::request::Doubt;
use serde::{Deserialize, Deserializer};

/// <https://cloud.google.com/storage/docs/json_api/v1/objects/list>
///
/// What a listing does not have may say anything, also that this one is none or leaves something out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Answered {
    kind: String,
    #[serde(default)]
    items: Vec<Item>,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default, deserialize_with = "said")]
    next_page_token: Option<String>,
}

/// An object has more than what was asked for where a server does not know how to leave it out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    bucket: String,
    name: String,
    /// A number, written as a string.
    generation: String,
    size: Option<String>,
    /// When a newer generation took its place.
    time_deleted: Option<String>,
}

/// What is there says something: `null` does not.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// The page that a body is, if it is whole and of this bucket; else what is wrong with it. The prefix is not repeated: the names are
/// held against it.
pub(super) fn read(body: &[u8], bucket: &str) -> Result<ListingPage, Doubt> {
    let answered: Answered = serde_json::from_slice(body)
        .map_err(|_| Doubt("it is no whole list of objects, or has something else in it"))?;
    if answered.kind != "storage#objects" {
        return Err(Doubt("it is the answer to something else"));
    }
    if !answered.prefixes.is_empty() {
        return Err(Doubt("it leaves out names that it has summed up"));
    }
    let next = match answered.next_page_token {
        Some(token) if token.is_empty() => return Err(Doubt("more follows, and it does not say where")),
        Some(token) => NextPage::At(Cursor::token(token)),
        None => NextPage::End,
    };
    let objects = answered.items.into_iter().map(|item| item.into_object(bucket));
    Ok(ListingPage::new(objects.collect::<Result<_, _>>()?, next))
}

impl Item {
    fn into_object(self, bucket: &str) -> Result<Object, Doubt> {
        if self.bucket != bucket {
            return Err(Doubt("it lists another bucket"));
        }
        if self.name.is_empty() || self.generation.is_empty() {
            return Err(Doubt("it has something without a name or a number"));
        }
        let size = self.size.as_deref().unwrap_or("0");
        Ok(Object {
            name: self.name.into_bytes(),
            edition: Some(self.generation),
            bytes: Some(size.parse().map_err(|_| Doubt("it has a number that is none"))?),
            current: self.time_deleted.is_none(),
            kind: EditionKind::Version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: &str =
        "{\"bucket\":\"b\",\"name\":\"a\",\"generation\":\"1\",\"size\":\"10\",\"etag\":\"x\"}";

    fn page(more: &str) -> Result<ListingPage, Doubt> {
        read(format!("{{\"kind\":\"storage#objects\"{more}}}").as_bytes(), "b")
    }

    #[test]
    fn a_whole_list_is_read() {
        assert!(page("").unwrap().objects.is_empty());
        assert!(page(",\"items\":[],\"prefixes\":[]").unwrap().objects.is_empty());
        let two = page(&format!(",\"items\":[{ITEM},{ITEM}],\"nextPageToken\":\"t\"")).unwrap();
        assert_eq!((two.objects.len(), two.objects[0].bytes), (2, Some(10)));
        assert_eq!(two.next, NextPage::At(Cursor::token("t")));
    }

    #[test]
    fn a_list_with_anything_else_in_it_is_none() {
        for more in [
            ",\"error\":{}",
            ",\"error\":null",
            ",\"unreachable\":[\"x\"]",
            ",\"Items\":[{}]",
            ",\"ITEMS\":[]",
            ",\"nextpagetoken\":\"t\"",
            ",\"nextPageToken\":null",
            ",\"nextPageToken\":\"\"",
            ",\"nextPageToken\":1",
            ",\"items\":null",
            ",\"items\":{}",
            ",\"items\":[],\"items\":[]",
            ",\"items\":[null]",
            ",\"items\":[{}]",
            ",\"prefixes\":null",
            ",\"prefixes\":[\"a/\"]",
            ",\"kind\":\"storage#objects\"",
            "}{",
            "},{\"kind\":\"storage#objects\"",
            ",",
        ] {
            assert!(page(more).is_err(), "{more}");
        }
        for (from, to) in [
            ("\"bucket\":\"b\"", "\"bucket\":\"c\""),
            ("\"bucket\":\"b\",", ""),
            ("\"name\"", "\"Name\""),
            ("\"name\":\"a\"", "\"name\":\"\""),
            ("\"name\":\"a\"", "\"name\":\"a\",\"name\":\"b\""),
            ("\"name\":\"a\"", "\"name\":\"\\ud800\""),
            ("\"1\"", "\"\""),
            ("\"10\"", "\"ten\""),
            ("\"10\"", "\"-1\""),
        ] {
            let item = ITEM.replacen(from, to, 1);
            assert_ne!(item, ITEM);
            assert!(page(&format!(",\"items\":[{item}]")).is_err(), "{item}");
        }
        for body in [
            "",
            "null",
            "[]",
            "{}",
            "{\"kind\":\"storage#object\"}",
            "{\"items\":[]}",
        ] {
            assert!(read(body.as_bytes(), "b").is_err(), "{body}");
        }
    }

    #[test]
    fn a_list_that_is_cut_off_anywhere_or_goes_on_is_none() {
        let whole = format!("{{\"kind\":\"storage#objects\",\"items\":[{ITEM}]}}");
        assert!(read(whole.as_bytes(), "b").is_ok());
        for end in 0..whole.len() {
            assert!(read(&whole.as_bytes()[..end], "b").is_err(), "{}", &whole[..end]);
        }
        assert!(read(format!("{whole}\0").as_bytes(), "b").is_err());
        assert!(read(format!("{whole}{{}}").as_bytes(), "b").is_err());
    }
}
