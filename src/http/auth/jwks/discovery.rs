//! Where an issuer keeps its keys: OpenID Connect Discovery 1.0.

use super::fetch::{fetch, fetch_text};
use super::{JwksError, KeySet, json};
use serde_json::Value;
use url::Url;

/// An issuer that says itself where its keys are.
#[derive(Debug)]
pub(super) struct Issuer {
    /// As its tokens name it, to the letter.
    name: String,
    description: Url,
}

impl Issuer {
    pub(super) fn new(name: &str) -> Result<Self, JwksError> {
        // Section 4: what the issuer ends with is left out before the path is put behind it.
        let description = format!("{}/.well-known/openid-configuration", name.trim_end_matches('/'));
        match Url::parse(&description) {
            Ok(description) if matches!(description.scheme(), "http" | "https") => Ok(Self {
                name: name.to_owned(),
                description,
            }),
            Ok(_) | Err(_) => Err(JwksError::Scheme),
        }
    }

    /// Its keys, and where they were: at the address that is known from the last time, if they are there still.
    pub(super) async fn keys(
        &self,
        client: &reqwest::Client,
        known: Option<Url>,
    ) -> Result<(KeySet, Url), JwksError> {
        if let Some(address) = known
            && let Ok(keys) = fetch(client, &address).await
        {
            return Ok((keys, address));
        }
        let address = self.address(&fetch_text(client, &self.description).await?)?;
        Ok((fetch(client, &address).await?, address))
    }

    /// The address of the keys that a description names.
    fn address(&self, description: &[u8]) -> Result<Url, JwksError> {
        let wrong = |reason| JwksError::Discovery {
            address: self.description.to_string(),
            reason,
        };
        let told = json::parse_object(description).map_err(|_| wrong("is no JSON object"))?;
        // Section 4.3: else anybody's description could stand in for the issuer's.
        if told.get("issuer").and_then(Value::as_str) != Some(&self.name) {
            return Err(wrong("is of another issuer"));
        }
        let address = told.get("jwks_uri").and_then(Value::as_str);
        let address = address.and_then(|text| Url::parse(text).ok());
        let address = address.ok_or_else(|| wrong("names no address of keys (jwks_uri)"))?;
        match (self.description.scheme(), address.scheme()) {
            (_, "https") | ("http", "http") => Ok(address),
            _ => Err(wrong("names an address of keys that is not https")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_leads_to_keys_only_where_it_is_the_issuers_own() {
        for (name, description) in [
            (
                "https://a.example",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/",
                "https://a.example/.well-known/openid-configuration",
            ),
            (
                "https://a.example/realms/x",
                "https://a.example/realms/x/.well-known/openid-configuration",
            ),
        ] {
            let issuer = Issuer::new(name).unwrap();
            assert_eq!(issuer.description.as_str(), description);
            let told = |text: &str| issuer.address(text.replace("NAME", name).as_bytes());
            let found = told(r#"{"issuer": "NAME", "jwks_uri": "https://keys.example/k"}"#).unwrap();
            assert_eq!(found.as_str(), "https://keys.example/k");
            for (text, reason) in [
                (
                    r#"{"issuer": "NAMEx", "jwks_uri": "https://keys.example/k"}"#,
                    "another issuer",
                ),
                (r#"{"jwks_uri": "https://keys.example/k"}"#, "another issuer"),
                (r#"{"issuer": "NAME"}"#, "jwks_uri"),
                (r#"{"issuer": "NAME", "jwks_uri": "k"}"#, "jwks_uri"),
                (
                    r#"{"issuer": "NAME", "jwks_uri": "http://keys.example/k"}"#,
                    "not https",
                ),
                (r#"{"issuer": "NAME", "jwks_uri": "file:///etc/k"}"#, "not https"),
                ("<html>", "no JSON"),
            ] {
                let error = told(text).unwrap_err().to_string();
                assert!(error.contains(reason), "{text}: {error}");
            }
        }
        assert!(Issuer::new("file:///x").is_err() && Issuer::new("x").is_err());
    }
}
