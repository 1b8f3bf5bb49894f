use super::super::target::tests::forbidden_urls;
use super::super::testing::{DeafNameServer, Names, Receiver};
use super::*;
use crate::clock::{Clock, SystemClock};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

mod idle;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &[u8] = br#"{"archiveId":"a","datasetId":"d","error":null}"#;

/// Short enough for a test, long enough for a busy machine.
fn short() -> ClientOptions {
    ClientOptions {
        dns_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(700),
        exchange_timeout: Duration::from_millis(1_500),
        ..ClientOptions::default()
    }
}

fn client_with(allow: &[&str], lookup: Arc<dyn Lookup>, options: ClientOptions) -> CallbackClient {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let policy = CallbackPolicy::new(allow.iter().map(|text| text.parse().unwrap()).collect());
    CallbackClient::new(policy, SigningSecrets::parse(SECRET).unwrap(), options, &lookup).unwrap()
}

/// A client that may reach loopback, for tests of everything but the address rules.
fn client() -> CallbackClient {
    client_with(&["127.0.0.0/8"], Names::new(&[&["127.0.0.1"]]), short())
}

fn attempt(url: &str) -> Attempt {
    Attempt {
        id: SystemClock.new_id(),
        number: 3,
        url: url.parse().unwrap(),
        body: Bytes::from_static(BODY),
        at: SystemClock.now(),
    }
}

#[tokio::test]
async fn a_callback_arrives_signed_and_byte_for_byte() {
    let receiver = Receiver::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let attempt = attempt(&receiver.url("receiver.example"));
    let outcome = client().attempt(&attempt).await;
    assert_eq!(
        (outcome.status, outcome.error, outcome.is_success()),
        (Some(204), None, true)
    );
    assert!(outcome.body.is_empty() && !outcome.body_truncated);

    let request = receiver.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.as_bytes(), BODY);
    assert!(head.starts_with("POST /callback?key=1 HTTP/1.1\r\n"), "{head}");
    let mut headers = http::HeaderMap::new();
    for line in head.lines().skip(1) {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "archive-ledger-attempt",
            "content-length",
            "content-type",
            "host",
            "user-agent",
            "webhook-id",
            "webhook-signature",
            "webhook-timestamp"
        ]
    );
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["user-agent"], USER_AGENT);
    assert_eq!(headers[ATTEMPT_HEADER], "3");
    assert_eq!(headers["webhook-id"], attempt.id.to_string().as_str());
    standardwebhooks::Webhook::new(SECRET)
        .unwrap()
        .verify(body.as_bytes(), &headers)
        .unwrap();
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let other = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let location = other.url("127.0.0.1");
        let receiver = Receiver::answering(format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
        ))
        .await;
        let outcome = client().attempt(&attempt(&receiver.url("a.example"))).await;
        assert_eq!((outcome.status, outcome.is_success()), (Some(status), false));
    }
    assert_eq!(other.accepted(), 0);
}

