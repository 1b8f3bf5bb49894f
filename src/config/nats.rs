//! The options of NATS, which hang together.

use super::{ConfigError, Nats, NatsSignIn, Reader, values};
use std::path::PathBuf;

/// What means nothing without servers.
const OF_THE_SERVERS: [&str; 5] = ["nats_creds", "nats_nkey_file", "nats_ca", "nats_cert", "nats_key"];

impl Reader {
    /// How JetStream is reached, if it is to be.
    pub(super) fn nats(&self) -> Result<Option<Nats>, ConfigError> {
        let replicas = self.one("nats_replicas", |text| match text {
            "1" => Ok(1),
            "3" => Ok(3),
            _ => Err(format!("{text:?} is neither 1 nor 3")),
        })?;
        let stream = self.one("nats_stream", values::nats_stream)?;
        let subject_prefix = self.one("nats_subject_prefix", values::nats_subject_prefix)?;
        let Some(servers) = self.optional("nats_url", values::nats_servers)? else {
            for key in OF_THE_SERVERS {
                if self.optional(key, values::path)?.is_some() {
                    return Err(self.error(key, "means nothing without --nats-url".to_owned()));
                }
            }
            return Ok(None);
        };
        let sign_in = self.nats_sign_in()?;
        if sign_in != NatsSignIn::Urls && servers.iter().any(|server| server.credentials().is_some()) {
            let key = if self.given("nats_creds") {
                "nats_creds"
            } else {
                "nats_nkey_file"
            };
            return Err(self.error(
                key,
                "cannot stand beside a user or a token in --nats-url".to_owned(),
            ));
        }
        Ok(Some(Nats {
            servers,
            sign_in,
            ca: self.optional("nats_ca", values::path)?,
            certificate: self.nats_certificate()?,
            stream,
            subject_prefix,
            replicas,
        }))
    }

    fn nats_sign_in(&self) -> Result<NatsSignIn, ConfigError> {
        let credentials = self.optional("nats_creds", values::path)?;
        let nkey = self.optional("nats_nkey_file", values::path)?;
        match (credentials, nkey) {
            (None, None) => Ok(NatsSignIn::Urls),
            (Some(path), None) => Ok(NatsSignIn::Credentials(path)),
            (None, Some(path)) => Ok(NatsSignIn::Nkey(path)),
            (Some(_), Some(_)) => Err(self.error(
                "nats_nkey_file",
                "cannot stand beside --nats-creds: either of them shows who asks".to_owned(),
            )),
        }
    }

    fn nats_certificate(&self) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        let certificate = self.optional("nats_cert", values::path)?;
        let key = self.optional("nats_key", values::path)?;
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (Some(_), None) => Err(self.error("nats_cert", "needs its key: --nats-key".to_owned())),
            (None, Some(_)) => Err(self.error("nats_key", "needs its certificate: --nats-cert".to_owned())),
        }
    }
}
