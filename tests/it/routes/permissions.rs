//! Every route, for every kind of token, on what exists and on what does not: permission is checked before existence.

use archive_ledger::http::auth::rights::{Right, Role};
use serde_json::{Value, json};

use super::{ARCHIVED, ARCHIVES, Answer, Api, Grant, answer, new_id};
use crate::harness::on_both_backends;

const MANAGE: &str = "space_manage_datasets";
const REMOVE: &str = "space_remove_archives";
const CREATE: &str = "space_create_archives";
const VIEW: &str = "space_view_archives";

/// What a request needs to be admitted.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Right(Right),
    Create,
    View,
    Delete,
}

#[derive(Clone, Copy)]
struct Route {
    method: &'static str,
    /// With `{id}` for the entity.
    path: &'static str,
    needs: Needs,
}

const fn route(method: &'static str, path: &'static str, needs: Needs) -> Route {
    Route { method, path, needs }
}

const ROUTES: [Route; 28] = [
    route(
        "GET",
        "/api/admin/archived/summary",
        Needs::Right(Right::ArchivedRead),
    ),
    route(
        "GET",
        "/api/admin/archived/users",
        Needs::Right(Right::ArchivedRead),
    ),
    route(
        "GET",
        "/api/admin/archived/users/{id}",
        Needs::Right(Right::ArchivedRead),
    ),
    route(
        "GET",
        "/api/admin/archived/users/{id}/history",
        Needs::Right(Right::ArchivedRead),
    ),
    route(
        "POST",
        "/api/admin/archived/users",
        Needs::Right(Right::ArchivedWrite),
    ),
    route(
        "POST",
        "/api/admin/archived/users/{id}/restore",
        Needs::Right(Right::ArchivedWrite),
    ),
    route(
        "DELETE",
        "/api/admin/archived/users/{id}/purge",
        Needs::Right(Right::ArchivedPurge),
    ),
    route(
        "GET",
        "/api/admin/archived/users/{id}/evidence",
        Needs::Right(Right::AuditRead),
    ),
    route("GET", "/api/admin/audit/events", Needs::Right(Right::AuditRead)),
    // A position that no log here reaches: a stream has no end.
    route(
        "GET",
        "/api/events?after=999999999999",
        Needs::Right(Right::AuditRead),
    ),
    route("GET", "/api/admin/purges", Needs::Right(Right::ArchivedRead)),
    route(
        "POST",
        "/api/admin/purges/{id}/retry",
        Needs::Right(Right::ArchivedPurge),
    ),
    route(
        "POST",
        "/api/admin/purges/{id}/force",
        Needs::Right(Right::ArchivedPurgeForce),
    ),
    route(
        "GET",
        "/api/admin/audit/export?format=csv",
        Needs::Right(Right::AuditRead),
    ),
    route(
        "GET",
        "/api/admin/audit/export/manifest?format=csv",
        Needs::Right(Right::AuditRead),
    ),
    route("GET", "/api/ledger/checkpoint", Needs::Right(Right::AuditRead)),
    route("GET", "/api/ledger/vkey", Needs::Right(Right::AuditRead)),
    route(
        "GET",
        "/api/ledger/consistency?from=0",
        Needs::Right(Right::AuditRead),
    ),
    route("GET", "/api/ledger/tile/999/{id}", Needs::Right(Right::AuditRead)),
    route(
        "GET",
        "/api/ledger/tile/entries/{id}",
        Needs::Right(Right::AuditRead),
    ),
    route("GET", "/api/ledger/proofs/{id}", Needs::Right(Right::AuditRead)),
    route(
        "GET",
        "/api/admin/callbacks",
        Needs::Right(Right::CallbacksManage),
    ),
    route(
        "GET",
        "/api/admin/callbacks/{id}",
        Needs::Right(Right::CallbacksManage),
    ),
    route(
        "POST",
        "/api/admin/callbacks/{id}/replay",
        Needs::Right(Right::CallbacksManage),
    ),
    route(
        "POST",
        "/api/admin/callbacks/replay",
        Needs::Right(Right::CallbacksManage),
    ),
    route("POST", ARCHIVES, Needs::Create),
    route("GET", "/api/v3/oneprovider/archives/{id}", Needs::View),
    route("POST", "/api/v3/oneprovider/archives/{id}/delete", Needs::Delete),
];

