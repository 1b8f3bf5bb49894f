//! Spaces and issuers: nobody is told of another's archives, and nobody gets another's answers.

use serde_json::{Value, json};

use super::{ARCHIVED, ARCHIVES, Answer, Api, Grant, answer, new_id};
use crate::harness::on_both_backends;
use archive_ledger::http::auth::rights::{Right, Role};

const MANAGE: &str = "space_manage_datasets";
const REMOVE: &str = "space_remove_archives";
const CREATE: &str = "space_create_archives";
const VIEW: &str = "space_view_archives";

/// A token with these privileges in one space.
fn of(api: &Api, space: &str, privileges: &[&str]) -> String {
    api.token(Grant::default().subject(space).space(space, privileges))
}

async fn register(api: &Api, token: &str, id: &str, space: &str, condition: Option<(&str, &str)>) -> Answer {
    let body = json!({"archiveId": id, "datasetId": "d", "spaceId": space});
    let mut request = api.bare("POST", ARCHIVES).bearer_auth(token).json(&body);
    if let Some((header, value)) = condition {
        request = request.header(header, value);
    }
    answer(request).await
}

/// An answer without what differs from one request to the next.
fn told(answer: &Answer) -> (u16, Value) {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if let Some(error) = body.get_mut("error") {
        error["ctx"]["timestamp"] = json!(0);
    }
    (answer.status, body)
}

/// Archives of a foreign space in every state that can be seen from outside.
async fn foreign(api: &Api) -> Vec<String> {
    let (live, deleted, purging, purged) = (new_id(), new_id(), new_id(), new_id());
    for id in [&live, &deleted, &purging, &purged] {
        let body = json!({"archiveId": id, "datasetId": "d", "spaceId": "theirs", "storage": if id == &purging {
            vec![crate::routes::held(id)]
        } else {
            vec![]
        }});
        api.post(ARCHIVES, &body).await.json(201);
    }
    api.soft_delete("archives", &deleted).await;
    for id in [&purging, &purged] {
        assert_eq!(api.purge("archives", id).await.status, 200);
    }
    vec![live, deleted, purging, purged]
}

on_both_backends! {
    async fn after_a_purge_the_owner_finds_nothing_and_a_stranger_is_refused_as_before(backend: Backend) {
        let api = Api::shared(backend).await;
        for privileges in [&[VIEW][..], &[MANAGE, REMOVE], &[MANAGE, REMOVE, VIEW]] {
            let id = new_id();
            let body = json!({"archiveId": id, "datasetId": "d", "spaceId": "mine"});
            api.post(ARCHIVES, &body).await.json(201);
            let get = async |token: &str| answer(api.bare("GET", &format!("{ARCHIVES}/{id}")).bearer_auth(token)).await;
            let delete =
                async |token: &str| answer(api.bare("POST", &format!("{ARCHIVES}/{id}/delete")).bearer_auth(token)).await;
            let (owner, stranger) = (of(&api, "mine", privileges), of(&api, "theirs", privileges));
            assert_eq!(get(&owner).await.status, 200);
            get(&stranger).await.refused(403, "forbidden");
            assert_eq!(api.purge("archives", &id).await.status, 200);
            get(&owner).await.refused(404, "notFound");
            get(&stranger).await.refused(403, "forbidden");
            if privileges.contains(&REMOVE) {
                delete(&owner).await.refused(404, "notFound");
                delete(&stranger).await.refused(403, "forbidden");
            }
            // What never was is in no space.
            let never = api.bare("GET", &format!("{ARCHIVES}/{}", new_id())).bearer_auth(&owner);
            answer(never).await.refused(403, "forbidden");
        }
    }

    async fn registering_tells_nobody_what_exists_in_a_foreign_space(backend: Backend) {
        let api = Api::shared(backend).await;
        let stranger = of(&api, "mine", &[MANAGE, CREATE, REMOVE, VIEW]);
        let foreign = foreign(&api).await;
        for id in &foreign {
            let none = register(&api, &stranger, id, "mine", Some(("if-none-match", "*"))).await;
            none.refused(412, "preconditionFailed");
            for tag in ["\"1\"", "\"2\", \"3\"", "W/\"2\"", "\"9\""] {
                let told = register(&api, &stranger, id, "mine", Some(("if-none-match", tag))).await;
                told.refused(409, "alreadyExists");
            }
        }
        for condition in [("if-match", "*"), ("if-match", "\"1\""), ("if-match", "\"2\", \"3\""), ("if-match", "W/\"1\"")] {
            let nowhere = told(&register(&api, &stranger, &new_id(), "mine", Some(condition)).await);
            assert_eq!(nowhere.0, 412);
            for id in &foreign {
                let there = told(&register(&api, &stranger, id, "mine", Some(condition)).await);
                assert_eq!(there, nowhere, "{condition:?}");
            }
        }
        // That an id is taken, whoever registers it finds out; in which state, nobody.
        for id in &foreign {
            register(&api, &stranger, id, "mine", None).await.refused(409, "alreadyExists");
        }
        // In one's own space one is told the truth.
        let owner = of(&api, "theirs", &[MANAGE, CREATE]);
        let states = ["alreadyExists", "alreadyExists", "purgeInProgress", "entityPurged"];
        for (id, state) in foreign.iter().zip(states) {
            let plain = register(&api, &owner, id, "theirs", None).await;
            let error = plain.json(409)["error"]["id"].clone();
            assert!(error == state || error == "alreadyExists" && state == "purgeInProgress", "{error} for {state}");
            let existing = register(&api, &owner, id, "theirs", Some(("if-match", "*"))).await;
            assert_eq!(existing.json(409)["error"]["id"], error);
        }
        register(&api, &owner, &new_id(), "theirs", Some(("if-match", "*"))).await.refused(412, "preconditionFailed");
        let everywhere = api.token(Grant::default().right(Right::ArchivedWrite));
        register(&api, &everywhere, &foreign[3], "theirs", None).await.refused(409, "entityPurged");
    }

    async fn an_idempotency_key_belongs_to_an_issuer_and_a_subject(backend: Backend) {
        let api = Api::shared(backend).await;
        let key = new_id();
        let delete = async |grant: Grant, id: &str| {
            let token = api.token(grant.role(Role::Admin).subject("same"));
            let request = api.bare("POST", &format!("{ARCHIVED}/backups")).bearer_auth(token);
            answer(request.header("idempotency-key", &key).json(&json!({"id": id, "name": "n"}))).await
        };
        let registered = async |grant: Grant| {
            let token = api.token(grant.role(Role::Admin).subject("same"));
            let request = api.bare("POST", ARCHIVES).bearer_auth(token).header("idempotency-key", format!("r{key}"));
            answer(request.json(&json!({"datasetId": "d", "spaceId": "s"}))).await.json(201)["archiveId"].clone()
        };
        let issuers = || [Grant::default(), Grant::default().issuer("https://a.example"), Grant::default().issuer("b")];
        let mut made = std::collections::BTreeSet::new();
        for issuer in issuers() {
            let id = new_id();
            // Another's request under the same key is neither in the way nor given back.
            assert_eq!(delete(issuer.clone(), &id).await.json(201)["id"], json!(id));
            assert_eq!(delete(issuer.clone(), &id).await.json(201)["id"], json!(id));
            delete(issuer.clone(), &new_id()).await.refused(422, "idempotencyKeyReused");
            let first = registered(issuer.clone()).await;
            assert_eq!(registered(issuer).await, first);
            made.insert(first.as_str().unwrap().to_owned());
        }
        assert_eq!(made.len(), 3, "an archive that is not named is made for each");
    }
}
