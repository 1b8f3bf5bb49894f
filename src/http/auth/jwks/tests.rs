//! Which keys are taken from a set, and how often a source is asked.

use super::*;
use crate::clock::ManualClock;
use crate::http::testing::*;
use serde_json::json;

fn usable(jwk: &Value) -> Option<JwsAlgorithm> {
    usable_key(jwk.as_object().unwrap()).map(|(_, key)| key.algorithm())
}

fn changed(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

async fn found(cache: &JwksCache, kid: &str, algorithm: JwsAlgorithm) -> Result<(), String> {
    cache
        .find(Some(kid), algorithm)
        .await
        .map(|_| ())
        .map_err(|error| error.to_string())
}

const UNKNOWN: &str = "no key for the token";
const UNAVAILABLE: &str = "the keys for tokens cannot be had";

#[test]
fn a_key_of_each_kind_is_bound_to_its_algorithm() {
    assert_eq!(usable(&KEYS.rsa_jwk("k")), Some(JwsAlgorithm::Rs256));
    assert_eq!(usable(&KEYS.ec_jwk("k")), Some(JwsAlgorithm::Es256));
    assert_eq!(usable(&KEYS.ed_jwk("k")), Some(JwsAlgorithm::EdDsa));
    let verify = changed(KEYS.ec_jwk("k"), "key_ops", json!(["verify"]));
    assert_eq!(usable(&verify), Some(JwsAlgorithm::Es256));
}

#[test]
fn keys_for_anything_else_and_broken_ones_are_left_out() {
    let (rsa, ec, ed) = (KEYS.rsa_jwk("k"), KEYS.ec_jwk("k"), KEYS.ed_jwk("k"));
    let weak = base64(&[0xff; 128]);
    for jwk in [
        json!({"kty": "oct", "k": base64(SECRET), "alg": "HS256", "kid": "k"}),
        json!({"kid": "k"}),
        changed(rsa.clone(), "alg", json!("PS256")),
        changed(rsa.clone(), "alg", json!("HS256")),
        changed(rsa.clone(), "alg", json!(null)),
        changed(rsa.clone(), "use", json!("enc")),
        changed(rsa.clone(), "key_ops", json!(["encrypt"])),
        changed(rsa.clone(), "key_ops", json!("verify")),
        changed(rsa.clone(), "d", json!("AQAB")),
        changed(rsa.clone(), "n", json!(weak)),
        changed(rsa.clone(), "n", json!("")),
        changed(rsa.clone(), "n", json!("AAAA")),
        changed(rsa.clone(), "n", json!("+/==")),
        changed(rsa.clone(), "e", json!("AQ")),
        changed(rsa.clone(), "e", json!("Ag")),
        changed(rsa.clone(), "kid", json!(7)),
        changed(rsa, "kty", json!("EC")),
        changed(ec.clone(), "crv", json!("P-384")),
        changed(ec.clone(), "crv", json!("secp256k1")),
        changed(ec.clone(), "y", ec["x"].clone()),
        changed(ec.clone(), "x", json!("")),
        changed(ec, "alg", json!("ES384")),
        changed(ed.clone(), "crv", json!("Ed448")),
        changed(ed.clone(), "crv", json!("X25519")),
        changed(ed, "x", json!("AAAA")),
    ] {
        assert_eq!(usable(&jwk), None, "{jwk}");
    }
}

#[test]
fn a_text_without_usable_keys_is_no_set() {
    for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
        assert!(
            matches!(KeySet::parse(text.as_bytes()), Err(JwksError::Malformed)),
            "{text}"
        );
    }
    for text in [r#"{"keys":[]}"#, r#"{"keys":[1,null,{"kty":"oct","k":"AAAA"}]}"#] {
        assert!(
            matches!(KeySet::parse(text.as_bytes()), Err(JwksError::NoUsableKey)),
            "{text}"
        );
    }
}

