//! Loads function files, and loads changed files again while the server runs.
//!
//! A file is known by its content, not by its time. If a new content can't be loaded, the version before it continues
//! to run, and the log says why. A file that is gone ends with the calls that have begun.

mod candidate;
mod engines;
mod folder;
pub(crate) mod offline;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use self::candidate::{Candidate, Unloadable};
use self::engines::{Engines, LoadFile};
use self::folder::{FolderContent, FunctionFolder};
use super::call::ProgramError;
use super::file::{FunctionFile, FunctionVersion};
use super::log_line::escaped;
use super::program::Program;
use super::target::{LoadedFunctions, NextFunctions};
use crate::config::{Config, FunctionFilesConfig};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// Where a function comes from, as metrics name it.
const FOLDER: &str = "folder";

/// The functions of one server that are files.
pub(crate) struct FunctionLoader {
    settings: FunctionFilesConfig,
    engines: Engines,
    state: Mutex<LoaderState>,
    metrics: Arc<Metrics>,
}

struct LoaderState {
    folder: Option<FunctionFolder>,
    content: FolderContent,
    known: BTreeMap<String, KnownFunction>,
}

/// A function whose file was found.
#[derive(Default)]
struct KnownFunction {
    /// What the last attempt to load was about. A content that was refused is not loaded again.
    tried: String,
    /// Why the last content was refused.
    refused: Option<String>,
    /// The version that runs.
    running: Option<(FunctionVersion, Arc<Program>)>,
}

/// The state of one function, for people.
#[derive(Clone, Debug)]
pub(crate) struct FunctionStatus {
    pub(crate) name: String,
    /// The version that runs.
    pub(crate) version: Option<FunctionVersion>,
    /// Why the newest content was refused.
    pub(crate) refused: Option<String>,
    pub(crate) exports: Vec<&'static str>,
}

impl FunctionLoader {
    pub(crate) fn new(settings: &FunctionFilesConfig, metrics: &Arc<Metrics>) -> Self {
        let state = LoaderState {
            folder: FunctionFolder::new(settings),
            content: FolderContent::default(),
            known: BTreeMap::new(),
        };
        Self {
            settings: settings.clone(),
            engines: Engines::new(settings),
            state: Mutex::new(state),
            metrics: metrics.clone(),
        }
    }

