//! `clients/rust`.

use std::pin::pin;

use archive_ledger_client::{
    AuditFilter, Client, DeliveryFilter, EntityType, Error, ErrorId, SoftDelete, State,
};
use futures::TryStreamExt;
use serde_json::json;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::scene;
use crate::harness::{READY_WITHIN, eventually, fresh_id, on_both_backends};

fn backup(id: &str) -> SoftDelete {
    SoftDelete {
        id: id.to_owned(),
        name: "nightly".to_owned(),
        metadata: json!({"size": 3456}).as_object().unwrap().clone(),
        ..SoftDelete::default()
    }
}

fn id_of<T: std::fmt::Debug>(refused: Result<T, Error>) -> ErrorId {
    refused.unwrap_err().refusal().unwrap().id.clone()
}

/// The address of a way to the service at `port` on which every other connection breaks when its first answer comes.
async fn losing_answers(port: u16) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut service = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                if number % 2 == 0 {
                    let (mut from_client, _unanswered) = client.split();
                    let (mut from_service, mut to_service) = service.split();
                    let mut answer = [0; 1];
                    tokio::select! {
                        _ = tokio::io::copy(&mut from_client, &mut to_service) => {}
                        _ = from_service.read(&mut answer) => {}
                    }
                } else {
                    // It ends with either of them.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut service).await;
                }
            });
        }
    });
    address
}

on_both_backends! {
    async fn a_command_whose_answer_was_lost_is_sent_again_and_happens_once(backend: Backend) {
        let (server, token, _) = scene(backend).await;
        let port = server.url("").rsplit(':').next().unwrap().parse().unwrap();
        // Each time a connection of its own: none is kept that would be a good one.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let ledger = Client::over(http, &losing_answers(port).await, &token).unwrap();
        let id = fresh_id().to_string();
        let deleted = ledger.soft_delete(EntityType::Backups, &backup(&id)).send().await.unwrap();
        assert_eq!(deleted.id, id);
        ledger.restore(EntityType::Backups, &id).send().await.unwrap();
        let safe = Client::new(&server.url(""), token).unwrap();
        let history = safe.history(EntityType::Backups, &id).await.unwrap();
        assert_eq!(history.items.len(), 2, "{history:?}");
        // A key of the caller's: the same command another time, and another one under the same key.
        let again = || safe.soft_delete(EntityType::Backups, &backup(&id)).idempotency_key(format!("of-{id}"));
        let (first, second) = (again().send().await.unwrap(), again().send().await.unwrap());
        assert_eq!(first, second);
        assert_eq!(safe.history(EntityType::Backups, &id).await.unwrap().items.len(), 3);
        let other = safe.restore(EntityType::Backups, &id).idempotency_key(format!("of-{id}"));
        assert_eq!(id_of(other.send().await), ErrorId::IdempotencyKeyReused);
    }

    async fn errors_are_told_apart(backend: Backend) {
        let (server, token, _) = scene(backend).await;
        let ledger = Client::new(&server.url(""), token).unwrap();
        let wrong = ledger.soft_delete(EntityType::Backups, &backup("no-uuid")).send().await.unwrap_err();
        let refusal = wrong.refusal().unwrap();
        assert_eq!((refusal.status, &refusal.id), (400, &ErrorId::BadValueIdentifier));
        assert_eq!(refusal.details.as_ref().unwrap()["key"], "id");
        assert!(refusal.request_id.is_some() && !wrong.is_temporary());
        let nobody = Client::new(&server.url("/"), "x").unwrap();
        assert_eq!(id_of(nobody.summary().await), ErrorId::Unauthorized);
        let few = server.token(&["--right", "archived:read"]).await;
        let few = Client::new(&server.url(""), few).unwrap();
        assert_eq!(id_of(few.soft_delete(EntityType::Backups, &backup(&fresh_id().to_string())).send().await), ErrorId::Forbidden);
        for address in ["", "ledger", "mailto:ledger@example.org", "ftp://ledger"] {
            assert!(matches!(Client::new(address, ""), Err(Error::Address(_))), "{address}");
        }
        server.kill9().await;
        let gone = ledger.summary().await.unwrap_err();
        assert!(matches!(gone, Error::Transport(_)) && gone.is_temporary());
    }

    async fn a_backups_life_is_told_in_rust(backend: Backend) {
        let (server, token, receiver) = scene(backend).await;
        let ledger = Client::new(&server.url(""), token).unwrap();
        let id = fresh_id().to_string();
        let deleted = ledger.soft_delete(EntityType::Backups, &backup(&id)).reason_code("closed").send().await.unwrap();
        assert_eq!((deleted.name.as_deref(), &deleted.metadata["size"]), (Some("nightly"), &json!(3456)));
        let found = ledger.entity(EntityType::Backups, &id).await.unwrap();
        assert_eq!((found.state, found.version), (State::Archived, 1));
        ledger.restore(EntityType::Backups, &id).if_match(1).send().await.unwrap();
        assert_eq!(id_of(ledger.restore(EntityType::Backups, &id).send().await), ErrorId::AlreadyExists);
        ledger.soft_delete(EntityType::Backups, &backup(&id)).send().await.unwrap();
        assert_eq!(id_of(ledger.restore(EntityType::Backups, &id).if_match(1).send().await), ErrorId::PreconditionFailed);
        assert_eq!(ledger.summary().await.unwrap()[&EntityType::Backups], 1);
        ledger.purge(EntityType::Backups, &id, Some(&receiver.url("/deleted"))).send().await.unwrap();
        assert_eq!(id_of(ledger.entity(EntityType::Backups, &id).await), ErrorId::NotFound);
        let history = ledger.history(EntityType::Backups, &id).await.unwrap();
        let events: Vec<&str> = history.items.iter().map(|event| &*event.event).collect();
        assert_eq!(events, ["soft_deleted", "restored", "soft_deleted", "purge_requested", "purged"]);
        assert_eq!(history.items[0].reason_code.as_deref(), Some("closed"));
        let filter = DeliveryFilter { entity: Some((EntityType::Backups, id.clone())), ..DeliveryFilter::default() };
        eventually("the callback is delivered", READY_WITHIN, || async {
            let deliveries: Vec<_> = ledger.callbacks(&filter).try_collect().await.unwrap();
            deliveries.iter().any(|one: &archive_ledger_client::Delivery| one.state.as_deref() == Some("delivered")).then_some(())
        }).await;
        let filter = AuditFilter { entity_ids: vec![id.clone()], ..AuditFilter::default() };
        let lines: Vec<_> = ledger.audit(&filter).try_collect().await.unwrap();
        let purged = |line: &&archive_ledger_client::AuditLine| line.action.as_deref() == Some("purged");
        assert_eq!(lines.iter().filter(purged).count(), 1, "{lines:?}");
    }

    async fn a_list_is_a_stream_over_its_pages_and_ends(backend: Backend) {
        let (server, token, _) = scene(backend).await;
        let ledger = Client::new(&server.url(""), token).unwrap();
        let mut expected = Vec::new();
        for _ in 0..205 {
            let id = fresh_id().to_string();
            ledger.soft_delete(EntityType::Servers, &backup(&id)).send().await.unwrap();
            expected.push(id);
        }
        let listed: Vec<_> = ledger.archived(EntityType::Servers).map_ok(|item| item.id).try_collect().await.unwrap();
        let sorted = |mut ids: Vec<String>| { ids.sort(); ids };
        assert_eq!(sorted(listed), sorted(expected));
        let mut none = pin!(ledger.archived(EntityType::Users));
        assert_eq!(none.try_next().await.unwrap(), None);
    }
}
