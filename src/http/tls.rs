//! TLS in this process: the certificate in force, and the next one once its files have changed.
//!
//! Connections keep the certificate that they began with. A pair of files that can't be used is logged, once, and the
//! one before it stays. Files are looked at by their contents: whichever way they are replaced, it is noticed.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::app::state::Live;
use crate::config::file::{Holds, TrustedFile, plain_pem};
use crate::config::{ConfigError, TlsFiles};
use crate::telemetry::metrics::Metrics;

/// What a listener shows who it is with.
pub(crate) struct Certificate {
    current: Arc<ArcSwapOption<TlsAcceptor>>,
    seen: Mutex<Pair>,
}

/// The two files as they stood, the key's path aside: compared, so that each is tried once.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    /// # Errors
    /// As [`check`].
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, ConfigError> {
        let pair = Pair::read(files)?;
        let current = Arc::new(ArcSwapOption::from_pointee(pair.acceptor()?));
        Ok(Self { current, seen: Mutex::new(pair) })
    }

    /// What a listener takes; always filled.
    pub(crate) fn current(&self) -> Arc<ArcSwapOption<TlsAcceptor>> {
        self.current.clone()
    }

    /// Takes over what stands in the files now; whether it is new.
    ///
    /// # Errors
    /// As [`check`]; what was in force stays so.
    pub(crate) fn look(&self, files: &TlsFiles) -> Result<bool, ConfigError> {
        let pair = Pair::read(files)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == pair {
            return Ok(false);
        }
        let acceptor = pair.acceptor()?;
        *seen = pair;
        self.current.store(Some(Arc::new(acceptor)));
        Ok(true)
    }

    /// Looks at the files again and again. Ends never.
    pub(crate) async fn watch(self: Arc<Self>, config: Arc<Live>, metrics: Arc<Metrics>) {
        let mut told = false;
        loop {
            let watch = config.load().tls.watch;
            tokio::time::sleep(watch).await;
            let Some(files) = config.load().tls.files.clone() else { return };
            let looked = tokio::task::spawn_blocking({
                let certificate = self.clone();
                move || certificate.look(&files)
            });
            match looked.await {
                Ok(Ok(renewed)) => {
                    told = false;
                    if renewed {
                        tracing::info!("the certificate was renewed");
                    }
                }
                Ok(Err(error)) => {
                    // As long as it is so: the one in force will be over some day.
                    metrics.fault("certificate");
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%error, "the certificate can't be renewed; the old one stays");
                    }
                }
                // The process is ending.
                Err(_) => {}
            }
        }
    }
}

/// That a server can show these.
///
/// # Errors
/// A file can't be read or isn't PEM of its kind, or the key isn't the certificate's.
pub(crate) fn check(files: &TlsFiles) -> Result<(), ConfigError> {
    Pair::read(files)?.acceptor().map(|_| ())
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, ConfigError> {
        let read = |key: &str, path: &Path, holds| {
            let read = TrustedFile::read(path, holds).map(pem);
            read.map_err(|fault| ConfigError::new(key, format!("the file {fault}")))
        };
        let certificate = read("tls.certificate", &files.certificate, Holds::Public)?;
        Ok(Self { certificate, key: read("tls.key", &files.key, Holds::Secret)? })
    }

    /// No refusal shows anything of the key.
    fn acceptor(&self) -> Result<TlsAcceptor, ConfigError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let Some(chain) = chain.ok().filter(|chain| !chain.is_empty()) else {
            return Err(ConfigError::new("tls.certificate", "holds no certificate in PEM"));
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| ConfigError::new("tls.key", "holds no private key in PEM"))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let mut config = config.map_err(|error| {
            ConfigError::new("tls.key", format!("can't be used with tls.certificate: {error}"))
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// The file's PEM. Between the blocks there may be anything, in any encoding.
fn pem(file: TrustedFile) -> Vec<u8> {
    let bytes = file.into_bytes();
    let plain = str::from_utf8(&bytes).map(|text| plain_pem(text).into_owned().into_bytes());
    plain.unwrap_or(bytes)
}
