//! `sslmode=verify-ca`: the server's certificate must be one of the given authorities', whatever name stands in it.
//!
//! The driver takes it for `verify-full`: what the TLS library says of another name has more words than the driver looks for. So
//! the driver is led to a socket in a folder that is this process's own; whoever connects there is led on to the server, over TLS, by
//! what stands here.

use super::CONNECT_TIMEOUT;
use super::url::TlsFiles;
use crate::small_files::{self, TLS_MAX};
use crate::store::StoreError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Asks the server for TLS: the length of the message, and the number that stands for it.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The folder with the socket, and who listens there; both go with it.
#[derive(Debug)]
pub(super) struct Way {
    folder: PathBuf,
    listening: JoinHandle<()>,
}

impl Drop for Way {
    fn drop(&mut self) {
        self.listening.abort();
        // What is left is empty and this user's own.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Where the server is, and how it is recognized.
struct Destination {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
}

/// The options to connect with, and what they lead through if they must.
///
/// # Errors
/// [`StoreError::Unfit`] when a file is none of its kind; [`StoreError::Database`] when the server cannot be reached, or has no
/// certificate of the authorities.
pub(super) async fn way(
    options: PgConnectOptions,
    files: &TlsFiles,
) -> Result<(PgConnectOptions, Option<Arc<Way>>), StoreError> {
    let (PgSslMode::VerifyCa, Some(authorities), None) =
        (options.get_ssl_mode(), &files.authorities, options.get_socket())
    else {
        return Ok((options, None));
    };
    let config = config(authorities, files).map_err(StoreError::Unfit)?;
    let host = options.get_host().to_owned();
    let destination = Arc::new(Destination {
        name: ServerName::try_from(host.clone())
            .map_err(|_| StoreError::Unfit(format!("{host:?} is no host")))?,
        host,
        port: options.get_port(),
        connector: TlsConnector::from(Arc::new(config)),
    });
    let failed = |error| StoreError::database("connect")(sqlx::Error::Io(error));
    // So that what is wrong is told, which the socket could not.
    destination.connect().await.map_err(failed)?;
    let (way, folder) = listen(destination).map_err(failed)?;
    let options = options.socket(folder).ssl_mode(PgSslMode::Disable);
    Ok((options, Some(Arc::new(way))))
}

fn listen(destination: Arc<Destination>) -> io::Result<(Way, PathBuf)> {
    let mut tag = [0; 8];
    aws_lc_rs::rand::fill(&mut tag).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let folder = std::env::temp_dir().join(format!("archive-ledger-{}", hex::encode(tag)));
    DirBuilder::new().mode(0o700).create(&folder)?;
    let socket = folder.join(format!(".s.PGSQL.{}", destination.port));
    let listener = UnixListener::bind(socket)?;
    let listening = tokio::spawn(async move {
        let mut led = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = led.join_next() => continue,
            };
            match accepted {
                Ok((mut near, _)) => {
                    let destination = Arc::clone(&destination);
                    led.spawn(async move {
                        match destination.connect().await {
                            // How it ends, both ends see.
                            Ok(mut far) => drop(copy_bidirectional(&mut near, &mut far).await),
                            Err(error) => tracing::warn!(%error, "the database cannot be reached"),
                        }
                    });
                }
                // No descriptor is free, say: whoever connects waits meanwhile.
                Err(_) => tokio::time::sleep(super::TRUSTED_FOR).await,
            }
        }
    });
    let way = Way {
        folder: folder.clone(),
        listening,
    };
    Ok((way, folder))
}

impl Destination {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.connect_in_time())
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn connect_in_time(&self) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = TcpStream::connect((&*self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&SSL_REQUEST).await?;
        match stream.read_u8().await? {
            b'S' => self.connector.connect(self.name.clone(), stream).await,
            _ => Err(io::Error::other("the server does not support TLS")),
        }
    }
}

fn config(authorities: &str, files: &TlsFiles) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates("sslrootcert", authorities)? {
        roots
            .add(certificate)
            .map_err(|error| format!("sslrootcert: {authorities}: {error}"))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| format!("sslrootcert: {authorities}: {error}"))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyName(verifier)));
    match (&files.certificate, &files.key) {
        (None, None) => Ok(config.with_no_client_auth()),
        (Some(certificate), Some(key)) => {
            let pem = content("sslkey", key)?;
            let secret =
                PrivateKeyDer::from_pem_slice(&pem).map_err(|error| format!("sslkey: {key}: {error}"))?;
            config
                .with_client_auth_cert(certificates("sslcert", certificate)?, secret)
                .map_err(|error| format!("sslcert: {certificate}: {error}"))
        }
        (Some(_), None) | (None, Some(_)) => Err("sslcert and sslkey must be given together".to_owned()),
    }
}

fn certificates(parameter: &str, given: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = content(parameter, given)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{parameter}: {given} holds no certificate")),
        Err(error) => Err(format!("{parameter}: {given}: {error}")),
    }
}

/// A file's content; the content itself is taken as well.
fn content(parameter: &str, given: &str) -> Result<Vec<u8>, String> {
    if given.trim_start().starts_with("-----BEGIN") {
        return Ok(given.as_bytes().to_vec());
    }
    small_files::read(Path::new(given), TLS_MAX)
        .map_err(|error| format!("{parameter}: cannot read {given}: {error}"))
}

/// Takes every certificate of the authorities, whatever it names.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        // The name is looked at last, so that all else is right where it is another.
        match self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
