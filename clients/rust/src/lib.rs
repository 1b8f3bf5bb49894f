//! A thin client of archive-ledger.
//!
//! A [`Client`] reads, and makes [`Command`]s: each has an idempotency key, so that one whose answer was lost is sent again and still
//! happens once. Lists are streams that fetch a page when they need it. What the service refuses is an [`Error::Refused`] with the
//! error's [`ErrorId`].

mod command;
mod error;
mod pages;
mod reads;
mod types;

pub use command::Command;
pub use error::{Error, ErrorId, Refusal};
pub use pages::{AuditFilter, DeliveryFilter};
pub use types::{
    Archived, AuditLine, Delivery, Entity, EntityType, History, HistoryEvent, Message, SoftDelete, State,
};

use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;

/// Where the archived entities are.
const ARCHIVED: &str = "api/admin/archived";

/// A way to one service, for one token. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: String,
}

impl Client {
    /// A client of the service at `base`, such as `https://ledger.example`.
    ///
    /// # Errors
    /// [`Error::Address`] where that is no address of a service.
    pub fn new(base: &str, token: impl Into<String>) -> Result<Self, Error> {
        Self::over(reqwest::Client::new(), base, token)
    }

    /// As [`Client::new`], over an HTTP client of the caller's: its proxy, its timeouts, its roots of trust.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn over(http: reqwest::Client, base: &str, token: impl Into<String>) -> Result<Self, Error> {
        let wrong = || Error::Address(base.to_owned());
        let mut base = Url::parse(base).map_err(|_| wrong())?;
        if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
            return Err(wrong());
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        Ok(Self {
            http,
            base,
            token: token.into(),
        })
    }

    /// A request to a path below the service's address; each part is one segment.
    fn request(&self, method: Method, path: &str, parts: &[&str]) -> Result<RequestBuilder, Error> {
        let wrong = || Error::Address(path.to_owned());
        let mut url = self.base.join(path).map_err(|_| wrong())?;
        url.path_segments_mut().map_err(|()| wrong())?.extend(parts);
        Ok(self.http.request(method, url).bearer_auth(&self.token))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parts: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Error> {
        let request = self.request(Method::GET, path, parts)?.query(query);
        answered(request.send().await?).await
    }
}

/// What an answer says, or what it refuses.
async fn answered<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    if response.status().is_success() {
        let body = response.bytes().await?;
        serde_json::from_slice(&body).map_err(Error::Unreadable)
    } else {
        Err(Error::refused(response).await)
    }
}
