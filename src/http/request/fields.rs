//! JSON objects, parsed strictly and taken apart field by field.
//!
//! Every refusal names the field that it is about. Nothing here is ever logged.

use super::describe::or_null;
use super::json::{self, JsonFault};
use crate::http::answer::error::{ApiError, Key};
use chrono::{DateTime, Datelike, Utc};
use serde_json::{Map, Value};
use std::io;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

/// The longest field name that an error repeats, in characters.
const ECHO_LIMIT: usize = 64;

/// Parses a body as exactly one JSON object.
///
/// # Errors
/// [`ApiError::MalformedData`], or [`ApiError::BadData`] naming the top-level field that holds a duplicate key, U+0000, too
/// deep a nesting or a number that cannot be kept.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, ApiError> {
    json::parse_object(bytes).map_err(|fault| match fault {
        JsonFault::Malformed => ApiError::MalformedData,
        JsonFault::DuplicateKey { key } => ApiError::bad_data(echo(&key), "a key occurs twice"),
        JsonFault::TooDeep { key } => ApiError::bad_data(
            echo(&key),
            format!("nested deeper than {} levels", json::MAX_DEPTH),
        ),
        JsonFault::NulCharacter { key } => ApiError::bad_data(echo(&key), "must not contain U+0000"),
        JsonFault::NumberOutOfRange { key } => ApiError::bad_data(
            echo(&key),
            "a number is beyond 64 bits, or beyond a double where it has a fraction or an exponent",
        ),
    })
}

