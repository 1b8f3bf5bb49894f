//! `name=value` arguments.

use crate::Failure;
use crate::http::Target;
use std::collections::HashMap;
use std::str::FromStr;

/// The arguments of one instrument.
pub struct Options(HashMap<String, String>);

impl Options {
    pub fn of(arguments: &[&str]) -> Result<Self, Failure> {
        arguments
            .iter()
            .map(|argument| match argument.split_once('=') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => Err(format!("{argument} is not name=value").into()),
            })
            .collect::<Result<_, Failure>>()
            .map(Self)
    }

    pub fn text(&self, name: &str) -> Result<&str, Failure> {
        let found = self.0.get(name).map(String::as_str);
        found.ok_or_else(|| format!("{name}= is missing").into())
    }

    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        match self.0.get(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("{name}={text} is no number").into()),
        }
    }

    pub fn target(&self) -> Result<Target, Failure> {
        Ok(Target {
            address: self.text("service")?.to_owned(),
            token: self.text("token")?.to_owned(),
        })
    }
}
