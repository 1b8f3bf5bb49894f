//! The bus as the configuration asks for it.

use super::start_error::StartError;
use crate::bus::nats::{Access, AccessFile, Certificate, NatsBus, NatsError, SignIn, StreamSettings};
use crate::bus::subjects::Subjects;
use crate::config::{Config, Nats, NatsSignIn};
use uuid::Uuid;

/// How the servers are reached.
pub(super) fn access(nats: &Nats) -> Access {
    Access {
        servers: nats.servers.clone(),
        sign_in: match &nats.sign_in {
            NatsSignIn::Urls => SignIn::Urls,
            NatsSignIn::Credentials(path) => SignIn::Credentials(path.clone()),
            NatsSignIn::Nkey(path) => SignIn::Nkey(path.clone()),
        },
        authorities: nats.ca.clone(),
        certificate: nats
            .certificate
            .clone()
            .map(|(chain, key)| Certificate { chain, key }),
    }
}

/// The stream, of this ledger if it has an id already.
pub(super) fn settings(nats: &Nats, ledger: Option<Uuid>) -> StreamSettings {
    StreamSettings {
        name: nats.stream.as_str().into(),
        subjects: Subjects::below(&nats.subject_prefix),
        ledger,
        replicas: usize::from(nats.replicas),
        ..StreamSettings::default()
    }
}

/// Connects, and has the stream made where it is missing.
///
/// # Errors
/// [`StartError`], naming the option at fault.
pub(super) async fn connect(nats: &Nats, config: &Config, ledger: Uuid) -> Result<NatsBus, StartError> {
    NatsBus::connect(&access(nats), &config.service.id, settings(nats, Some(ledger)))
        .await
        .map_err(|error| refused(nats, error))
}

/// Blames the option that sets it right.
pub(super) fn refused(nats: &Nats, error: NatsError) -> StartError {
    let option = match &error {
        NatsError::Access(file) => match file.file() {
            AccessFile::Credentials => "--nats-creds",
            AccessFile::Nkey => "--nats-nkey-file",
            AccessFile::Authorities => "--nats-ca",
            AccessFile::Certificate => "--nats-cert",
            AccessFile::CertificateKey => "--nats-key",
        },
        NatsError::Refused { .. } => match nats.sign_in {
            NatsSignIn::Urls => "--nats-url",
            NatsSignIn::Credentials(_) => "--nats-creds",
            NatsSignIn::Nkey(_) => "--nats-nkey-file",
        },
        NatsError::OtherLedger { .. } | NatsError::StreamMismatch { .. } => "--nats-stream",
        NatsError::SubjectsTaken { .. } => "--nats-subject-prefix",
        NatsError::Connect { .. } | NatsError::Request { .. } | NatsError::NoJetStream { .. } => "--nats-url",
    };
    StartError::option(option, error)
}