/// A kind of token: what it grants, which rights that comes to, and its privileges everywhere and in `space-1`.
struct Kind {
    name: &'static str,
    grant: Grant,
    rights: Vec<Right>,
    everywhere: Vec<&'static str>,
    in_space: Vec<&'static str>,
}

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![Kind {
        name: "nothing",
        grant: Grant::default(),
        rights: Vec::new(),
        everywhere: Vec::new(),
        in_space: Vec::new(),
    }];
    for role in Role::ALL {
        kinds.push(Kind {
            name: role.as_str(),
            grant: Grant::default().role(role),
            rights: role.rights().iter().collect(),
            everywhere: Vec::new(),
            in_space: Vec::new(),
        });
    }
    for right in Right::ALL {
        kinds.push(Kind {
            name: right.as_str(),
            grant: Grant::default().right(right),
            rights: vec![right],
            everywhere: Vec::new(),
            in_space: Vec::new(),
        });
    }
    for (name, everywhere, in_space, elsewhere) in [
        ("manage everywhere", vec![MANAGE], vec![], vec![]),
        ("remove everywhere", vec![REMOVE], vec![], vec![]),
        ("both everywhere", vec![MANAGE, REMOVE], vec![], vec![]),
        ("manage in the space", vec![], vec![MANAGE], vec![]),
        ("remove in the space", vec![], vec![REMOVE], vec![]),
        ("both in the space", vec![], vec![MANAGE, REMOVE], vec![]),
        (
            "one everywhere and one in the space",
            vec![MANAGE],
            vec![REMOVE],
            vec![],
        ),
        ("split over two spaces", vec![], vec![MANAGE], vec![REMOVE]),
        ("both in another space", vec![], vec![], vec![MANAGE, REMOVE]),
        ("create in the space", vec![], vec![MANAGE, CREATE], vec![]),
        ("create in another space", vec![], vec![], vec![MANAGE, CREATE]),
        ("view in the space", vec![], vec![VIEW], vec![]),
        ("view in another space", vec![], vec![], vec![VIEW]),
        (
            "all in the space",
            vec![],
            vec![MANAGE, REMOVE, CREATE, VIEW],
            vec![],
        ),
    ] {
        let mut grant = Grant::default()
            .privileges(&everywhere)
            .space("space-1", &in_space);
        if !elsewhere.is_empty() {
            grant = grant.space("space-2", &elsewhere);
        }
        kinds.push(Kind {
            name,
            grant,
            rights: Vec::new(),
            everywhere,
            in_space,
        });
    }
    kinds
}

impl Kind {
    /// Whether the token is admitted; what does not exist is in no space.
    fn admitted(&self, needs: Needs, exists: bool) -> bool {
        let has = |name: &str| {
            self.everywhere.contains(&name)
                || ((exists || needs == Needs::Create) && self.in_space.contains(&name))
        };
        match needs {
            Needs::Right(right) => self.rights.contains(&right),
            Needs::Create => self.rights.contains(&Right::ArchivedWrite) || (has(MANAGE) && has(CREATE)),
            Needs::View => {
                self.rights.contains(&Right::ArchivedRead) || has(VIEW) || (has(MANAGE) && has(REMOVE))
            }
            Needs::Delete => has(MANAGE) && has(REMOVE),
        }
    }
}

