//! Who may ask, as the configuration says.

use super::start::Opened;
use super::start_error::StartError;
use crate::config::{Auth, Config, TokenIssuer};
use crate::http::auth::claims::ClaimNames;
use crate::http::auth::issuers::IssuerConfig;
use crate::http::auth::rights::{Role, UnknownName};
use crate::http::auth::token::JwsAlgorithm;
use crate::http::auth::{AuthConfig, Authenticator};
use crate::secret_files;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What checks tokens; the service's own key is made where it is missing.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub(super) fn authenticator(config: &Config, opened: &Opened) -> Result<Authenticator, StartError> {
    let auth = &config.auth;
    let issuers = auth.issuers.iter().enumerate().map(|(number, one)| {
        // The options' own comes first.
        let option = if number == 0 && one.issuer == auth.issuer {
            "--role-map"
        } else {
            "--config"
        };
        issuer(one).map_err(|error| StartError::option(option, error))
    });
    let checks = AuthConfig {
        issuers: issuers.collect::<Result<_, _>>()?,
        hs256_secrets: secrets(auth, true)?,
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        ..AuthConfig::default()
    };
    Authenticator::new(checks, Arc::clone(&opened.clock)).map_err(|error| StartError::option("--jwks", error))
}

/// The keys of HS256, the present one first; where `create` says so, it is made if it is missing.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub(super) fn secrets(auth: &Auth, create: bool) -> Result<Vec<Vec<u8>>, StartError> {
    if !auth.hs256 {
        return Ok(Vec::new());
    }
    let blame = |option| move |source| StartError::SecretFile { option, source };
    let path = &auth.secret_file;
    let present = if create {
        secret_files::jwt_secret(path).map(Some)
    } else {
        secret_files::existing_jwt_secret(path)
    };
    let present = present
        .map_err(blame("--jwt-secret-file"))?
        .ok_or_else(|| StartError::NoKey {
            option: "--jwt-secret-file",
            path: path.clone(),
        })?;
    let former = secret_files::existing_jwt_secret(&auth.former_secret_file)
        .map_err(blame("--jwt-former-secret-file"))?;
    Ok([present].into_iter().chain(former).collect())
}

fn issuer(one: &TokenIssuer) -> Result<IssuerConfig, UnknownName> {
    let mut role_map = BTreeMap::<String, Vec<Role>>::new();
    for (theirs, ours) in &one.role_map {
        role_map.entry(theirs.clone()).or_default().push(ours.parse()?);
    }
    Ok(IssuerConfig {
        issuer: one.issuer.clone(),
        audience: one.audience.clone(),
        jwks: one.jwks.clone(),
        claims: ClaimNames {
            roles: one.claim_roles.clone(),
            privileges: one.claim_privileges.clone(),
            role_map,
        },
        algorithms: one
            .algorithms
            .iter()
            .filter_map(|name| JwsAlgorithm::from_name(name))
            .collect(),
    })
}
