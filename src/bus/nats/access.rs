//! How NATS' servers are reached, and what shows them who asks.
//!
//! Everything is read from its file when the service starts, so that what is wrong is told then, and again with each connection: a
//! file that was replaced holds from the next connection on.

use crate::secret_files::{self, SecretFileError};
use crate::secret_url::SecretUrl;
use crate::small_files::{self, TLS_MAX};
use async_nats::{Auth, AuthError, ConnectOptions};
use nkeys::{KeyPair, KeyPairType};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Which servers, and how.
#[derive(Debug, Clone)]
pub struct Access {
    /// The servers of one cluster, at least one; a user and a password or a token in them hold at each.
    pub servers: Vec<SecretUrl>,
    /// What else shows who asks.
    pub sign_in: SignIn,
    /// The authorities that vouch for the servers; the machine's own where there is none. With it, nothing is said without TLS.
    pub authorities: Option<PathBuf>,
    /// The certificate that shows who asks, and its key. With it, nothing is said without TLS.
    pub certificate: Option<Certificate>,
}

/// What shows the servers who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// Nothing but what the URLs say.
    Urls,
    /// A credentials file, as `nsc` makes it: a user's JWT and the seed of its key.
    Credentials(PathBuf),
    /// The seed of a user's key.
    Nkey(PathBuf),
}

/// A certificate of this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, and those between it and an authority.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Which file is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFile {
    /// [`SignIn::Credentials`].
    Credentials,
    /// [`SignIn::Nkey`].
    Nkey,
    /// [`Access::authorities`].
    Authorities,
    /// [`Certificate::chain`].
    Certificate,
    /// [`Certificate::key`].
    CertificateKey,
}

/// Why a file cannot be used; never quotes it.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A secret one cannot be read.
    #[error("{source}")]
    Secret {
        /// Which.
        file: AccessFile,
        /// Why.
        source: SecretFileError,
    },
    /// Another one cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        file: AccessFile,
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{} {reason}", path.display())]
    Content {
        /// Which.
        file: AccessFile,
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
}

impl AccessError {
    /// Which file is at fault.
    #[must_use]
    pub const fn file(&self) -> AccessFile {
        match self {
            Self::Secret { file, .. } | Self::Read { file, .. } | Self::Content { file, .. } => *file,
        }
    }
}

impl Access {
    /// These servers, with what their URLs say.
    #[must_use]
    pub const fn to(servers: Vec<SecretUrl>) -> Self {
        Self {
            servers,
            sign_in: SignIn::Urls,
            authorities: None,
            certificate: None,
        }
    }

    /// The servers as they may be shown.
    pub(super) fn shown(&self) -> String {
        let shown: Vec<_> = self.servers.iter().map(ToString::to_string).collect();
        shown.join(",")
    }

    /// The servers without what shows who asks: the client tells its log of them.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(SecretUrl::without_credentials).collect()
    }

    /// The client's options for all of it; every file was read once then.
    pub(super) fn options(&self) -> Result<ConnectOptions, AccessError> {
        let mut options = match &self.sign_in {
            SignIn::Urls => self.of_the_urls(),
            file @ (SignIn::Credentials(_) | SignIn::Nkey(_)) => {
                file.read()?;
                let file = file.clone();
                ConnectOptions::with_auth_callback(move |nonce| {
                    let answer = file.answer(&nonce);
                    async move { answer }
                })
            }
        };
        if let Some(path) = &self.authorities {
            read_certificates(AccessFile::Authorities, path)?;
            options = options.require_tls(true).add_root_certificates(path.clone());
        }
        if let Some(certificate) = &self.certificate {
            certificate.check()?;
            let Certificate { chain, key } = certificate.clone();
            options = options.require_tls(true).add_client_certificate(chain, key);
        }
        Ok(options)
    }

    fn of_the_urls(&self) -> ConnectOptions {
        let options = ConnectOptions::new();
        match self.servers.iter().find_map(SecretUrl::credentials) {
            None => options,
            Some((token, None)) => options.token(token),
            Some((user, Some(password))) => options.user_and_password(user, password),
        }
    }
}

