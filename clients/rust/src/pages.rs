//! Lists as streams: a page is fetched when the stream needs it, and nothing is fetched ahead.

use crate::{ARCHIVED, Archived, AuditLine, Client, Delivery, EntityType, Error};
use futures::stream::{self, Stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;

/// Where the deliveries of callbacks are.
const CALLBACKS: &str = "api/admin/callbacks";

/// Where the audit is.
const AUDIT: &str = "api/admin/audit/events";

/// How many items a page has.
const PAGE: u32 = 100;

/// A page of any list. The audit has pages without items that others follow, so that only the cursor says whether there are more.
#[derive(Deserialize)]
struct Page<T> {
    items: VecDeque<T>,
    next_cursor: Option<String>,
}

/// Which deliveries; what is absent does not matter.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    /// `due`, `delivered`, `dead` or `superseded`.
    pub state: Option<String>,
    /// The receiver, `host:port`.
    pub host: Option<String>,
    /// Of this entity.
    pub entity: Option<(EntityType, String)>,
}

/// Which lines of the audit; what is empty does not matter.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// By any of these actors.
    pub actors: Vec<String>,
    /// Any of these actions.
    pub actions: Vec<String>,
    /// On entities of any of these types.
    pub entity_types: Vec<EntityType>,
    /// On any of these entities.
    pub entity_ids: Vec<String>,
}

impl Client {
    /// What is archived of a type, newest deletion first.
    pub fn archived(&self, entity_type: EntityType) -> impl Stream<Item = Result<Archived, Error>> + use<> {
        self.walk(ARCHIVED, &[entity_type.as_str()], Vec::new())
    }

    /// Deliveries of callbacks, newest first.
    pub fn callbacks(&self, filter: &DeliveryFilter) -> impl Stream<Item = Result<Delivery, Error>> + use<> {
        let mut query = Vec::new();
        query.extend(filter.state.clone().map(|state| ("state", state)));
        query.extend(filter.host.clone().map(|host| ("host", host)));
        if let Some((entity_type, id)) = &filter.entity {
            query.push(("entity_type", entity_type.as_str().to_owned()));
            query.push(("entity_id", id.clone()));
        }
        self.walk(CALLBACKS, &[], query)
    }

    /// Who did what, newest first.
    pub fn audit(&self, filter: &AuditFilter) -> impl Stream<Item = Result<AuditLine, Error>> + use<> {
        let types = filter.entity_types.iter().map(|one| one.as_str().to_owned());
        let named = |name: &'static str, values: &[String]| -> Vec<(&'static str, String)> {
            values.iter().map(|value| (name, value.clone())).collect()
        };
        let mut query = named("actor", &filter.actors);
        query.extend(named("action", &filter.actions));
        query.extend(types.map(|one| ("entity_type", one)));
        query.extend(named("entity_id", &filter.entity_ids));
        self.walk(AUDIT, &[], query)
    }

    fn walk<T: DeserializeOwned>(
        &self,
        path: &'static str,
        parts: &[&str],
        mut query: Vec<(&'static str, String)>,
    ) -> impl Stream<Item = Result<T, Error>> + use<T> {
        query.push(("limit", PAGE.to_string()));
        let walk = Walk {
            client: self.clone(),
            path,
            parts: parts.iter().map(|part| (*part).to_owned()).collect(),
            query,
            items: VecDeque::new(),
            next: Next::Begin,
        };
        stream::try_unfold(walk, async |mut walk| {
            Ok(walk.next().await?.map(|item| (item, walk)))
        })
    }
}

enum Next {
    Begin,
    Cursor(String),
    End,
}

struct Walk<T> {
    client: Client,
    path: &'static str,
    parts: Vec<String>,
    query: Vec<(&'static str, String)>,
    items: VecDeque<T>,
    next: Next,
}

impl<T: DeserializeOwned> Walk<T> {
    async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            let mut query = self.query.clone();
            match &self.next {
                Next::Begin => {}
                Next::Cursor(cursor) => query.push(("cursor", cursor.clone())),
                Next::End => return Ok(None),
            }
            let parts: Vec<&str> = self.parts.iter().map(String::as_str).collect();
            let page: Page<T> = self.client.get(self.path, &parts, &query).await?;
            self.items = page.items;
            self.next = page.next_cursor.map_or(Next::End, Next::Cursor);
        }
    }
}
