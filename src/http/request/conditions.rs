//! `If-Match` and `If-None-Match` (RFC 9110, section 13): lists of entity tags, weak ones, and the asterisk.
//!
//! An entity's tag is its version, and where an answer tells more than the version implies (whose else its storage is, what has
//! become of its purge), a hyphen and a digest of that: `"3"`, `"3-9f86d081884c7d657eb2aa0c"`. On a command the conditions go along to
//! where it is decided, which is by the version alone: what else was told may have changed since its sender looked, and nobody
//! remembers what it was, so the digest shows by itself that this service has made it. Any other text is the tag of nothing. On a read
//! the conditions are looked at when the answer has its tag, and compared with that character by character.

use crate::http::answer::entity_tag::{MARK, mark_of};
use crate::http::answer::error::ApiError;
use crate::http::answer::success::{not_modified, shows_all};
use crate::ledger::writer::{VersionCondition, Versions};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, Method};

/// A list of entity tags, as the API's description shows it.
pub(in crate::http) const TAGS_PATTERN: &str =
    r#"^(\*|(W/)?"[!#-~]{0,128}"(, ?(W/)?"[!#-~]{0,128}"){0,31})$"#;

/// An entity tag: what stands between its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    opaque: Vec<u8>,
}

impl Tag {
    /// The version that it stands for, if it is one of ours. Tags are compared as they are written: "01" is none.
    fn version(&self) -> Option<u64> {
        let text = std::str::from_utf8(&self.opaque).ok()?;
        let digits = match text.split_once('-') {
            None => text,
            Some((digits, _)) => {
                let (told, mark) = text.split_at_checked(text.len().checked_sub(MARK)?)?;
                (mark == mark_of(told)).then_some(digits)?
            }
        };
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let shortest = digits == "0" || !digits.starts_with('0');
        digits.parse().ok().filter(|_| plain && shortest)
    }
}

/// What one of the two headers names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    These(Vec<Tag>),
}

impl Tags {
    fn versions(&self, weak_too: bool) -> Versions {
        match self {
            Self::Any => Versions::Any,
            Self::These(tags) => Versions::OneOf(
                tags.iter()
                    .filter(|tag| weak_too || !tag.weak)
                    .filter_map(Tag::version)
                    .collect(),
            ),
        }
    }

    /// Whether they name exactly what an answer tells.
    fn name(&self, tag: &Tag, weak_too: bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags
                .iter()
                .any(|one| (weak_too || !one.weak) && one.opaque == tag.opaque),
        }
    }
}

/// The conditions of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conditions {
    matches: Option<Tags>,
    none_matches: Option<Tags>,
}

impl Conditions {
    /// Reads the two headers.
    ///
    /// # Errors
    /// [`ApiError::BadData`] naming the header.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            matches: tags(headers, &IF_MATCH, "If-Match")?,
            none_matches: tags(headers, &IF_NONE_MATCH, "If-None-Match")?,
        })
    }

    /// Whether they fail for whatever exists and nothing more may be told of: `If-Match` names something of it, and `If-None-Match: *`
    /// demands that there is nothing. Other tags are not compared, as the answer would tell a version.
    #[must_use]
    pub fn fail_on_what_is_hidden(&self) -> bool {
        self.matches.is_some() || self.none_matches == Some(Tags::Any)
    }

    /// The conditions as a command takes them along; `None` without any. `If-Match` compares strongly, `If-None-Match` weakly.
    #[must_use]
    pub fn on_version(&self) -> Option<VersionCondition> {
        let condition = VersionCondition {
            matches: self.matches.as_ref().map(|tags| tags.versions(false)),
            none_matches: self.none_matches.as_ref().map(|tags| tags.versions(true)),
        };
        Some(condition).filter(|one| one.matches.is_some() || one.none_matches.is_some())
    }

    /// Looks at the conditions of a request to something of which there is nothing to show.
    ///
    /// # Errors
    /// [`ApiError::PreconditionFailed`].
    pub const fn on_nothing(&self) -> Result<(), ApiError> {
        match self.matches {
            None => Ok(()),
            Some(_) => Err(ApiError::PreconditionFailed),
        }
    }

    /// Looks at the conditions of a request to something that exists and has no tag.
    ///
    /// # Errors
    /// [`ApiError::PreconditionFailed`].
    pub fn without_tag(&self) -> Result<(), ApiError> {
        let matches = !matches!(self.matches, Some(Tags::These(_)));
        let none_matches = self.none_matches != Some(Tags::Any);
        if matches && none_matches {
            Ok(())
        } else {
            Err(ApiError::PreconditionFailed)
        }
    }
}