    /// Waits until it is time to look at the folder again.
    pub(crate) async fn next_look(&self) {
        if self.settings.folder.is_some() {
            tokio::time::sleep(self.settings.watch).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Looks at the folder, and loads what has changed. Returns whether another version runs now. With `is_start`,
    /// reads also files that were just written.
    pub(crate) async fn look(&self, config: &Config, is_start: bool) -> bool {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if let Some(folder) = state.folder.take() {
            let mut folder = folder;
            let looked = tokio::task::spawn_blocking(move || {
                let content = folder.look(is_start);
                (folder, content)
            });
            match looked.await {
                Ok((folder, Ok(content))) => {
                    state.folder = Some(folder);
                    state.content = content;
                }
                Ok((folder, Err(error))) => {
                    state.folder = Some(folder);
                    tracing::warn!(%error, "could not list functions.folder; keeping the functions");
                }
                Err(error) => {
                    state.folder = FunctionFolder::new(&self.settings);
                    tracing::error!(%error, "could not read functions.folder; keeping the functions");
                }
            }
        }
        let changed = self.load_changed(state, config).await;
        let idle = state.known.values().filter_map(|known| known.running.as_ref());
        let idle = idle.map(|(_, program)| program.drop_idle()).sum();
        self.metrics.function_instances(idle, self.engines.memory_bytes());
        changed
    }

    async fn load_changed(&self, state: &mut LoaderState, config: &Config) -> bool {
        let LoaderState { content, known, .. } = state;
        let gone: Vec<String> =
            known.keys().filter(|name| !content.functions.contains_key(*name)).cloned().collect();
        let mut changed = false;
        for name in gone {
            if let Some(KnownFunction { running: Some((version, _)), .. }) = known.remove(&name) {
                self.runs(&name, &version, false);
                tracing::info!(function = name, version = version.short(), "a function's file is gone");
                changed = true;
            }
        }
        for name in content.functions.keys() {
            let candidate = Candidate::of(name, content, config);
            let known = known.entry(name.clone()).or_default();
            let tried = candidate.as_ref().map_or_else(ToString::to_string, Candidate::fingerprint);
            if known.tried != tried {
                known.tried = tried;
                changed |= self.load_function(name, known, candidate).await;
            }
        }
        changed
    }

    /// Loads a function whose content has changed. Returns whether another version runs now.
    async fn load_function(
        &self,
        name: &str,
        known: &mut KnownFunction,
        candidate: Result<Candidate<'_>, Unloadable>,
    ) -> bool {
        let loaded = match candidate {
            Ok(candidate) => {
                let program = self.load_file(candidate.file()).await;
                program.map(|program| (candidate.version(), Arc::new(program)))
            }
            Err(unloadable) => {
                if let Some(bound) = unloadable.bound() {
                    self.metrics.bound_hit(bound);
                }
                Err(unloadable.to_string())
            }
        };
        self.metrics.function_loaded(&name.into(), loaded.is_ok());
        match loaded {
            Ok((version, program)) => {
                let exports: Vec<_> = program.exports().iter().map(|export| export.name()).collect();
                let exports = exports.join(", ");
                tracing::info!(function = name, version = version.short(), exports, "a function was loaded");
                if let Some((before, _)) = &known.running {
                    self.runs(name, before, false);
                }
                self.runs(name, &version, true);
                known.refused = None;
                known.running = Some((version, program));
                true
            }
            Err(refused) => {
                let running = known.running.as_ref().map(|(version, _)| version.short());
                let error = escaped(&refused);
                tracing::error!(function = name, running, error, "a function's file is refused");
                known.refused = Some(refused);
                false
            }
        }
    }

    async fn load_file(&self, file: LoadFile<'_>) -> Result<Program, String> {
        let program = self.engines.load(file).await.map_err(|error| {
            match error {
                ProgramError::Cpu(_) => self.metrics.bound_hit("function_load_ms"),
                ProgramError::Memory => self.metrics.bound_hit("function_memory_mib"),
                _ => {}
            }
            error.to_string()
        })?;
        if program.exports().is_empty() {
            return Err(
                "it exports no function of these: default, before_send, after_send, connected, disconnected, offline"
                    .to_owned(),
            );
        }
        Ok(program)
    }

    fn runs(&self, name: &str, version: &FunctionVersion, runs: bool) {
        self.metrics.function_runs(&name.into(), version.short(), version.kind, FOLDER, runs);
    }

    /// Returns the loaded functions with the settings of a configuration.
    ///
    /// # Errors
    /// The settings of a function can't be used on this machine. The error names the key.
    pub(crate) async fn functions(
        &self,
        config: &Config,
        store: &Store,
        loaded: &LoadedFunctions,
    ) -> Result<NextFunctions, String> {
        let state = self.state.lock().await;
        let running = state.known.iter().filter_map(|(name, known)| Some((name, known.running.clone()?)));
        let function = |(name, running): (&String, (FunctionVersion, Arc<Program>))| {
            let name = name.as_str().into();
            FunctionFile::new(&name, running, config.function(&name), store, &self.metrics).map(Arc::new)
        };
        let files = running.map(function).collect::<Result<_, _>>()?;
        Ok(NextFunctions { files, loaded: loaded.clone() })
    }

    /// Returns the state of each function.
    pub(crate) async fn status(&self) -> Vec<FunctionStatus> {
        let state = self.state.lock().await;
        let status = |(name, known): (&String, &KnownFunction)| FunctionStatus {
            name: name.clone(),
            version: known.running.as_ref().map(|(version, _)| version.clone()),
            refused: known.refused.clone(),
            exports: known
                .running
                .iter()
                .flat_map(|(_, program)| program.exports())
                .map(|e| e.name())
                .collect(),
        };
        state.known.iter().map(status).collect()
    }
}
