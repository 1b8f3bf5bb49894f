//! Strict JSON objects: what a lenient parser would guess at is refused.
//!
//! Two parsers that read a duplicate key differently disagree about what was asked for, so duplicates are refused at any
//! depth. Depth is bounded before the parser's own recursion limit, and U+0000 is refused because PostgreSQL cannot hold
//! it in `jsonb`. Integers beyond 64 bits are refused because they would come back changed; numbers with a fraction or an
//! exponent are doubles, as RFC 8259 (section 6) lets everyone expect. Request bodies, token headers and token claims all
//! come through here.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// The deepest nesting that is read; the object itself is level 1.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not an acceptable JSON object. `key` is always the top-level field in which the fault lies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// Not UTF-8, not JSON, not an object, or followed by something else.
    #[error("not a JSON object")]
    Malformed,
    /// A key occurs twice in one object.
    #[error("a key occurs twice")]
    DuplicateKey {
        /// The top-level field.
        key: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// The top-level field.
        key: String,
    },
    /// A string or a key holds U+0000.
    #[error("a string contains U+0000")]
    NulCharacter {
        /// The top-level field.
        key: String,
    },
    /// A number is an integer beyond 64 bits, or beyond a double.
    #[error("a number is out of range")]
    NumberOutOfRange {
        /// The top-level field.
        key: String,
    },
}

/// Reads `bytes` as exactly one JSON object.
///
/// # Errors
/// [`JsonFault`], which names the top-level field where there is one.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    let faults = Faults::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let object = deserializer
        .deserialize_any(TopLevel { faults: &faults })
        .and_then(|object| {
            deserializer.end()?;
            Ok(object)
        });
    object.map_err(|_| faults.into_fault())
}

/// What a visitor found, kept beside serde's error because that one carries text only.
#[derive(Default)]
struct Faults {
    kind: Cell<Option<FaultKind>>,
    key: Cell<Option<String>>,
}

#[derive(Clone, Copy)]
enum FaultKind {
    DuplicateKey,
    TooDeep,
    NulCharacter,
    NumberOutOfRange,
}

impl Faults {
    fn raise<E: serde::de::Error>(&self, kind: FaultKind) -> E {
        self.kind.set(Some(kind));
        E::custom("refused")
    }

    fn into_fault(self) -> JsonFault {
        let key = self.key.into_inner().unwrap_or_default();
        match self.kind.into_inner() {
            None => JsonFault::Malformed,
            Some(FaultKind::DuplicateKey) => JsonFault::DuplicateKey { key },
            Some(FaultKind::TooDeep) => JsonFault::TooDeep { key },
            Some(FaultKind::NulCharacter) => JsonFault::NulCharacter { key },
            Some(FaultKind::NumberOutOfRange) => JsonFault::NumberOutOfRange { key },
        }
    }
}

/// The object itself: notes the field that a fault lies in.
struct TopLevel<'a> {
    faults: &'a Faults,
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = check_key(&object, &key, self.faults)
                .and_then(|()| entries.next_value::<&RawValue>())
                .and_then(|raw| value_of_field(raw.get(), self.faults));
            match value {
                Ok(value) => object.insert(key, value),
                Err(error) => {
                    self.faults.key.set(Some(key));
                    return Err(error);
                }
            };
        }
        Ok(object)
    }
}

/// The value of a top-level field. Its numbers are looked at as they are written: a parser tells of an integer beyond 64
/// bits only that it is a double by now.
fn value_of_field<E: serde::de::Error>(text: &str, faults: &Faults) -> Result<Value, E> {
    if !numbers(text).all(is_kept) {
        return Err(faults.raise(FaultKind::NumberOutOfRange));
    }
    let nested = Nested { depth: 1, faults };
    nested
        .deserialize(&mut serde_json::Deserializer::from_str(text))
        .map_err(|_| E::custom("refused"))
}

/// The numbers of a JSON text, as they are written.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    let in_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches(|c: char| c != '"' && c != '-' && !c.is_ascii_digit());
            if let Some(string) = rest.strip_prefix('"') {
                rest = after_string(string);
            } else if rest.is_empty() {
                return None;
            } else {
                let (number, behind) = rest.split_at(rest.find(|c| !in_number(c)).unwrap_or(rest.len()));
                rest = behind;
                return Some(number);
            }
        }
    })
}

/// What follows the string whose opening quote comes before `text`.
fn after_string(text: &str) -> &str {
    let mut escaped = false;
    let end = text.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.map_or("", |quote| &text[quote + 1..])
}

/// Whether a number comes back as the same number.
fn is_kept(number: &str) -> bool {
    if number.contains(['.', 'e', 'E']) {
        number.parse::<f64>().is_ok_and(f64::is_finite)
    } else {
        number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok()
    }
}