#[test]
fn a_file_that_gives_no_keys_is_an_error_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let new = |path: PathBuf| {
        JwksCache::new(JwksSource::File(path), clock())
            .map(|_| ())
            .unwrap_err()
    };
    assert!(matches!(
        new(directory.path().join("absent")),
        JwksError::ReadFile { .. }
    ));
    assert!(matches!(
        new(directory.path().to_owned()),
        JwksError::ReadFile { .. }
    ));
    let path = directory.path().join("set");
    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(new(path.clone()), JwksError::Malformed));
    std::fs::write(&path, " ".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(new(path), JwksError::TooLarge));
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_kept_when_it_breaks() {
    let directory = tempfile::tempdir().unwrap();
    let clock = clock();
    let path = key_file(directory.path(), &[KEYS.ec_jwk("first")]);
    let cache = JwksCache::new(JwksSource::File(path.clone()), clock.clone()).unwrap();
    found(&cache, "first", JwsAlgorithm::Es256).await.unwrap();
    assert_eq!(
        found(&cache, "second", JwsAlgorithm::EdDsa).await.unwrap_err(),
        UNKNOWN
    );

    key_file(directory.path(), &[KEYS.ed_jwk("second")]);
    clock.advance(STAT_PAUSE);
    found(&cache, "second", JwsAlgorithm::EdDsa).await.unwrap();
    assert_eq!(
        found(&cache, "first", JwsAlgorithm::Es256).await.unwrap_err(),
        UNKNOWN
    );

    std::fs::write(&path, "{\"keys\":").unwrap();
    clock.advance(STAT_PAUSE);
    found(&cache, "second", JwsAlgorithm::EdDsa).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    clock.advance(TimeDelta::hours(48));
    found(&cache, "second", JwsAlgorithm::EdDsa).await.unwrap();

    key_file(directory.path(), &[KEYS.ec_jwk("third")]);
    found(&cache, "third", JwsAlgorithm::Es256).await.unwrap();
}

fn over(server: &KeyServer) -> (Arc<ManualClock>, JwksCache) {
    let clock = clock();
    let cache = JwksCache::new(JwksSource::Url(server.url.clone()), clock.clone()).unwrap();
    (clock, cache)
}

