//! The options of tokens, which hang together, and the issuers that only the file can name.

use super::sources::IssuerTable;
use super::{ConfigError, JwksSource, Reader, values};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// How tokens are checked.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The HS256 key ([`crate::secret_files::jwt_secret`] reads it).
    pub secret_file: PathBuf,
    /// The one before it, whose tokens count as long as the file is there.
    pub former_secret_file: PathBuf,
    /// Whether tokens count that are signed with these keys.
    pub hs256: bool,
    /// The `iss` to demand of them.
    pub issuer: Option<String>,
    /// The `aud` to demand of them.
    pub audience: Option<String>,
    /// Issuers that have key sets; no two have the same `iss`.
    pub issuers: Vec<TokenIssuer>,
}

/// An issuer with a key set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenIssuer {
    /// The `iss` to demand; `None` only where the options name a key set and no issuer.
    pub issuer: Option<String>,
    /// The `aud` to demand.
    pub audience: Option<String>,
    /// Where its keys are.
    pub jwks: JwksSource,
    /// The claim with the roles.
    pub claim_roles: String,
    /// The claim with the privileges.
    pub claim_privileges: String,
    /// The issuer's roles, and which of ours each stands for.
    pub role_map: Vec<(String, String)>,
    /// What its tokens may be signed with.
    pub algorithms: Vec<String>,
}

/// What key sets can hold keys for.
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// Says where the roles and privileges of tokens are that a key set vouches for.
const OF_A_KEY_SET: [&str; 3] = ["jwt_claim_roles", "jwt_claim_privileges", "role_map"];

/// One `[[issuer]]` of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    issuer: String,
    jwks: Option<String>,
    audience: Option<String>,
    claim_roles: Option<String>,
    claim_privileges: Option<String>,
    #[serde(default)]
    role_map: Vec<String>,
    algorithms: Option<Vec<String>>,
}

impl Reader {
    /// How tokens are checked.
    pub(super) fn auth(&self, data_dir: &Path, tables: Vec<IssuerTable>) -> Result<Auth, ConfigError> {
        let issuer = self.optional("jwt_issuer", values::line)?;
        let audience = self.optional("jwt_audience", values::line)?;
        let mut issuers = Vec::new();
        issuers.extend(self.issuer_of_the_options(issuer.as_deref(), audience.as_deref())?);
        for table in tables {
            let (path, number) = (table.path.clone(), table.number);
            let read = read(table);
            let read = read.and_then(|read| {
                let again = issuers.iter().any(|one: &TokenIssuer| one.issuer == read.issuer);
                if again {
                    Err("its issuer is named twice".to_owned())
                } else {
                    Ok(read)
                }
            });
            issuers.push(read.map_err(|cause| ConfigError::Issuer { path, number, cause })?);
        }
        let hs256 = self.optional("jwt_hs256", values::boolean)?;
        if hs256 == Some(false) && issuers.is_empty() {
            let cause =
                "off leaves nothing to check tokens with: neither --jwks nor an issuer names a key set";
            return Err(self.error("jwt_hs256", cause.to_owned()));
        }
        Ok(Auth {
            secret_file: self.path_or("jwt_secret_file", data_dir.join(crate::secret_files::JWT_SECRET))?,
            former_secret_file: self.path_or(
                "jwt_former_secret_file",
                data_dir.join(crate::secret_files::JWT_FORMER_SECRET),
            )?,
            // Whoever has an issuer of tokens does not expect that a file signs them as well.
            hs256: hs256.unwrap_or(issuers.is_empty()),
            issuer,
            audience,
            issuers,
        })
    }

    fn issuer_of_the_options(
        &self,
        issuer: Option<&str>,
        audience: Option<&str>,
    ) -> Result<Option<TokenIssuer>, ConfigError> {
        let jwks = self.optional("jwks", values::jwks)?;
        let found = issuer.filter(|issuer| has_description(issuer));
        let jwks = jwks.or_else(|| found.map(|issuer| JwksSource::Issuer(issuer.to_owned())));
        let role_map = self.list("role_map", values::role_mapping)?;
        let claim = |key, default: &str| -> Result<String, ConfigError> {
            Ok(self
                .optional(key, values::line)?
                .unwrap_or_else(|| default.to_owned()))
        };
        let read = TokenIssuer {
            issuer: issuer.map(ToOwned::to_owned),
            audience: audience.map(ToOwned::to_owned),
            claim_roles: claim("jwt_claim_roles", "roles")?,
            claim_privileges: claim("jwt_claim_privileges", "privileges")?,
            role_map,
            algorithms: ALGORITHMS.map(ToOwned::to_owned).into(),
            jwks: match jwks {
                Some(jwks) => jwks,
                None => {
                    return match OF_A_KEY_SET.into_iter().find(|key| self.given(key)) {
                        Some(key) => {
                            let cause = "means nothing without a key set: neither --jwks nor an --jwt-issuer that is an http(s) address is given";
                            Err(self.error(key, cause.to_owned()))
                        }
                        None => Ok(None),
                    };
                }
            },
        };
        Ok(Some(read))
    }
}

/// Whether an issuer can be asked for its own description.
fn has_description(issuer: &str) -> bool {
    values::http_url(issuer).is_ok()
}

fn read(table: IssuerTable) -> Result<TokenIssuer, String> {
    let Table {
        issuer,
        jwks,
        audience,
        claim_roles,
        claim_privileges,
        role_map,
        algorithms,
    } = table
        .value
        .try_into()
        .map_err(|error| error.message().replace('\n', " "))?;
    let named = |key: &'static str| move |cause: String| format!("{key}: {cause}");
    let line = |key: &'static str, text: Option<String>| {
        text.map(|text| values::line(&text).map_err(named(key)))
            .transpose()
    };
    let issuer = values::line(&issuer).map_err(named("issuer"))?;
    let jwks = match jwks {
        Some(text) => values::jwks(&text).map_err(named("jwks"))?,
        None if has_description(&issuer) => JwksSource::Issuer(issuer.clone()),
        None => {
            return Err(
                "jwks: must be given, as the issuer is no http(s) address that could name it".to_owned(),
            );
        }
    };
    let role_map = role_map
        .iter()
        .map(|text| values::role_mapping(text).map_err(named("role_map")));
    let algorithms = algorithms.unwrap_or_else(|| ALGORITHMS.map(ToOwned::to_owned).into());
    if algorithms.is_empty() || algorithms.iter().any(|name| !ALGORITHMS.contains(&name.as_str())) {
        return Err(format!("algorithms: must be some of {}", ALGORITHMS.join(", ")));
    }
    Ok(TokenIssuer {
        role_map: role_map.collect::<Result<_, _>>()?,
        issuer: Some(issuer),
        audience: line("audience", audience)?,
        jwks,
        claim_roles: line("claim_roles", claim_roles)?.unwrap_or_else(|| "roles".to_owned()),
        claim_privileges: line("claim_privileges", claim_privileges)?
            .unwrap_or_else(|| "privileges".to_owned()),
        algorithms,
    })
}
