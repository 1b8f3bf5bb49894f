//! The operator's outgoing proxies, when callbacks are configured to use them.

use std::fmt;
use url::Url;

/// Why the environment's proxies cannot be used. The text holds no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {0} holds no usable proxy URL")]
pub struct InvalidProxy(&'static str);

/// The proxies that callbacks go through. Behind one, the proxy resolves and connects: names are no longer checked by
/// address here, so it must refuse the operator's own networks. Literal addresses are still refused.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For `http` callbacks.
    pub http: Option<Url>,
    /// For `https` callbacks.
    pub https: Option<Url>,
    /// Hosts that are reached directly, as in `NO_PROXY`; their addresses are checked as usual.
    pub no_proxy: Option<String>,
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |proxy: &Option<Url>| proxy.as_ref().and_then(Url::host_str).map(str::to_owned);
        f.debug_struct("ProxySettings")
            .field("http", &host(&self.http))
            .field("https", &host(&self.https))
            .finish_non_exhaustive()
    }
}

impl ProxySettings {
    /// The proxies of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, lower case first, as `get` knows them
    /// (`|name| std::env::var(name).ok()`). `None` when no proxy is set.
    ///
    /// # Errors
    /// [`InvalidProxy`] with the variable's name.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, InvalidProxy> {
        let text = |lower, upper| {
            get(lower)
                .or_else(|| get(upper))
                .filter(|text| !text.trim().is_empty())
        };
        let proxy = |lower: &'static str, upper: &'static str| {
            text(lower, upper)
                .map(|text| proxy_url(text.trim()).ok_or(InvalidProxy(upper)))
                .transpose()
        };
        let all = proxy("all_proxy", "ALL_PROXY")?;
        let http = proxy("http_proxy", "HTTP_PROXY")?.or_else(|| all.clone());
        let https = proxy("https_proxy", "HTTPS_PROXY")?.or(all);
        if http.is_none() && https.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            http,
            https,
            no_proxy: text("no_proxy", "NO_PROXY"),
        }))
    }
}

/// A proxy's URL; `host:port` alone means `http://`, as everywhere.
fn proxy_url(text: &str) -> Option<Url> {
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    url.ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Option<ProxySettings>, InvalidProxy> {
        ProxySettings::from_variables(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn proxies_are_read_as_other_programs_read_them() {
        assert_eq!(settings(&[("NO_PROXY", "*")]).unwrap(), None);
        assert_eq!(settings(&[("HTTP_PROXY", " ")]).unwrap(), None);
        let one = settings(&[("HTTPS_PROXY", "proxy.corp:3128"), ("no_proxy", ".corp")])
            .unwrap()
            .unwrap();
        assert_eq!(one.http, None);
        assert_eq!(
            one.https.as_ref().map(Url::as_str),
            Some("http://proxy.corp:3128/")
        );
        assert_eq!(one.no_proxy.as_deref(), Some(".corp"));
        let all = settings(&[
            ("ALL_PROXY", "https://p:1"),
            ("http_proxy", "http://q:2"),
            ("HTTP_PROXY", "http://r:3"),
        ]);
        let all = all.unwrap().unwrap();
        assert_eq!(all.http.as_ref().and_then(Url::port), Some(2));
        assert_eq!(all.https.as_ref().and_then(Url::port), Some(1));
    }

    #[test]
    fn a_bad_proxy_is_named_by_its_variable_and_its_password_is_shown_nowhere() {
        assert_eq!(
            settings(&[("https_proxy", "socks5://p:1")]),
            Err(InvalidProxy("HTTPS_PROXY"))
        );
        assert_eq!(
            settings(&[("http_proxy", "http://")]),
            Err(InvalidProxy("HTTP_PROXY"))
        );
        let shown = format!(
            "{:?}",
            settings(&[("http_proxy", "http://u:geheim@p:1")]).unwrap()
        );
        assert!(!shown.contains("geheim") && shown.contains("\"p\""), "{shown}");
    }
}
