//! Reads and checks the files of `tls.certificate` and `tls.key`.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::file::{FileKind, TrustedFile, plain_pem};
use super::{ConfigError, TlsFiles};

/// The contents of the certificate file and the key file. The task that watches the files compares the new contents
/// with the contents that it read before. If the contents are equal, the task does not load the certificate again.
#[derive(PartialEq, Eq)]
pub(crate) struct TlsPair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Checks that a TLS listener can use the certificate and the key of `files`.
///
/// # Errors
/// A file can't be read. `tls.certificate` has no certificate in PEM. `tls.key` has no private key in PEM. Or the key
/// does not belong to the certificate.
pub(super) fn check(files: &TlsFiles) -> Result<(), ConfigError> {
    TlsPair::read(files)?.acceptor().map(|_| ())
}

impl TlsPair {
    /// Reads the certificate file and the key file.
    ///
    /// # Errors
    /// A file can't be read, or other users of the operating system may read the key.
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, ConfigError> {
        let read = |key: &str, path: &Path, holds| {
            let read = TrustedFile::read(path, holds).map(pem);
            read.map_err(|fault| ConfigError::new(key, format!("the file {fault}")))
        };
        let certificate = read("tls.certificate", &files.certificate, FileKind::Public)?;
        Ok(Self { certificate, key: read("tls.key", &files.key, FileKind::Secret)? })
    }

    /// Builds the acceptor for a listener. An error never contains a part of the key.
    ///
    /// # Errors
    /// `tls.certificate` has no certificate in PEM. `tls.key` has no private key in PEM. Or the key does not belong
    /// to the certificate.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor, ConfigError> {
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

/// Returns the PEM of a file without a byte order mark and with plain line breaks. PEM allows any text between its
/// blocks, in any encoding. Therefore a file that is not UTF-8 is not an error here, and is returned unchanged.
fn pem(file: TrustedFile) -> Vec<u8> {
    let bytes = file.into_bytes();
    let plain = str::from_utf8(&bytes).map(|text| plain_pem(text).into_owned().into_bytes());
    plain.unwrap_or(bytes)
}
