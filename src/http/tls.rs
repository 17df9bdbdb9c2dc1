//! TLS in this process: the certificate in force, and the next one once its files have changed.
//!
//! Connections keep the certificate that they began with. A pair of files that can't be used is logged, once, and the
//! one before it stays. Files are looked at by their contents: whichever way they are replaced, it is noticed.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio_rustls::TlsAcceptor;

use crate::config::live::LiveConfig;
use crate::config::tls_files::TlsPair;
use crate::config::{ConfigError, TlsFiles};
use crate::telemetry::metrics::Metrics;

/// What a listener shows who it is with.
pub(crate) struct Certificate {
    current: Arc<ArcSwapOption<TlsAcceptor>>,
    seen: Mutex<TlsPair>,
}

impl Certificate {
    /// # Errors
    /// As [`TlsPair::read`] and [`TlsPair::acceptor`].
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, ConfigError> {
        let pair = TlsPair::read(files)?;
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
    /// As [`TlsPair::read`] and [`TlsPair::acceptor`]; what was in force stays so.
    pub(crate) fn look(&self, files: &TlsFiles) -> Result<bool, ConfigError> {
        let pair = TlsPair::read(files)?;
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
    pub(crate) async fn watch(self: Arc<Self>, config: Arc<LiveConfig>, metrics: Arc<Metrics>) {
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