#[tokio::test]
async fn retry_after_is_read_on_429_and_503_only() {
    for (status, wait) in [
        (429, Some(7)),
        (503, Some(7)),
        (500, None),
        (301, None),
        (200, None),
    ] {
        let answer = format!("HTTP/1.1 {status} X\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
        let receiver = Receiver::answering(answer).await;
        let outcome = client().attempt(&attempt(&receiver.url("a.example"))).await;
        assert_eq!(outcome.retry_after, wait.map(Duration::from_secs), "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_accepts_and_never_answers_costs_the_time_of_one_exchange() {
    let receiver = Receiver::silent().await;
    let outcome = client().attempt(&attempt(&receiver.url("a.example"))).await;
    assert_eq!(
        (outcome.status, outcome.error),
        (None, Some(DeliveryFailure::ResponseTimeout))
    );
    assert!(outcome.duration >= short().exchange_timeout && outcome.duration < Duration::from_secs(4));
}

/// Writes `first`, then one byte every 20 ms for ever.
async fn drip(first: &'static [u8]) -> Receiver {
    Receiver::new(move |mut stream| {
        Box::pin(async move {
            stream.write_all(first).await.ok()?;
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            None
        })
    })
    .await
}

#[tokio::test]
async fn a_header_that_drips_in_byte_by_byte_ends_with_the_exchange() {
    let receiver = drip(b"HTTP/1.1 200 OK\r\nx: ").await;
    let outcome = client().attempt(&attempt(&receiver.url("a.example"))).await;
    assert_eq!(
        (outcome.status, outcome.error),
        (None, Some(DeliveryFailure::ResponseTimeout))
    );
    assert!(outcome.duration < Duration::from_secs(4));
}

#[tokio::test]
async fn a_body_that_drips_in_byte_by_byte_ends_with_the_exchange_and_the_status_counts() {
    for (head, success) in [
        (&b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"[..], true),
        (&b"HTTP/1.1 500 No\r\n\r\n"[..], false),
    ] {
        let receiver = drip(head).await;
        let outcome = client().attempt(&attempt(&receiver.url("a.example"))).await;
        assert_eq!(
            (outcome.error, outcome.is_success()),
            (Some(DeliveryFailure::BodyTimeout), success)
        );
        assert!(outcome.body_truncated && outcome.body.starts_with(b"x"));
        assert!(outcome.duration < Duration::from_secs(4));
    }
}

#[tokio::test]
async fn an_endless_body_is_read_to_the_limit_and_its_connection_is_closed() {
    let sent = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(tokio::sync::Notify::new());
    let (count, end) = (Arc::clone(&sent), Arc::clone(&closed));
    let receiver = Receiver::new(move |mut stream| {
        let (count, end) = (Arc::clone(&count), Arc::clone(&end));
        Box::pin(async move {
            stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").await.ok()?;
            while stream.write_all(&[b'z'; 4096]).await.is_ok() {
                count.fetch_add(4096, Ordering::SeqCst);
            }
            end.notify_one();
            None
        })
    })
    .await;
    let outcome = client().attempt(&attempt(&receiver.url("a.example"))).await;
    assert_eq!((outcome.status, outcome.error), (Some(500), None));
    assert_eq!(outcome.body, vec![b'z'; 16 * 1024]);
    assert!(outcome.body_truncated);
    tokio::time::timeout(Duration::from_secs(5), closed.notified())
        .await
        .expect("the connection stays open");
    // What lay in the buffers of both sides, and no more.
    assert!(sent.load(Ordering::SeqCst) < 32 * 1024 * 1024);
}

#[tokio::test]
async fn a_body_within_the_limit_is_read_whole_and_kept_in_part() {
    let long = "y".repeat(60 * 1024);
    let receiver = Receiver::answering(format!(
        "HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n{long}",
        long.len()
    ))
    .await;
    let client = client();
    for _ in 0..2 {
        let outcome = client.attempt(&attempt(&receiver.url("a.example"))).await;
        assert_eq!(
            (outcome.body.len(), outcome.body_truncated, outcome.error),
            (16 * 1024, true, None)
        );
    }
    assert_eq!(
        receiver.accepted(),
        1,
        "a body read to its end leaves the connection usable"
    );
}

#[tokio::test]
async fn a_compressed_body_is_kept_as_it_came() {
    let receiver = Receiver::answering(
        b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\n\x1f\x8b\x08\x00\x01"
            .to_vec(),
    )
    .await;
    let outcome = client().attempt(&attempt(&receiver.url("a.example"))).await;
    assert_eq!(outcome.body, b"\x1f\x8b\x08\x00\x01");
}

#[tokio::test]
async fn every_way_to_break_a_connection_has_its_class() {
    let reset = Receiver::new(|stream| {
        Box::pin(async move {
            stream.set_zero_linger().unwrap();
            None
        })
    })
    .await;
    let hang_up = Receiver::new(|_stream| Box::pin(async { None })).await;
    let garbage = Receiver::answering("SSH-2.0-OpenSSH_9.2\r\n").await;
    let cut = Receiver::new(|mut stream| {
        Box::pin(async move {
            stream
                .write_all(b"HTTP/1.1 500 No\r\ncontent-length: 10\r\n\r\nabc")
                .await
                .ok()?;
            None
        })
    })
    .await;
    let silent = Receiver::silent().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    let greeter = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 smtp.example ESMTP\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 2048]).await;
    });
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let client = client();
    for (url, status, failure) in [
        (reset.url("a.example"), None, DeliveryFailure::ConnectionClosed),
        (hang_up.url("a.example"), None, DeliveryFailure::ConnectionClosed),
        (garbage.url("a.example"), None, DeliveryFailure::InvalidResponse),
        (cut.url("a.example"), Some(500), DeliveryFailure::BodyFailed),
        (
            format!("http://a.example:{closed}/"),
            None,
            DeliveryFailure::ConnectRefused,
        ),
        (
            format!("https://a.example:{}/", plain.port()),
            None,
            DeliveryFailure::TlsFailed,
        ),
        (
            silent.url("a.example").replace("http:", "https:"),
            None,
            DeliveryFailure::ConnectTimeout,
        ),
    ] {
        let outcome = client.attempt(&attempt(&url)).await;
        assert_eq!((outcome.status, outcome.error), (status, Some(failure)), "{url}");
    }
    greeter.await.unwrap();
}