fn tags(headers: &HeaderMap, name: &HeaderName, key: &'static str) -> Result<Option<Tags>, ApiError> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let lines: Vec<&[u8]> = headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes())
        .collect();
    // Lines of one name are one list (RFC 9110, section 5.3).
    parse(&lines.join(&b","[..]))
        .map(Some)
        .ok_or_else(|| ApiError::bad_data(key, "must be * or a list of entity tags, each in quotes"))
}

/// `*` or at least one tag. Empty elements of a list count for nothing (RFC 9110, section 5.6.1.2).
fn parse(list: &[u8]) -> Option<Tags> {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        while let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
        }
        if rest.is_empty() {
            return Some(Tags::These(tags)).filter(|tags| *tags != Tags::These(Vec::new()));
        }
        let weak = rest.strip_prefix(b"W/");
        let quoted = weak.unwrap_or(rest).strip_prefix(b"\"")?;
        let end = quoted.iter().position(|byte| *byte == b'"')?;
        let (opaque, after) = (&quoted[..end], quoted[end + 1..].trim_ascii_start());
        let allowed = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        if !opaque.iter().all(allowed) || !(after.is_empty() || after.starts_with(b",")) {
            return None;
        }
        tags.push(Tag {
            weak: weak.is_some(),
            opaque: opaque.to_vec(),
        });
        rest = after;
    }
}

/// The headers of a read that has conditions.
pub fn of_a_read(request: &Request) -> Option<HeaderMap> {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    let asked = || {
        let mut names = [IF_MATCH, IF_NONE_MATCH].into_iter();
        names.any(|name| request.headers().contains_key(name))
    };
    (reads && asked()).then(|| request.headers().clone())
}