/// What a file says.
struct Read {
    jwt: Option<String>,
    key: KeyPair,
}

impl SignIn {
    fn read(&self) -> Result<Option<Read>, AccessError> {
        let (file, path) = match self {
            Self::Urls => return Ok(None),
            Self::Credentials(path) => (AccessFile::Credentials, path),
            Self::Nkey(path) => (AccessFile::Nkey, path),
        };
        let wrong = |reason| AccessError::Content {
            file,
            path: path.clone(),
            reason,
        };
        let bytes = secret_files::existing(path).map_err(|source| AccessError::Secret { file, source })?;
        let bytes = Zeroizing::new(bytes);
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not text in UTF-8"))?;
        let (jwt, seed) = match file {
            AccessFile::Credentials => (
                Some(block(text, "USER JWT").ok_or_else(|| wrong("holds no user's JWT"))?),
                block(text, "NKEY SEED").ok_or_else(|| wrong("holds no seed of a key"))?,
            ),
            _ => {
                let mut lines = text.lines().map(str::trim);
                let seed = lines.find(|line| line.starts_with("SU"));
                (
                    None,
                    seed.ok_or_else(|| wrong("holds no seed of a user's key (it begins with SU)"))?,
                )
            }
        };
        let key = KeyPair::from_seed(seed).map_err(|_| wrong("holds a seed that is damaged"))?;
        if !matches!(key.key_pair_type(), KeyPairType::User) {
            return Err(wrong("holds the seed of another key than a user's"));
        }
        Ok(Some(Read {
            jwt: jwt.map(ToOwned::to_owned),
            key,
        }))
    }

    /// What shows a server who asks that has said `nonce`.
    fn answer(&self, nonce: &[u8]) -> Result<Auth, AuthError> {
        let read = self.read().map_err(AuthError::new)?;
        let mut auth = Auth::new();
        if let Some(Read { jwt, key }) = read {
            auth.signature = Some(key.sign(nonce).map_err(AuthError::new)?);
            match jwt {
                Some(jwt) => auth.jwt = Some(jwt),
                None => auth.nkey = Some(key.public_key()),
            }
        }
        Ok(auth)
    }
}

/// What stands between `-----BEGIN … <what>-----` and the end of the block.
fn block<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(what))?;
    lines
        .find(|line| !line.is_empty())
        .filter(|line| !line.starts_with('-'))
}

fn read_certificates(file: AccessFile, path: &Path) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let text = small_files::read(path, TLS_MAX).map_err(|source| AccessError::Read {
        file,
        path: path.to_owned(),
        source,
    })?;
    let wrong = |reason| AccessError::Content {
        file,
        path: path.to_owned(),
        reason,
    };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let read = read.map_err(|_| wrong("holds a certificate that is damaged"))?;
    if read.is_empty() {
        return Err(wrong("holds no certificate in PEM"));
    }
    Ok(read)
}

impl Certificate {
    fn check(&self) -> Result<(), AccessError> {
        let chain = read_certificates(AccessFile::Certificate, &self.chain)?;
        let file = AccessFile::CertificateKey;
        let wrong = |reason| AccessError::Content {
            file,
            path: self.key.clone(),
            reason,
        };
        let bytes =
            secret_files::existing(&self.key).map_err(|source| AccessError::Secret { file, source })?;
        let bytes = Zeroizing::new(bytes);
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| wrong("holds no private key in PEM"))?;
        let provider = CryptoProvider::get_default()
            .cloned()
            .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let fits = CertifiedKey::from_der(chain, key, &provider);
        fits.map(drop)
            .map_err(|_| wrong("is not the key of the certificate"))
    }
}

#[cfg(test)]
mod tests;