#[tokio::test]
async fn dns_that_fails_and_dns_that_never_answers_are_told_apart() {
    let outcome = client_with(&[], Names::new(&[]), short())
        .attempt(&attempt("http://a.example/"))
        .await;
    assert_eq!(
        (outcome.status, outcome.error),
        (None, Some(DeliveryFailure::DnsFailed))
    );
    let deaf = client_with(&[], Arc::new(DeafNameServer), short());
    let outcome = deaf.attempt(&attempt("http://a.example/")).await;
    assert_eq!(
        (outcome.status, outcome.error),
        (None, Some(DeliveryFailure::DnsTimeout))
    );
    assert!(outcome.duration < short().exchange_timeout);
}

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_leads_to_a_connection() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = client_with(&[], Names::new(&[&["127.0.0.1"]]), short());
    let mut tried = 0;
    for url in forbidden_urls() {
        let mut url = url::Url::parse(&url).unwrap();
        url.set_scheme("http").unwrap();
        url.set_port(Some(receiver.addr.port())).unwrap();
        let outcome = client.attempt(&attempt(url.as_str())).await;
        assert_eq!(outcome.error, Some(DeliveryFailure::AddressRefused), "{url}");
        tried += 1;
    }
    assert!(tried >= 200);
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn a_name_that_resolves_to_a_forbidden_address_beside_a_public_one_leads_to_no_connection() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for answer in [
        &["127.0.0.1"][..],
        &["127.0.0.1", "93.184.216.34"],
        &["93.184.216.34", "127.0.0.1"],
        &["::1"],
    ] {
        let names = Names::new(&[answer]);
        let client = client_with(&[], names.clone(), short());
        let outcome = client.attempt(&attempt(&receiver.url("a.example"))).await;
        assert_eq!(outcome.error, Some(DeliveryFailure::AddressRefused), "{answer:?}");
        assert_eq!(names.asked(), 1, "resolved once per attempt");
    }
    assert_eq!(receiver.accepted(), 0);
}

#[tokio::test]
async fn dns_that_changes_between_the_check_and_the_connection_changes_nothing() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    // 127.0.0.1 stands for the checked address, and any other one for where the attacker points the name next.
    let names = Names::new(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let options = ClientOptions {
        idle_per_receiver: 0,
        ..short()
    };
    let client = client_with(&["127.0.0.1"], names.clone(), options);
    let outcome = client.attempt(&attempt(&receiver.url("a.example"))).await;
    assert!(outcome.is_success());
    assert_eq!(
        (names.asked(), receiver.accepted()),
        (1, 1),
        "the connection goes to what was checked"
    );
    let outcome = client.attempt(&attempt(&receiver.url("a.example"))).await;
    assert_eq!(
        (outcome.error, receiver.accepted()),
        (Some(DeliveryFailure::AddressRefused), 1)
    );
}

#[tokio::test]
async fn a_kept_connection_is_used_again_without_another_lookup() {
    let receiver = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let names = Names::new(&[&["127.0.0.1"]]);
    let client = client_with(&["127.0.0.1"], names.clone(), short());
    for _ in 0..5 {
        assert!(
            client
                .attempt(&attempt(&receiver.url("a.example")))
                .await
                .is_success()
        );
    }
    assert_eq!((names.asked(), receiver.accepted()), (1, 1));
    // Another name of the same machine is another receiver.
    assert!(
        client
            .attempt(&attempt(&receiver.url("b.example")))
            .await
            .is_success()
    );
    assert_eq!((names.asked(), receiver.accepted()), (2, 2));
}

#[tokio::test]
async fn an_exemption_for_one_port_opens_no_other() {
    let open = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let shut = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let by_name = format!("localhost:{}", open.addr.port());
    let by_address = format!("127.0.0.1:{}", open.addr.port());
    for allow in [by_name, by_address] {
        let client = client_with(&[&allow], Names::new(&[&["127.0.0.1"]]), short());
        let host = allow.split(':').next().unwrap();
        assert!(
            client.attempt(&attempt(&open.url(host))).await.is_success(),
            "{allow}"
        );
        let outcome = client.attempt(&attempt(&shut.url(host))).await;
        assert_eq!(outcome.error, Some(DeliveryFailure::AddressRefused), "{allow}");
    }
    assert_eq!(shut.accepted(), 0);
}

#[tokio::test]
async fn a_configured_proxy_is_used_and_literal_addresses_are_refused_all_the_same() {
    let proxy = Receiver::answering("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await;
    let settings = ProxySettings {
        http: Some(
            format!("http://proxy.internal:{}", proxy.addr.port())
                .parse()
                .unwrap(),
        ),
        ..ProxySettings::default()
    };
    let options = ClientOptions {
        proxy: Some(settings),
        ..short()
    };
    let client = client_with(&[], Names::new(&[&["127.0.0.1"]]), options);
    let outcome = client.attempt(&attempt("http://a.example/callback")).await;
    assert_eq!(outcome.status, Some(202), "{outcome:?}");
    assert!(proxy.requests()[0].starts_with("POST http://a.example/callback HTTP/1.1\r\n"));
    let outcome = client.attempt(&attempt("http://10.0.0.1/callback")).await;
    assert_eq!(outcome.error, Some(DeliveryFailure::AddressRefused));
    assert_eq!(proxy.requests().len(), 1);
}

#[tokio::test]
async fn receivers_that_hang_delay_no_other() {
    let hanging = Receiver::silent().await;
    let healthy = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = Arc::new(client());
    let mut stuck = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (client, attempt) = (Arc::clone(&client), attempt(&hanging.url("slow.example")));
        stuck.spawn(async move { client.attempt(&attempt).await });
    }
    let outcome = client.attempt(&attempt(&healthy.url("fast.example"))).await;
    assert!(
        outcome.is_success() && outcome.duration < Duration::from_secs(1),
        "{outcome:?}"
    );
    while let Some(outcome) = stuck.join_next().await {
        assert_eq!(outcome.unwrap().error, Some(DeliveryFailure::ResponseTimeout));
    }
}
