//! TLS in this process: loads the certificate of the listener, and loads it again when the certificate's files have
//! changed.
//!
//! A connection keeps the certificate with which it started. If the new files can't be used, the server keeps the
//! current certificate and logs the error once. The server reads the files at intervals and compares their contents. A
//! comparison of modification times is not enough, because a new file can have the modification time of the old file.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio_rustls::TlsAcceptor;

use crate::config::live::LiveConfig;
use crate::config::tls_files::TlsPair;
use crate::config::{ConfigError, TlsFiles};
use crate::supervisor::panic_text;
use crate::telemetry::metrics::Metrics;

/// The certificate of a listener.
pub(crate) struct Certificate {
    current: Arc<ArcSwapOption<TlsAcceptor>>,
    seen: Mutex<TlsPair>,
}

impl Certificate {
    /// Loads the certificate from its files.
    ///
    /// # Errors
    /// Returns the errors of [`TlsPair::read`] and [`TlsPair::acceptor`].
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, ConfigError> {
        let pair = TlsPair::read(files)?;
        let current = Arc::new(ArcSwapOption::from_pointee(pair.acceptor()?));
        Ok(Self { current, seen: Mutex::new(pair) })
    }

    /// Returns the acceptor for the listener. The option always contains an acceptor.
    pub(crate) fn current(&self) -> Arc<ArcSwapOption<TlsAcceptor>> {
        self.current.clone()
    }

    /// Reads the certificate's files again. If the contents have changed, new connections use the new certificate, and
    /// this function returns true.
    ///
    /// # Errors
    /// Returns the errors of [`TlsPair::read`] and [`TlsPair::acceptor`]. The server then keeps the current
    /// certificate.
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

    /// Checks the files every `tls.watch_ms`. Returns when the process shuts down. A reload can't switch TLS off.
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
            let failure = match reloaded.await {
                Ok(Ok(renewed)) => {
                    logged = false;
                    if renewed {
                        tracing::info!("the certificate was renewed");
                    }
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => format!("the check panicked: {}", panic_text(&*panic)),
                    // The blocking task was cancelled, because the process is shutting down.
                    Err(_) => return,
                },
            };
            // The error is logged once, but counted at every check. Therefore an alert on this count can fire before
            // the current certificate expires.
            metrics.count_fault("certificate");
            if !std::mem::replace(&mut logged, true) {
                tracing::warn!(
                    error = failure,
                    "could not load the new certificate; keeping the current one"
                );
            }
        }
    }
}