/// A field name that a client sent, fit to be repeated to it.
fn echo(key: &str) -> String {
    key.chars()
        .take(ECHO_LIMIT)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Whether an object has at most so many bytes when it is written compactly.
fn is_within(object: &Map<String, Value>, max_bytes: usize) -> bool {
    /// Counts what is written to it, up to where it is full.
    struct Room(usize);
    impl io::Write for Room {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let left = self.0.checked_sub(bytes.len());
            self.0 = left.ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Room(max_bytes), object).is_ok()
}

/// What no control character is, as a pattern.
const NO_CONTROL: &str = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$";

/// What a text may be.
#[derive(Debug, Clone, Copy)]
pub struct Text {
    /// The least length in characters.
    pub min: usize,
    /// The greatest length in characters.
    pub max: usize,
}

impl Text {
    /// `min` to `max` characters, none of them a control character.
    #[must_use]
    pub const fn new(min: usize, max: usize) -> Self {
        Self { min, max }
    }

    /// The rule as the API's description shows it: of a text that must be there.
    #[must_use]
    pub fn schema(self, description: &str) -> Object {
        self.of(Type::String.into(), description)
    }

    /// The rule as the API's description shows it: of a text that may be left out.
    #[must_use]
    pub fn optional_schema(self, description: &str) -> Object {
        self.of(or_null(Type::String), description)
    }

    fn of(self, schema_type: SchemaType, description: &str) -> Object {
        let Self { min, max } = self;
        let length = match min {
            0 => format!("at most {max}"),
            _ => format!("{min} to {max}"),
        };
        ObjectBuilder::new()
            .schema_type(schema_type)
            .min_length((min > 0).then_some(min))
            .max_length(Some(max))
            .pattern(Some(NO_CONTROL))
            .description(Some(format!(
                "{description}: {length} characters, none of them a control character."
            )))
            .build()
    }

    /// Checks `text` as the value of `key`.
    ///
    /// # Errors
    /// [`ApiError::BadValueEmpty`], [`ApiError::BadValueTextTooLarge`], or [`ApiError::BadData`].
    pub fn check(self, key: &str, text: String) -> Result<String, ApiError> {
        let key = || Key::from(key.to_owned());
        if text.is_empty() && self.min > 0 {
            return Err(ApiError::BadValueEmpty { key: key() });
        }
        let length = text.chars().count();
        if length < self.min {
            return Err(ApiError::bad_data(
                key(),
                format!("must have at least {} characters", self.min),
            ));
        }
        if length > self.max {
            return Err(ApiError::BadValueTextTooLarge {
                key: key(),
                limit: self.max,
            });
        }
        if text.chars().any(char::is_control) {
            return Err(ApiError::bad_data(key(), "must not contain control characters"));
        }
        Ok(text)
    }
}

/// The fields of an object that have not been taken yet. `null` counts as absent, as it does for Onedata.
#[derive(Debug)]
pub struct Fields {
    path: String,
    left: Map<String, Value>,
}

impl Fields {
    /// The fields of a body.
    #[must_use]
    pub const fn new(object: Map<String, Value>) -> Self {
        Self {
            path: String::new(),
            left: object,
        }
    }

    /// The name of a field in errors: `parent.id` for a nested one.
    fn key(&self, name: &str) -> Key {
        Key::from(format!("{}{name}", self.path))
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, ApiError> {
        value.ok_or_else(|| ApiError::MissingRequiredValue { key: self.key(name) })
    }

    /// Takes a text that must be there.
    ///
    /// # Errors
    /// [`ApiError::MissingRequiredValue`], [`ApiError::BadValueString`], or as [`Text::check`].
    pub fn take_string(&mut self, name: &str, rule: Text) -> Result<String, ApiError> {
        let text = self.take_optional_string(name, rule)?;
        self.required(name, text)
    }

    /// Takes a text that may be there.
    ///
    /// # Errors
    /// [`ApiError::BadValueString`], or as [`Text::check`].
    pub fn take_optional_string(&mut self, name: &str, rule: Text) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => rule.check(&self.key(name), text).map(Some),
            Some(_) => Err(ApiError::BadValueString { key: self.key(name) }),
        }
    }

    /// Takes an RFC 3339 time that may be there, truncated to the microseconds that the databases keep, so that every
    /// answer says the same of it. The years are 1 to 9999: before and after, RFC 3339 has no way to write it.
    ///
    /// # Errors
    /// [`ApiError::BadValueString`] or [`ApiError::BadData`].
    pub fn take_optional_time(&mut self, name: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
        let Some(text) = self.take_optional_string(name, Text::new(1, 64))? else {
            return Ok(None);
        };
        DateTime::parse_from_rfc3339(&text)
            .ok()
            .and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros()))
            .filter(|time| (1..=9999).contains(&time.year()))
            .map(Some)
            .ok_or_else(|| ApiError::bad_data(self.key(name), "must be a time as in RFC 3339"))
    }

    /// Takes a truth value that must be there.
    ///
    /// # Errors
    /// [`ApiError::MissingRequiredValue`] or [`ApiError::BadData`].
    pub fn take_bool(&mut self, name: &str) -> Result<bool, ApiError> {
        let value = self.take(name);
        match self.required(name, value)? {
            Value::Bool(value) => Ok(value),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                Err(ApiError::bad_data(self.key(name), "must be true or false"))
            }
        }
    }

    /// Takes an object that may be there, of at most `max_bytes` when written compactly.
    ///
    /// # Errors
    /// [`ApiError::BadData`].
    pub fn take_optional_object(
        &mut self,
        name: &str,
        max_bytes: usize,
    ) -> Result<Option<Map<String, Value>>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(object)) if !is_within(&object, max_bytes) => Err(ApiError::bad_data(
                self.key(name),
                format!("must not be larger than {max_bytes} bytes"),
            )),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(ApiError::bad_data(self.key(name), "must be an object")),
        }
    }

    /// Takes the fields of an object that may be there; its errors name `<name>.<field>`.
    ///
    /// # Errors
    /// [`ApiError::BadData`].
    pub fn take_optional_fields(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(left)) => Ok(Some(Self {
                path: format!("{}{name}.", self.path),
                left,
            })),
            Some(_) => Err(ApiError::bad_data(self.key(name), "must be an object")),
        }
    }

    /// The text of a field that has not been taken yet, whatever rules it has to keep.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.left.get(name).and_then(Value::as_str)
    }

    /// The fields of an object that has not been taken yet.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<&Map<String, Value>> {
        self.left.get(name).and_then(Value::as_object)
    }

    /// Whether a field that has not been taken yet holds an object.
    #[must_use]
    pub fn holds_object(&self, name: &str) -> bool {
        self.left.get(name).is_some_and(Value::is_object)
    }

    /// Takes a list of at most `max_items` texts; an absent one is empty.
    ///
    /// # Errors
    /// [`ApiError::BadValueListOfStrings`], [`ApiError::BadData`], or as [`Text::check`].
    pub fn take_string_list(
        &mut self,
        name: &str,
        rule: Text,
        max_items: usize,
    ) -> Result<Vec<String>, ApiError> {
        let items = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(ApiError::BadValueListOfStrings { key: self.key(name) }),
        };
        if items.len() > max_items {
            return Err(ApiError::bad_data(
                self.key(name),
                format!("must not have more than {max_items} items"),
            ));
        }
        let key = self.key(name);
        items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => rule.check(&key, text),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    Err(ApiError::BadValueListOfStrings { key: key.clone() })
                }
            })
            .collect()
    }

    /// Refuses fields that nobody took: the end of our own bodies.
    ///
    /// # Errors
    /// [`ApiError::BadData`] with the hint `unknown field`.
    pub fn finish_strict(self) -> Result<(), ApiError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::bad_data(echo(&self.key(name)), "unknown field")),
        }
    }

    /// Ignores fields that nobody took: the end of Onedata's bodies.
    pub fn finish_lenient(self) {}
}

#[cfg(test)]
mod tests;
