//! Commands: what changes something, each under a key by which the service recognizes it when it comes again.

use crate::{ARCHIVED, Archived, Client, EntityType, Error, Message, SoftDelete, answered};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::marker::PhantomData;
use std::time::Duration;
use uuid::Uuid;

/// How often a command is sent at the most.
const TRIES: u32 = 4;

/// How long to wait before the next try, where the service does not say.
const PAUSE: Duration = Duration::from_millis(250);

/// The longest that the service is believed to want it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A command that was not sent yet.
#[derive(Debug, Clone)]
#[must_use = "a command does nothing until it is sent"]
pub struct Command<T> {
    client: Client,
    method: Method,
    path: Vec<String>,
    body: Option<Value>,
    key: String,
    if_match: Option<u64>,
    reason_code: Option<String>,
    answer: PhantomData<T>,
}

impl Client {
    /// Records that an entity was deleted.
    pub fn soft_delete(&self, entity_type: EntityType, entity: &SoftDelete) -> Command<Archived> {
        // Strings, times and JSON only, which always serialize.
        let body = serde_json::to_value(entity).unwrap_or_default();
        self.command(Method::POST, &[entity_type.as_str()], Some(body))
    }

    /// Undoes the deletion that stands.
    pub fn restore(&self, entity_type: EntityType, id: &str) -> Command<Message> {
        self.command(Method::POST, &[entity_type.as_str(), id, "restore"], None)
    }

    /// Removes an entity for good; `callback` is called when that has ended.
    pub fn purge(&self, entity_type: EntityType, id: &str, callback: Option<&str>) -> Command<Message> {
        let body = callback.map(|url| json!({ "deletedCallback": url }));
        self.command(Method::DELETE, &[entity_type.as_str(), id, "purge"], body)
    }

    fn command<T>(&self, method: Method, path: &[&str], body: Option<Value>) -> Command<T> {
        Command {
            client: self.clone(),
            method,
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            body,
            key: new_key(),
            if_match: None,
            reason_code: None,
            answer: PhantomData,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a client has no clock to take ids from")]
fn new_key() -> String {
    Uuid::new_v4().to_string()
}

impl<T: DeserializeOwned> Command<T> {
    /// Under a key of the caller's, which makes it the same command however often a program is started: 1 to 255 visible ASCII
    /// characters. Without one it has a key of its own.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Only if the entity has this version.
    pub const fn if_match(mut self, version: u64) -> Self {
        self.if_match = Some(version);
        self
    }

    /// Why, in a code that outlives a purge: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`.
    pub fn reason_code(mut self, code: impl Into<String>) -> Self {
        self.reason_code = Some(code.into());
        self
    }

    /// Sends it, and sends it again under the same key where the service was away or its answer was lost.
    ///
    /// # Errors
    /// [`Error`] of the last try.
    pub async fn send(self) -> Result<T, Error> {
        let mut tries = 1;
        loop {
            match self.once().await {
                Err(error) if error.is_temporary() && tries < TRIES => {
                    let told = error.refusal().and_then(|refusal| refusal.retry_after);
                    tokio::time::sleep(told.unwrap_or(PAUSE * tries).min(LONGEST_PAUSE)).await;
                    tries += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn once(&self) -> Result<T, Error> {
        let parts: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let mut request = self.client.request(self.method.clone(), ARCHIVED, &parts)?;
        request = request.header("Idempotency-Key", &self.key);
        if let Some(version) = self.if_match {
            request = request.header("If-Match", format!("\"{version}\""));
        }
        if let Some(code) = &self.reason_code {
            request = request.header("X-Reason-Code", code);
        }
        if let Some(body) = &self.body {
            request = request.json(body);
        }
        answered(request.send().await?).await
    }
}