/// Answers a read of these headers whose sender has the current state with 304, and one that wants another state with 412: wherever
/// the answer has a tag.
pub fn answered(headers: &HeaderMap, response: Response) -> Response {
    let tag = response.headers().get(ETAG).map(|tag| tag.as_bytes());
    let Some(Tags::These(tag)) = tag.filter(|_| shows_all(&response)).and_then(parse) else {
        return response;
    };
    let conditions = match Conditions::of(headers) {
        Ok(conditions) => conditions,
        Err(error) => return error.into_response(),
    };
    let named = |tags: Tags, weak_too| tag.iter().any(|tag| tags.name(tag, weak_too));
    if conditions.matches.is_some_and(|tags| !named(tags, false)) {
        return ApiError::PreconditionFailed.into_response();
    }
    if conditions.none_matches.is_some_and(|tags| named(tags, true)) {
        return not_modified(response);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::answer::entity_tag::tag_with;
    use http::HeaderValue;

    fn conditions(name: HeaderName, lines: &[&str]) -> Result<Conditions, ApiError> {
        let value = |line: &&str| HeaderValue::from_bytes(line.as_bytes()).unwrap();
        Conditions::of(&lines.iter().map(|line| (name.clone(), value(line))).collect())
    }

    #[test]
    fn a_list_names_versions_strongly_or_weakly() {
        for (lines, strong, weak) in [
            (&["\"3\""][..], vec![3], vec![3]),
            (&["\"1\", \"2\",\"3\""], vec![1, 2, 3], vec![1, 2, 3]),
            (&["\"1\"", "\"2\""], vec![1, 2], vec![1, 2]),
            (&[" , \"1\" ,,\t\"2\", "], vec![1, 2], vec![1, 2]),
            (&["W/\"1\", \"2\""], vec![2], vec![1, 2]),
            (
                &["\"3-9f86d081884c7d65\", \"4-\", \"-5\", \"06-a\", \"7-x\""],
                vec![],
                vec![],
            ),
            (&["\"a,b\", \"*\", \"\", \"\u{fc}\", \"2\""], vec![2], vec![2]),
            (
                &["\"01\", \"-1\", \"+1\", \"18446744073709551616\", \"0\""],
                vec![0],
                vec![0],
            ),
        ] {
            let (matches, none_matches) = (conditions(IF_MATCH, lines), conditions(IF_NONE_MATCH, lines));
            let condition = matches.unwrap().on_version().unwrap();
            assert_eq!(condition.matches, Some(Versions::OneOf(strong)), "{lines:?}");
            let condition = none_matches.unwrap().on_version().unwrap();
            assert_eq!(condition.none_matches, Some(Versions::OneOf(weak)), "{lines:?}");
        }
        let any = conditions(IF_MATCH, &["\t* "]).unwrap().on_version().unwrap();
        assert_eq!(any.matches, Some(Versions::Any));
        assert_eq!(conditions(IF_MATCH, &[]).unwrap().on_version(), None);
    }

    #[test]
    fn a_tag_that_was_given_stands_for_its_version_and_what_only_looks_like_one_for_none() {
        let given = tag_with(12, &("told", 1)).unwrap();
        let given = given.to_str().unwrap();
        let version = |text: &str| {
            Tag {
                weak: false,
                opaque: text.trim_matches('"').into(),
            }
            .version()
        };
        assert_eq!(version(given), Some(12));
        assert_ne!(given, tag_with(12, &("told", 2)).unwrap());
        for other in [
            given.replace("12-", "13-"),
            given.replace("12-", "012-"),
            given.replace("12-", "1-2"),
            given.replace("12-", "12-a"),
            given.replace("12-", "-"),
            given.to_ascii_uppercase().replace("12-", "12-A"),
            given[..given.len() - 2].to_owned(),
            given[1..given.len() - 1].to_owned() + "0",
        ] {
            assert_eq!(version(&other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused_by_name() {
        for lines in [
            &["1"][..],
            &["\"1"],
            &["1\""],
            &["\"1\" \"2\""],
            &["\"1\"2"],
            &["\"a b\""],
            &["\"a\tb\""],
            &["w/\"1\""],
            &["W/ \"1\""],
            &["W/1"],
            &[""],
            &[" , "],
            &["*, \"1\""],
            &["\"1\"", "*"],
            &["*", "*"],
            &["**"],
        ] {
            for (name, key) in [(IF_MATCH, "If-Match"), (IF_NONE_MATCH, "If-None-Match")] {
                let error = conditions(name, lines).unwrap_err();
                let told = error.describe(uuid::Uuid::nil()).details.unwrap();
                assert_eq!(told["key"], key, "{lines:?}");
            }
        }
    }

    #[test]
    fn what_has_no_tag_matches_the_asterisk_alone() {
        let holds = |name, line: &str| conditions(name, &[line]).unwrap().without_tag().is_ok();
        assert!(holds(IF_MATCH, "*") && !holds(IF_MATCH, "\"1\""));
        assert!(!holds(IF_NONE_MATCH, "*") && holds(IF_NONE_MATCH, "\"1\""));
        let holds = |name, line: &str| conditions(name, &[line]).unwrap().on_nothing().is_ok();
        assert!(!holds(IF_MATCH, "*") && !holds(IF_MATCH, "\"1\""));
        assert!(holds(IF_NONE_MATCH, "*") && holds(IF_NONE_MATCH, "\"1\""));
    }
}
