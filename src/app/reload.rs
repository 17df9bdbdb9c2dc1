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
use crate::functions::loader::FunctionLoader;
use crate::functions::target::{LoadedFunctions, NextFunctions};
use crate::http::tls::Certificate;
use crate::realtime::heartbeat::Heartbeat;
use crate::store::Store;
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::Metrics;
use crate::webhooks::{BeforeSend, RunningWebhooks, WebhookServices, Webhooks};

/// The parts of the server that a reload changes.
pub(crate) struct Reloader {
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) store: Store,
    pub(crate) of_hooks: WebhookServices,
    pub(crate) verifier: Verifier,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) hooks: Arc<ArcSwap<RunningWebhooks>>,
    /// Notifies the receivers of this channel after each reload.
    pub(crate) reloads: watch::Sender<()>,
    pub(crate) loader: Arc<FunctionLoader>,
    pub(crate) loaded: LoadedFunctions,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) supervisor: Supervisor,
}

/// A reload whose steps that can fail have succeeded. The steps that remain can't fail.
struct PreparedReload {
    reload: ConfigReload,
    keys: RenewedRules,
    functions: PreparedFunctions,
    /// The new webhooks for events. None if the configuration of these webhooks has not changed.
    hooks: Option<Webhooks>,
}

/// The functions that run after a reload.
struct PreparedFunctions {
    files: NextFunctions,
    actions: Vec<Arc<FunctionAction>>,
    before_send: Option<Arc<BeforeSend>>,
}

impl Reloader {
    /// Applies each received configuration, and each change of the function files.
    pub(crate) async fn run(self, mut configurations: mpsc::Receiver<Result<Config, ConfigError>>) {
        loop {
            let next = tokio::select! {
                Some(next) = configurations.recv() => next,
                () = self.loader.next_look() => {
                    self.look().await;
                    continue;
                }
            };
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
        self.loader.look(&reload.config, false).await;
        let functions = self.functions(&reload.config).await?;
        let asked = |key: &String| key.starts_with("hooks.before_send.");
        let hooks_changed = reload.changed.iter().any(|key| key.starts_with("hooks.") && !asked(key));
        let hooks = self.hooks(&reload.config, &functions.files, hooks_changed).await?;
        // This step must be the last one that can fail, because it applies the new certificate immediately.
        if let (Some(certificate), Some(files)) = (&self.certificate, &reload.config.tls.files) {
            certificate.reload(files)?;
        }
        Ok(PreparedReload { reload, keys, functions, hooks })
    }

    /// Prepares the functions of a configuration.
    async fn functions(&self, config: &Config) -> Result<PreparedFunctions, StartError> {
        let files =
            self.loader.functions(config, &self.store, &self.loaded).await.map_err(StartError::new)?;
        let actions = functions::configured(config, &files, &self.store, &self.metrics)?;
        let before_send = BeforeSend::new(config, &files, &self.metrics)?;
        Ok(PreparedFunctions { files, actions, before_send })
    }

    /// Applies what has changed in the folder of functions.
    async fn look(&self) {
        let config = self.config.load_full();
        if !self.loader.look(&config, false).await {
            return;
        }
        let prepared = async {
            let functions = self.functions(&config).await?;
            let hooks = self.hooks(&config, &functions.files, false).await?;
            Ok::<_, StartError>((functions, hooks))
        };
        match prepared.await {
            Ok((functions, hooks)) => {
                self.apply_functions(&config, functions);
                if let Some(hooks) = hooks {
                    self.replace_hooks(hooks).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, "could not apply the changed functions; keeping the current ones");
            }
        }
    }

    fn apply_functions(&self, config: &Config, functions: PreparedFunctions) {
        let PreparedFunctions { files, actions, before_send } = functions;
        files.apply();
        self.runtime.set_before_send(before_send);
        self.runtime.reload(config, actions);
    }

    /// Prepares the webhooks for events, if their settings have changed or if other files are hooks now. A webhook that
    /// existed before the reload continues after the last event that was delivered to it. A new webhook starts with the
    /// next event.
    async fn hooks(
        &self,
        config: &Config,
        files: &NextFunctions,
        settings_changed: bool,
    ) -> Result<Option<Webhooks>, StartError> {
        let hooks = Webhooks::new(config, files, &self.of_hooks)?;
        if !settings_changed && hooks.names() == self.hooks.load().names() {
            return Ok(None);
        }
        hooks.begin().await?;
        Ok(Some(hooks))
    }

    /// Starts other webhooks in place of the current ones.
    async fn replace_hooks(&self, hooks: Webhooks) {
        // Only the server that holds a webhook's lease (a time-limited lock in the database) sends events to the
        // webhook. This server may hold leases for the old webhooks. It must release these leases before the new
        // webhooks can take them.
        self.hooks.load().end().await;
        self.hooks.store(Arc::new(hooks.start(&self.supervisor)));
    }

    async fn apply(&self, prepared: PreparedReload) {
        let PreparedReload { reload, keys, functions, hooks } = prepared;
        let ConfigReload { config, changed, restart } = reload;
        if let Some(hooks) = hooks {
            self.replace_hooks(hooks).await;
        }
        self.verifier.apply_rules(keys);
        self.apply_functions(&config, functions);
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
