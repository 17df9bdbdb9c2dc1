//! Applies a new configuration while the server runs.
//!
//! A reload applies all changes or none: every step that can fail comes before the first step that changes the
//! server. Changed limits apply from the next frame on, also to connected clients. A new frame size or send queue
//! applies only to sockets that open later. If `limits.sockets` or `limits.sockets_per_user` is lowered below the
//! current number of sockets, these sockets stay open, but the server accepts no further sockets. If a signing key
//! is removed, the sockets whose tokens this key signed close with 4001. If a service key (the backend's password
//! for the API) is removed, the event streams and exports that were requested with it end.
//!
//! To make another part of the server reloadable, divide its reload into two groups of steps. Put the steps that
//! can fail into [`Reloader::prepare`], and the steps that can't fail into [`Reloader::apply`]. Add the part's
//! configuration keys to the list in `config::reload`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};

use crate::actions::dispatcher::Runtime;
use crate::actions::functions::{self, FunctionAction};
use crate::auth::{RenewedRules, Verifier, keep_own_secret};
use crate::config::live::LiveConfig;
use crate::config::{Config, ConfigError, ConfigReload};
use crate::error::StartError;
use crate::http::tls::Certificate;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;
use crate::webhooks::{BeforeSend, RunningWebhooks, Webhooks};

/// The parts of the server that a reload changes.
pub(crate) struct Reloader {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Store,
    /// A store with separate database connections, for change streams.
    pub(crate) stream_store: Store,
    pub(crate) verifier: Verifier,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) hooks: Arc<ArcSwap<RunningWebhooks>>,
    /// Notifies the receivers of this channel after each reload.
    pub(crate) reloads: watch::Sender<()>,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) supervisor: Supervisor,
}

/// A reload whose steps that can fail have succeeded. The steps that remain can't fail.
struct PreparedReload {
    reload: ConfigReload,
    keys: RenewedRules,
    functions: Vec<Arc<FunctionAction>>,
    before_send: Option<Arc<BeforeSend>>,
    /// The new webhooks for events. None if the configuration of these webhooks has not changed.
    hooks: Option<Webhooks>,
}

impl Reloader {
    /// Applies each received configuration, until the channel closes.
    pub(crate) async fn run(self, mut configurations: mpsc::Receiver<Result<Config, ConfigError>>) {
        while let Some(next) = configurations.recv().await {
            let prepared = match next {
                Ok(next) => self.prepare(&next).await,
                Err(error) => Err(error.into()),
            };
            match prepared {
                Ok(prepared) => self.apply(prepared).await,
                Err(error) => {
                    self.metrics.reload("refused");
                    tracing::error!(%error, "could not apply the new configuration; keeping the current one");
                }
            }
        }
    }

    /// Executes all steps of a reload that can fail.
    async fn prepare(&self, next: &Config) -> Result<PreparedReload, StartError> {
        let mut reload = self.config.load().prepare_reload(next)?;
        keep_own_secret(&mut reload.config)?;
        let keys =
            self.verifier.prepare_rules(&reload.config.auth, &self.metrics, self.supervisor.stop()).await?;
        let functions = functions::configured(&reload.config, &self.store, &self.metrics)?;
        let before_send = BeforeSend::new(&reload.config, &self.metrics)?;
        let hooks = self.hooks(&reload).await?;
        // This step must be the last one that can fail, because it applies the new certificate immediately.
        if let (Some(certificate), Some(files)) = (&self.certificate, &reload.config.tls.files) {
            certificate.reload(files)?;
        }
        Ok(PreparedReload { reload, keys, functions, before_send, hooks })
    }

    /// Prepares the webhooks for events. A webhook that existed before the reload continues after the last event that
    /// was delivered to it. A new webhook starts with the next event.
    async fn hooks(&self, reload: &ConfigReload) -> Result<Option<Webhooks>, StartError> {
        let asked = |key: &String| key.starts_with("hooks.before_send.");
        if !reload.changed.iter().any(|key| key.starts_with("hooks.") && !asked(key)) {
            return Ok(None);
        }
        let Self { store, stream_store, metrics, heartbeat, .. } = self;
        let hooks = Webhooks::new(&reload.config, heartbeat.server(), store, stream_store, metrics)?;
        hooks.begin().await?;
        Ok(Some(hooks))
    }

    async fn apply(&self, prepared: PreparedReload) {
        let PreparedReload { reload, keys, functions, before_send, hooks } = prepared;
        let ConfigReload { config, changed, restart } = reload;
        self.runtime.set_before_send(before_send);
        if let Some(hooks) = hooks {
            // Only the server that holds a webhook's lease (a time-limited lock in the database) sends events to the
            // webhook. This server may hold leases for the old webhooks. It must release these leases before the new
            // webhooks can take them.
            self.hooks.load().end().await;
            self.hooks.store(Arc::new(hooks.start(&self.supervisor)));
        }
        self.verifier.apply_rules(keys);
        self.runtime.reload(&config, functions);
        self.config.store(Arc::new(config));
        self.reloads.send_replace(());
        self.metrics.reload("ok");
        tracing::info!(changed = changed.join(", "), "the configuration was reloaded");
        for warning in self.config.load().warnings() {
            tracing::warn!("{warning}");
        }
        if !restart.is_empty() {
            tracing::warn!(
                keys = restart.join(", "),
                "these keys need a restart; keeping their current values"
            );
        }
    }
}
