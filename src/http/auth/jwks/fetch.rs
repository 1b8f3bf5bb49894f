//! Gets key sets, and what issuers say of themselves, from their addresses.

use super::{JwksError, KeySet, MAX_BYTES};
use std::time::Duration;
use url::Url;

/// How long an answer with the key set may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that goes where it is told, and trusts whom the system trusts now.
pub(super) fn client() -> Result<reqwest::Client, JwksError> {
    reqwest::Client::builder()
        .timeout(FETCH_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(JwksError::Client)
}

/// The key set at an address.
pub(super) async fn fetch(client: &reqwest::Client, url: &Url) -> Result<KeySet, JwksError> {
    KeySet::parse(&fetch_text(client, url).await?)
}

/// What is at an address, within bounds.
pub(super) async fn fetch_text(client: &reqwest::Client, url: &Url) -> Result<Vec<u8>, JwksError> {
    let failed = |error: reqwest::Error| JwksError::Fetch(error.without_url());
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(JwksError::Status {
            status: response.status().as_u16(),
        });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if (bytes.len() + chunk.len()) as u64 > MAX_BYTES {
            return Err(JwksError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