#[tokio::test]
async fn an_address_is_fetched_when_a_key_is_first_needed_and_not_again_while_it_is_known() {
    let server = KeyServer::start(&[KEYS.ec_jwk("e"), KEYS.rsa_jwk("r")]).await;
    let (_, cache) = over(&server);
    assert_eq!(server.requests(), 0);
    for _ in 0..10 {
        found(&cache, "e", JwsAlgorithm::Es256).await.unwrap();
        found(&cache, "r", JwsAlgorithm::Rs256).await.unwrap();
    }
    let mismatch = found(&cache, "r", JwsAlgorithm::Es256).await.unwrap_err();
    assert_eq!(mismatch, "the token's algorithm is not accepted");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn ten_thousand_unknown_keys_cause_one_fetch_per_pause() {
    let server = KeyServer::start(&[KEYS.ec_jwk("e")]).await;
    let (clock, cache) = over(&server);
    found(&cache, "e", JwsAlgorithm::Es256).await.unwrap();
    for number in 0..10_000 {
        assert_eq!(
            found(&cache, &format!("k{number}"), JwsAlgorithm::Es256)
                .await
                .unwrap_err(),
            UNKNOWN
        );
    }
    assert_eq!(server.requests(), 1);
    clock.advance(FETCH_PAUSE);
    for number in 0..100 {
        assert_eq!(
            found(&cache, &format!("n{number}"), JwsAlgorithm::Es256)
                .await
                .unwrap_err(),
            UNKNOWN
        );
    }
    assert_eq!(server.requests(), 2);
}

/// Asks every second until the key is found; how many seconds that took.
async fn accepted_after(clock: &ManualClock, cache: &JwksCache, kid: &str, algorithm: JwsAlgorithm) -> i64 {
    for second in 0..300 {
        if found(cache, kid, algorithm).await.is_ok() {
            return second;
        }
        clock.advance(TimeDelta::seconds(1));
    }
    panic!("{kid} is not found in five minutes");
}

#[tokio::test]
async fn a_key_that_is_rotated_in_at_any_moment_is_found_within_thirty_seconds_of_asking_every_second() {
    for before in [0, 1, 5, 19, 20, 21, 29, 30, 59, 61] {
        let server = KeyServer::start(&[KEYS.ec_jwk("old")]).await;
        let (clock, cache) = over(&server);
        for _ in 0..=before {
            assert_eq!(
                found(&cache, "new", JwsAlgorithm::EdDsa).await.unwrap_err(),
                UNKNOWN
            );
            clock.advance(TimeDelta::seconds(1));
        }
        server.serve(&[KEYS.ec_jwk("old"), KEYS.ed_jwk("new")]);
        let after = accepted_after(&clock, &cache, "new", JwsAlgorithm::EdDsa).await;
        assert!(after < 25, "{after} s after {before}");
        assert!(server.requests() <= usize::try_from((before + after) / 20 + 2).unwrap());
    }
}

#[tokio::test]
async fn a_fetch_that_failed_makes_no_key_absent() {
    let server = KeyServer::start(&[KEYS.ec_jwk("old")]).await;
    let (clock, cache) = over(&server);
    found(&cache, "old", JwsAlgorithm::Es256).await.unwrap();
    clock.advance(FETCH_PAUSE);
    server.serve_raw("HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    for _ in 0..60 {
        assert_eq!(
            found(&cache, "new", JwsAlgorithm::EdDsa).await.unwrap_err(),
            UNAVAILABLE
        );
        found(&cache, "old", JwsAlgorithm::Es256).await.unwrap();
        assert_eq!(cache.keys_state(), KeysState::Stale);
        clock.advance(TimeDelta::seconds(1));
    }
    server.serve(&[KEYS.ec_jwk("old"), KEYS.ed_jwk("new")]);
    let after = accepted_after(&clock, &cache, "new", JwsAlgorithm::EdDsa).await;
    assert!(after <= 5, "{after}");
    assert_eq!(cache.keys_state(), KeysState::Fresh);
}

#[tokio::test]
async fn a_clock_that_goes_back_holds_no_key_up() {
    let server = KeyServer::start(&[KEYS.ec_jwk("old")]).await;
    let (clock, cache) = over(&server);
    assert_eq!(
        found(&cache, "new", JwsAlgorithm::EdDsa).await.unwrap_err(),
        UNKNOWN
    );
    clock.advance(TimeDelta::hours(-1));
    server.serve(&[KEYS.ed_jwk("new")]);
    let after = accepted_after(&clock, &cache, "new", JwsAlgorithm::EdDsa).await;
    assert!(after < 25, "{after}");
}

#[tokio::test]
async fn whether_the_keys_can_be_had_is_known_before_one_is_needed() {
    let server = KeyServer::start(&[KEYS.ec_jwk("e")]).await;
    let (clock, cache) = over(&server);
    assert_eq!(cache.keys_state(), KeysState::Unavailable);
    cache.refresh().await;
    assert_eq!((cache.keys_state(), server.requests()), (KeysState::Fresh, 1));
    server.serve_raw("");
    for _ in 0..120 {
        clock.advance(TimeDelta::seconds(1));
        cache.refresh().await;
    }
    assert_eq!(cache.keys_state(), KeysState::Stale);
    // Once while it was fresh, once as it aged, and every five seconds since.
    assert!((10..=14).contains(&server.requests()), "{}", server.requests());
    clock.advance(STALE_IF_ERROR);
    assert_eq!(cache.keys_state(), KeysState::Unavailable);
    server.serve(&[KEYS.ec_jwk("e")]);
    cache.refresh().await;
    assert_eq!(cache.keys_state(), KeysState::Fresh);
}

#[tokio::test]
async fn requests_that_miss_the_same_new_key_share_one_fetch() {
    let server = KeyServer::start(&[KEYS.ec_jwk("e")]).await;
    let (_, cache) = over(&server);
    let all = (0..50).map(|_| found(&cache, "e", JwsAlgorithm::Es256));
    for outcome in futures::future::join_all(all).await {
        outcome.unwrap();
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_withdrawn_key_is_forgotten_after_a_minute() {
    let server = KeyServer::start(&[KEYS.ec_jwk("e"), KEYS.ed_jwk("d")]).await;
    let (clock, cache) = over(&server);
    found(&cache, "e", JwsAlgorithm::Es256).await.unwrap();
    server.serve(&[KEYS.ed_jwk("d")]);
    clock.advance(MAX_AGE);
    assert_eq!(
        found(&cache, "e", JwsAlgorithm::Es256).await.unwrap_err(),
        UNKNOWN
    );
}

#[tokio::test]
async fn keys_outlive_a_broken_source_by_a_day_and_no_longer() {
    let server = KeyServer::start(&[KEYS.ec_jwk("e")]).await;
    let (clock, cache) = over(&server);
    found(&cache, "e", JwsAlgorithm::Es256).await.unwrap();
    server.serve_raw("HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    clock.advance(STALE_IF_ERROR);
    found(&cache, "e", JwsAlgorithm::Es256).await.unwrap();
    clock.advance(FETCH_PAUSE);
    assert_eq!(
        found(&cache, "e", JwsAlgorithm::Es256).await.unwrap_err(),
        UNAVAILABLE
    );
    server.serve(&[KEYS.ec_jwk("e")]);
    clock.advance(FETCH_PAUSE);
    found(&cache, "e", JwsAlgorithm::Es256).await.unwrap();
}

#[tokio::test]
async fn without_any_keys_the_answer_is_unavailable_and_the_source_is_not_hammered() {
    let server = KeyServer::start(&[KEYS.ec_jwk("e")]).await;
    let (clock, cache) = over(&server);
    let too_large = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\nConnection: close\r\n\r\n{}",
        " ".repeat(2_000_000)
    );
    let answers = [
        "HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 302 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{",
        "",
        &too_large,
    ];
    for (count, answer) in answers.into_iter().enumerate() {
        server.serve_raw(answer);
        for _ in 0..5 {
            assert_eq!(
                found(&cache, "e", JwsAlgorithm::Es256).await.unwrap_err(),
                UNAVAILABLE
            );
        }
        assert!(server.requests() > count);
        clock.advance(FETCH_PAUSE);
    }
    server.serve(&[KEYS.ec_jwk("e")]);
    found(&cache, "e", JwsAlgorithm::Es256).await.unwrap();
}

#[tokio::test]
async fn without_a_key_id_only_a_set_of_one_key_will_do() {
    let one = KeySet::parse(json!({"keys": [KEYS.ec_jwk("e")]}).to_string().as_bytes()).unwrap();
    assert!(matches!(one.find(None, JwsAlgorithm::Es256), Lookup::Found(_)));
    assert!(matches!(
        one.find(None, JwsAlgorithm::Rs256),
        Lookup::OtherAlgorithm
    ));
    let two = KeySet::parse(
        json!({"keys": [KEYS.ec_jwk("e"), KEYS.ed_jwk("d")]})
            .to_string()
            .as_bytes(),
    )
    .unwrap();
    assert!(matches!(two.find(None, JwsAlgorithm::Es256), Lookup::Ambiguous));
}

#[test]
fn an_address_of_another_scheme_is_refused() {
    for address in ["ftp://host/set", "file:///etc/passwd"] {
        let source = JwksSource::Url(address.parse().unwrap());
        assert!(matches!(JwksCache::new(source, clock()), Err(JwksError::Scheme)));
    }
}