/// A value inside `depth` objects and arrays.
#[derive(Clone, Copy)]
struct Nested<'a> {
    depth: usize,
    faults: &'a Faults,
}

impl Nested<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(self.faults.raise(FaultKind::TooDeep));
        }
        Ok(Self {
            depth: self.depth + 1,
            faults: self.faults,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        check_text(value, self.faults)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        check_text(&value, self.faults)?;
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            check_key(&object, &key, self.faults)?;
            let value = entries.next_value_seed(deeper)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

fn check_key<E: serde::de::Error>(object: &Map<String, Value>, key: &str, faults: &Faults) -> Result<(), E> {
    check_text(key, faults)?;
    if object.contains_key(key) {
        return Err(faults.raise(FaultKind::DuplicateKey));
    }
    Ok(())
}

fn check_text<E: serde::de::Error>(text: &str, faults: &Faults) -> Result<(), E> {
    if text.contains('\0') {
        return Err(faults.raise(FaultKind::NulCharacter));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> JsonFault {
        parse_object(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_object_of_every_kind_of_value_is_read_as_it_stands() {
        let text = r#"{"a":null,"b":[true,-1,2.5,18446744073709551615],"c":{"d":"é\n","e":{}}}"#;
        let object = parse_object(text.as_bytes()).unwrap();
        assert_eq!(
            Value::Object(object),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }

    #[test]
    fn anything_that_is_not_exactly_one_object_is_malformed() {
        for text in [
            "",
            " ",
            "null",
            "1",
            "\"a\"",
            "[]",
            "[{}]",
            "{",
            "}",
            "{}{}",
            "{} x",
            "{a:1}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "{\"a\":01}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\n\"}",
            "\u{feff}{}",
            "{\"a\":undefined}",
            "// c\n{}",
        ] {
            assert_eq!(fault(text), JsonFault::Malformed, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_utf8_is_malformed() {
        for bytes in [
            &b"{\"a\":\"\xff\"}"[..],
            b"{\"\xc3\":1}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xed\xa0\x80\"}",
        ] {
            assert_eq!(parse_object(bytes).unwrap_err(), JsonFault::Malformed);
        }
    }

    #[test]
    fn a_duplicate_key_is_refused_at_any_depth_and_names_the_top_level_field() {
        assert_eq!(
            fault(r#"{"a":1,"a":1}"#),
            JsonFault::DuplicateKey { key: "a".into() }
        );
        assert_eq!(
            fault(r#"{"a":1,"\u0061":2}"#),
            JsonFault::DuplicateKey { key: "a".into() }
        );
        assert_eq!(
            fault(r#"{"m":[{"x":{"y":1,"y":2}}]}"#),
            JsonFault::DuplicateKey { key: "m".into() }
        );
    }

    #[test]
    fn sixty_four_levels_are_read_and_sixty_five_are_not() {
        let nested =
            |levels: usize| format!("{{\"m\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert!(parse_object(nested(64).as_bytes()).is_ok());
        assert_eq!(fault(&nested(65)), JsonFault::TooDeep { key: "m".into() });
        assert_eq!(fault(&nested(100_000)), JsonFault::TooDeep { key: "m".into() });
    }

    #[test]
    fn a_number_that_would_come_back_as_another_is_refused_and_one_that_would_not_is_kept() {
        for number in [
            "18446744073709551616",
            "-9223372036854775809",
            "1000000000000000000000000",
            "1e400",
            "-1E+309",
        ] {
            for text in [
                format!("{{\"m\":{number}}}"),
                format!("{{\"a\":\"\\\"\\\\\",\"m\":[{{\"1e999\":[-1.5,{number}]}}]}}"),
            ] {
                assert_eq!(
                    fault(&text),
                    JsonFault::NumberOutOfRange { key: "m".into() },
                    "{text}"
                );
            }
        }
        let kept = r#"{"m":[18446744073709551615,-9223372036854775808,9007199254740993,0.1,1.0,-0.5,1e300,5e-324,0]}"#;
        let object = parse_object(kept.as_bytes()).unwrap();
        let text = Value::Object(object).to_string();
        assert_eq!(text, kept.replace("1e300", "1e+300"));
        assert!(parse_object(br#"{"m":"18446744073709551616 1e999"}"#).is_ok());
    }

    #[test]
    fn a_nul_character_is_refused_in_strings_and_keys() {
        assert_eq!(
            fault(r#"{"n":"a\u0000b"}"#),
            JsonFault::NulCharacter { key: "n".into() }
        );
        assert_eq!(
            fault(r#"{"m":{"k":["\u0000"]}}"#),
            JsonFault::NulCharacter { key: "m".into() }
        );
        assert_eq!(
            fault(r#"{"m":{"\u0000":1}}"#),
            JsonFault::NulCharacter { key: "m".into() }
        );
    }
}