/// What a route does to which entity.
async fn ask(api: &Api, route: Route, token: &str, exists: bool) -> Answer {
    let id = new_id();
    let archive = route.path.starts_with(ARCHIVES);
    if exists && archive && route.path != ARCHIVES {
        api.register(&id, "space-1").await;
    } else if exists && route.path.contains("/users/{id}") {
        api.soft_delete("users", &id).await;
    }
    let request = api
        .bare(route.method, &route.path.replace("{id}", &id))
        .bearer_auth(token);
    let body = match route.path {
        "/api/admin/archived/users" if route.method == "POST" => json!({"id": id, "name": "n"}),
        ARCHIVES => json!({"archiveId": id, "datasetId": "d", "spaceId": "space-1"}),
        "/api/admin/callbacks/replay" => json!({"dry_run": true}),
        path if path.ends_with("/force") => json!({"reason": "r"}),
        _ => Value::Null,
    };
    answer(if body.is_null() {
        request
    } else {
        request.json(&body)
    })
    .await
}

on_both_backends! {
    async fn a_token_may_what_it_grants_and_is_told_nothing_of_what_it_may_not(backend: Backend) {
        let api = Api::shared(backend).await;
        for kind in kinds() {
            let token = api.token(kind.grant.clone());
            for route in ROUTES {
                for exists in [true, false] {
                    let told = ask(&api, route, &token, exists).await;
                    let what = format!("{} on {} {} (exists: {exists})", kind.name, route.method, route.path);
                    if !kind.admitted(route.needs, exists) {
                        assert_eq!(told.status, 403, "{what}: {}", told.text());
                        told.refused(403, "forbidden");
                        continue;
                    }
                    let one = route.path.contains("{id}");
                    // Ids of entities name none of these.
                    let other = ["callbacks/{id}", "purges/{id}", "/ledger/"].iter().any(|part| route.path.contains(part));
                    let expected = match (exists && !other, one) {
                        (false, true) => 404,
                        _ => match (route.method, route.path) {
                            ("POST", ARCHIVES | "/api/admin/archived/users") => 201,
                            ("POST", path) if path.ends_with("/delete") => 204,
                            ("GET", path) if path.starts_with("/api/events") => 400,
                            _ => 200,
                        },
                    };
                    assert_eq!(told.status, expected, "{what}: {}", told.text());
                }
            }
        }
    }

    async fn a_refusal_looks_the_same_whether_or_not_there_is_something(backend: Backend) {
        let api = Api::shared(backend).await;
        let (there, nowhere) = (new_id(), new_id());
        api.register(&there, "space-1").await;
        api.soft_delete("users", &there).await;
        let scoped = api.token(Grant::default().space("space-2", &[MANAGE, REMOVE, VIEW]));
        let none = api.token(Grant::default());
        for token in [scoped, none] {
            for (method, path) in [
                ("GET", format!("{ARCHIVED}/users/ID")),
                ("GET", format!("{ARCHIVED}/users/ID/history")),
                ("POST", format!("{ARCHIVED}/users/ID/restore")),
                ("DELETE", format!("{ARCHIVED}/users/ID/purge")),
                ("GET", format!("{ARCHIVES}/ID")),
                ("POST", format!("{ARCHIVES}/ID/delete")),
            ] {
                let mut told = Vec::new();
                for id in [&there, &nowhere] {
                    let request = api.bare(method, &path.replace("ID", id)).bearer_auth(&token);
                    let mut error = answer(request.body("{")).await.refused(403, "forbidden");
                    error["ctx"]["timestamp"] = json!(0);
                    told.push(error);
                }
                assert_eq!(told[0], told[1], "{method} {path}");
            }
        }
        assert_eq!(api.events("archives", &there).await, ["registered"]);
        assert_eq!(api.events("users", &there).await, ["soft_deleted"]);
    }

    async fn registering_in_a_space_needs_the_privileges_of_that_space(backend: Backend) {
        let api = Api::shared(backend).await;
        let token = api.token(Grant::default().space("space-1", &[MANAGE, CREATE]).space("space-2", &[MANAGE]));
        for (space, status) in [("space-1", 201), ("space-2", 403), ("space-3", 403)] {
            let body = json!({"archiveId": new_id(), "datasetId": "d", "spaceId": space});
            let request = api.bare("POST", ARCHIVES).bearer_auth(&token).json(&body);
            assert_eq!(answer(request).await.status, status, "{space}");
        }
    }
}
