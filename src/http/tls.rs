//! TLS in this process: the current certificate, and the next one when its files have changed.
//!
//! Connections keep the certificate that they started with. If a pair of files can't be used, that is logged once and
//! the previous one stays. The contents of the files are compared, so that any way of replacing them is noticed.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio_rustls::TlsAcceptor;

use crate::config::live::LiveConfig;
use crate::config::tls_files::TlsPair;
use crate::config::{ConfigError, TlsFiles};
use crate::telemetry::metrics::Metrics;

/// The certificate of a listener.
pub(crate) struct Certificate {
    current: Arc<ArcSwapOption<TlsAcceptor>>,
    seen: Mutex<TlsPair>,
}

impl Certificate {
    /// Loads the files.
    ///
    /// # Errors
    /// As [`TlsPair::read`] and [`TlsPair::acceptor`].
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, ConfigError> {
        let pair = TlsPair::read(files)?;
        let current = Arc::new(ArcSwapOption::from_pointee(pair.acceptor()?));
        Ok(Self { current, seen: Mutex::new(pair) })
    }

    /// Returns the acceptor for the listener. It is always set.
    pub(crate) fn current(&self) -> Arc<ArcSwapOption<TlsAcceptor>> {
        self.current.clone()
    }

    /// Applies the current files. Returns whether they are new.
    ///
    /// # Errors
    /// As [`TlsPair::read`] and [`TlsPair::acceptor`]. The current certificate stays.
    pub(crate) fn reload(&self, files: &TlsFiles) -> Result<bool, ConfigError> {
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

    /// Checks the files periodically. Only ends if TLS is switched off.
    pub(crate) async fn watch(self: Arc<Self>, config: Arc<LiveConfig>, metrics: Arc<Metrics>) {
        let mut logged = false;
        loop {
            let watch = config.load().tls.watch;
            tokio::time::sleep(watch).await;
            let Some(files) = config.load().tls.files.clone() else { return };
            let reloaded = tokio::task::spawn_blocking({
                let certificate = self.clone();
                move || certificate.reload(&files)
            });
            match reloaded.await {
                Ok(Ok(renewed)) => {
                    logged = false;
                    if renewed {
                        tracing::info!("the certificate was renewed");
                    }
                }
                Ok(Err(error)) => {
                    // Counted every time: the current certificate will expire some day.
                    metrics.count_fault("certificate");
                    if !std::mem::replace(&mut logged, true) {
                        tracing::warn!(%error, "could not load the new certificate; keeping the current one");
                    }
                }
                // The process is shutting down.
                Err(_) => {}
            }
        }
    }
}
