//! A new configuration while the server runs.
//!
//! All of it is taken over or nothing: what can fail is done first. Limits hold from the
//! next frame on, also for those who are connected, and frame size and send queue for the sockets that open from then
//! on; a bound that is lower than what is open closes nothing, but lets no more in. A key that is removed ends what it opened:
//! sockets whose tokens it signed close with 4001, and streams and exports of a service key break off.
//!
//! Whatever else is to join in has its fallible part in [`Reload::prepare`] and the other in [`Reload::apply`], and its keys among those
//! that `config::renewal` lists.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::ServeError;
use super::state::Server;
use crate::actions::functions::{self, Function};
use crate::auth::Renewed;
use crate::config::{Config, ConfigError, Renewal};
use crate::http::tls::Certificate;
use crate::supervisor::Supervisor;
use crate::webhooks::{BeforeSend, Hooks};

/// What a reload is done to.
pub(crate) struct Reload {
    pub(crate) server: Arc<Server>,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) supervisor: Supervisor,
}

/// All that can't fail any more.
struct Prepared {
    renewal: Renewal,
    keys: Renewed,
    functions: Vec<Arc<Function>>,
    before_send: Option<Arc<BeforeSend>>,
    /// Those that are told, where they have changed.
    hooks: Option<Hooks>,
}

impl Reload {
    /// Takes over what comes, one after the other, until nothing can come any more.
    pub(crate) async fn run(self, mut configurations: mpsc::Receiver<Result<Config, ConfigError>>) {
        while let Some(next) = configurations.recv().await {
            let prepared = match next {
                Ok(next) => self.prepare(&next).await,
                Err(error) => Err(error.into()),
            };
            match prepared {
                Ok(prepared) => self.apply(prepared).await,
                Err(error) => {
                    self.server.metrics.reload("refused");
                    tracing::error!(%error, "the configuration is not taken over; the old one stays");
                }
            }
        }
    }

    /// Everything that can fail.
    async fn prepare(&self, next: &Config) -> Result<Prepared, ServeError> {
        let server = &self.server;
        let mut renewal = server.config.load().renewed(next)?;
        renewal.config.keep_own_secret()?;
        let keys =
            server.verifier.renewed(&renewal.config.auth, &server.metrics, self.supervisor.stop()).await?;
        let functions = functions::configured(&renewal.config, &server.store, &server.metrics)?;
        let before_send = BeforeSend::new(&renewal.config, &server.metrics)?;
        let hooks = self.hooks(&renewal).await?;
        // The last that can fail, for a new certificate is in force at once.
        if let (Some(certificate), Some(files)) = (&self.certificate, &renewal.config.tls.files) {
            certificate.look(files)?;
        }
        Ok(Prepared { renewal, keys, functions, before_send, hooks })
    }

    /// The hooks as they are to be told from now on; each goes on from its place, and a new one from here.
    async fn hooks(&self, renewal: &Renewal) -> Result<Option<Hooks>, ServeError> {
        let asked = |key: &String| key.starts_with("hooks.before_send.");
        if !renewal.changed.iter().any(|key| key.starts_with("hooks.") && !asked(key)) {
            return Ok(None);
        }
        let Server { store, stream_store, metrics, pulse, .. } = &*self.server;
        let hooks = Hooks::new(&renewal.config, pulse.server(), store, stream_store, metrics)?;
        hooks.begin().await?;
        Ok(Some(hooks))
    }

    async fn apply(&self, prepared: Prepared) {
        let Prepared { renewal, keys, functions, before_send, hooks } = prepared;
        let Renewal { config, changed, restart } = renewal;
        let server = &self.server;
        server.runtime.ask(before_send);
        if let Some(hooks) = hooks {
            // The leases are this server's: they are given back before they are taken again.
            server.hooks.load().end().await;
            server.hooks.store(Arc::new(hooks.start(&self.supervisor)));
        }
        server.verifier.take_over(keys);
        server.runtime.renew(&config, functions);
        server.config.store(Arc::new(config));
        server.reloads.send_replace(());
        server.metrics.reload("ok");
        tracing::info!(changed = changed.join(", "), "the configuration was read again");
        for warning in server.config.load().warnings() {
            tracing::warn!("{warning}");
        }
        if !restart.is_empty() {
            tracing::warn!(keys = restart.join(", "), "only a restart changes these; they stay as they were");
        }
    }
}
