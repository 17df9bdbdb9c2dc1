//! TLS in this process: loads the certificate, and loads it again when the certificate's files have changed.
//!
//! A connection keeps the certificate with which it started. If the new files can't be used, the error is logged once
//! and the current certificate stays. Each check compares the contents of the files, because a new file can have the
//! modification time of the old file.

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
    /// As [`TlsPair::read`] and [`TlsPair::acceptor`].
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, ConfigError> {
        let pair = TlsPair::read(files)?;
        let current = Arc::new(ArcSwapOption::from_pointee(pair.acceptor()?));
        Ok(Self { current, seen: Mutex::new(pair) })
    }

    /// Returns the acceptor for the listener. The option is never empty.
    pub(crate) fn current(&self) -> Arc<ArcSwapOption<TlsAcceptor>> {
        self.current.clone()
    }

    /// Reads the files again. If their contents have changed, uses them for new connections and returns true.
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

    /// Checks the files every `tls.watch_ms`. Returns when a reload switches TLS off, or when the process shuts down.
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
            // The error is counted at every check, so an alert can fire before the current certificate expires.
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
