//! The ceiling of the HTTP stack: a handler that checks the token, with the service's own code, and nothing else.

use crate::Failure;
use archive_ledger::clock::SystemClock;
use archive_ledger::http::auth::{AuthConfig, Authenticator};
use archive_ledger::secret_files;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use std::path::Path;
use std::sync::Arc;

/// Every path and method.
pub fn routes(secret_file: &str) -> Result<Router, Failure> {
    let config = AuthConfig {
        hs256_secrets: vec![secret_files::jwt_secret(Path::new(secret_file))?],
        ..AuthConfig::default()
    };
    let auth = Arc::new(Authenticator::new(config, Arc::new(SystemClock))?);
    Ok(Router::new().fallback(any(handler)).with_state(auth))
}

async fn handler(State(auth): State<Arc<Authenticator>>, headers: HeaderMap) -> StatusCode {
    match auth.authenticate(&headers, false).await {
        Ok(_) => StatusCode::OK,
        Err(_) => StatusCode::UNAUTHORIZED,
    }
}
