//! Who asks through a proxy: the audit has the client's address where the operator trusts the proxy, and else the proxy's.

use super::{ARCHIVED, Api, answer, configured};
use crate::harness::{eventually, fresh_id, on_both_backends};
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const EVENTS: &str = "/api/admin/audit/events";

/// Sends requests with these headers, one that is recorded and one that is refused: the audit has both from `ip`.
async fn is_audited_from(api: &Api, headers: &[(&str, &str)], ip: &str) {
    let id = format!("request-{}", fresh_id());
    let body = json!({"id": fresh_id(), "name": "n"});
    for token in [api.admin.as_str(), "no.token.atall"] {
        let mut request = api
            .bare("POST", &format!("{ARCHIVED}/users"))
            .header("X-Request-Id", &id)
            .bearer_auth(token)
            .json(&body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        assert!([201, 401].contains(&answer(request).await.status));
    }
    let lines = async |query: &str| {
        let page = api
            .bare("GET", &format!("{EVENTS}?{query}"))
            .bearer_auth(&api.admin);
        answer(page).await.json(200)["items"].as_array().unwrap().clone()
    };
    let recorded = lines(&format!("request_id={id}&outcome=allowed")).await;
    assert!(
        recorded.len() == 1 && recorded[0]["ip"] == ip,
        "{headers:?}: {recorded:?}"
    );
    eventually("what was refused is in the audit", SOON, || async {
        let refused = lines(&format!("ip={ip}&outcome=denied")).await;
        (!refused.is_empty()).then_some(())
    })
    .await;
}

on_both_backends! {
    async fn the_audit_has_the_address_that_a_trusted_proxy_names(backend: Backend) {
        let server = configured(backend)
            .arg("--trusted-proxy").arg("127.0.0.1")
            .arg("--trusted-proxy").arg("10.0.0.0/8")
            .start()
            .await;
        let api = Api::of(&server);
        for (headers, ip) in [
            (&[("X-Forwarded-For", "6.6.6.6, 198.51.100.4, 10.1.2.3")][..], "198.51.100.4"),
            (&[("Forwarded", "for=6.6.6.6, for=\"[2001:db8::7]:4711\";proto=https")][..], "2001:db8::7"),
            (&[("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "198.51.100.4")][..], "127.0.0.1"),
            (&[][..], "127.0.0.1"),
        ] {
            is_audited_from(&api, headers, ip).await;
        }
    }
}
