//! Connections that stood idle, and what becomes of a request that is written to one that was closed meanwhile.

use super::super::super::testing::Receiver;
use super::*;

/// How a receiver ends a connection.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With a FIN.
    Close,
    /// With an RST.
    Reset,
}

/// Answers the first request of each connection, and ends the connection at the second one, which it reads.
async fn receiver_of_one_request_a_connection(end: End) -> Receiver {
    let ports = Arc::new(std::sync::Mutex::new(HashSet::new()));
    Receiver::new(move |mut stream| {
        let first = ports.lock().unwrap().insert(stream.peer_addr().unwrap().port());
        Box::pin(async move {
            if first {
                stream
                    .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .await
                    .unwrap();
                return Some(stream);
            }
            if matches!(end, End::Reset) {
                stream.set_zero_linger().unwrap();
            }
            None
        })
    })
    .await
}

#[tokio::test]
async fn a_request_on_an_idle_connection_that_was_closed_is_made_again_on_a_fresh_one() {
    for end in [End::Close, End::Reset] {
        let receiver = receiver_of_one_request_a_connection(end).await;
        let client = client();
        for number in 1..=9 {
            let outcome = client.attempt(&attempt(&receiver.url("127.0.0.1"))).await;
            assert_eq!(
                (outcome.status, outcome.error),
                (Some(204), None),
                "{end:?} {number}"
            );
        }
        let mut times: HashMap<String, usize> = HashMap::new();
        for request in receiver.requests() {
            let id = request.lines().find_map(|line| line.strip_prefix("webhook-id: "));
            *times.entry(id.unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(times.len(), 9);
        assert!(times.values().all(|times| *times <= 2), "{end:?} {times:?}");
        assert!(
            times.values().any(|times| *times == 2),
            "{end:?}: no idle connection was used, so nothing was shown"
        );
    }
}

#[tokio::test]
async fn a_fresh_connection_that_is_closed_without_an_answer_is_a_failure_and_tried_once() {
    for end in [End::Close, End::Reset] {
        let receiver = Receiver::new(move |stream| {
            Box::pin(async move {
                if matches!(end, End::Reset) {
                    stream.set_zero_linger().unwrap();
                }
                None
            })
        })
        .await;
        let outcome = client().attempt(&attempt(&receiver.url("127.0.0.1"))).await;
        assert_eq!(outcome.error, Some(DeliveryFailure::ConnectionClosed), "{end:?}");
        assert_eq!(
            (receiver.accepted(), receiver.requests().len()),
            (1, 1),
            "{end:?}"
        );
    }
}

#[tokio::test]
async fn a_receiver_that_closes_after_each_answer_without_saying_so_fails_no_attempt() {
    let receiver = Receiver::new(|mut stream| {
        Box::pin(async move {
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                .await
                .unwrap();
            None
        })
    })
    .await;
    let client = client();
    let (url, client) = (receiver.url("127.0.0.1"), &client);
    let attempts = (0..8).map(|_| async {
        for _ in 0..25 {
            let outcome = client.attempt(&attempt(&url)).await;
            assert_eq!((outcome.status, outcome.error), (Some(204), None));
        }
    });
    futures::future::join_all(attempts).await;
}
