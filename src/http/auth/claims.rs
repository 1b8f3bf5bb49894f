//! Where an issuer writes what a token grants, and by what names.

use super::rights::Role;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Where an issuer's tokens say which roles and privileges they grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimNames {
    /// The claim with the roles: its name, or the names that lead to it with dots between them.
    pub roles: String,
    /// The claim with Onedata's privileges, in the same way.
    pub privileges: String,
    /// Which of our roles the issuer's own stand for. Empty: they have our names. Else no other name grants anything.
    pub role_map: BTreeMap<String, Vec<Role>>,
}

impl Default for ClaimNames {
    /// As `archive-ledger token` writes them.
    fn default() -> Self {
        Self {
            roles: "roles".to_owned(),
            privileges: "privileges".to_owned(),
            role_map: BTreeMap::new(),
        }
    }
}

impl ClaimNames {
    /// The roles that a name stands for; none that we do not know.
    pub(super) fn roles_of(&self, name: &str) -> Vec<Role> {
        if self.role_map.is_empty() {
            return name.parse().into_iter().collect();
        }
        self.role_map.get(name).cloned().unwrap_or_default()
    }
}

/// The claim that `path` leads to. A name may have dots itself, as `https://example.org/roles` and the ids of clients do: what is
/// there by the longer name goes before what would be found inside a shorter one.
pub(super) fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| {
        let inside = claims.get(&path[..dot])?.as_object()?;
        find(inside, &path[dot + 1..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_leads_through_objects_and_names_may_have_dots() {
        let claims = json!({
            "roles": 1, "realm_access": {"roles": 2}, "https://example.org/roles": 3,
            "resource_access": {"my.client": {"roles": 4}, "my": {"client": {"roles": 5, "only": 6}}}, "text": "t",
        });
        let claims = claims.as_object().unwrap();
        for (path, found) in [
            ("roles", Some(1)),
            ("realm_access.roles", Some(2)),
            ("https://example.org/roles", Some(3)),
            ("resource_access.my.client.roles", Some(4)),
            ("resource_access.my.client.only", Some(6)),
            ("realm_access.", None),
            (".roles", None),
            ("text.roles", None),
            ("", None),
        ] {
            assert_eq!(
                find(claims, path),
                found.map(|number| json!(number)).as_ref(),
                "{path}"
            );
        }
    }

    #[test]
    fn a_map_leaves_no_other_name() {
        let mut names = ClaimNames::default();
        assert_eq!(names.roles_of("admin"), [Role::Admin]);
        assert_eq!(names.roles_of("root"), []);
        names.role_map = [("team".to_owned(), vec![Role::Operator, Role::Auditor])].into();
        assert_eq!(names.roles_of("team"), [Role::Operator, Role::Auditor]);
        assert_eq!(names.roles_of("admin"), []);
    }
}
