//! What the server calls when it calls a function: an HTTP server, or a file.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::call::Export;
use super::file::{CallContext, FunctionFile};
use crate::outbound::{OutboundError, Receiver};

/// The files that are loaded now, by their names. Each call uses the version that is loaded when the call begins.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadedFunctions(Arc<ArcSwap<BTreeMap<Arc<str>, Arc<FunctionFile>>>>);

/// The files that are to replace the loaded ones.
pub(crate) struct NextFunctions {
    pub(crate) files: Vec<Arc<FunctionFile>>,
    pub(crate) loaded: LoadedFunctions,
}

impl NextFunctions {
    /// Returns a target for each file that has this export, in the order of their names. A target finds its file among
    /// the loaded ones at each call.
    pub(crate) fn targets(&self, export: Export) -> impl Iterator<Item = (&FunctionFile, Target)> {
        let files = self.files.iter().filter(move |file| file.exports(export));
        files.map(move |file| {
            let (name, answered) = (file.name().clone(), AtomicU64::new(0));
            let target = FileTarget { functions: self.loaded.clone(), name, export, answered };
            (&**file, Target::File(target))
        })
    }

    /// Replaces the loaded files.
    pub(crate) fn apply(self) {
        let files = self.files.into_iter().map(|file| (file.name().clone(), file));
        self.loaded.0.store(Arc::new(files.collect()));
    }
}

impl LoadedFunctions {
    fn get(&self, name: &str) -> Option<Arc<FunctionFile>> {
        self.0.load().get(name).cloned()
    }
}

/// An HTTP server or a file.
#[derive(Debug)]
pub(crate) enum Target {
    Http(Box<Receiver>),
    File(FileTarget),
}

/// An export of a file.
#[derive(Debug)]
pub(crate) struct FileTarget {
    functions: LoadedFunctions,
    name: Arc<str>,
    export: Export,
    /// The number of calls so far that were answered.
    answered: AtomicU64,
}

impl Target {
    /// Returns whether a call leaves this server.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Returns the number of calls so far that were answered.
    pub(crate) fn answered(&self) -> u64 {
        match self {
            Self::Http(receiver) => receiver.answered(),
            Self::File(file) => file.answered.load(Ordering::Relaxed),
        }
    }

    /// Calls the function with a JSON text, and returns its answer. `context` is asked for only if the function is a
    /// file. An HTTP server gets all that it needs with the text.
    ///
    /// # Errors
    /// The function was not called, or it failed.
    pub(crate) async fn call(
        &self,
        caller: &impl Hash,
        body: String,
        context: impl FnOnce() -> CallContext,
    ) -> Result<Vec<u8>, OutboundError> {
        match self {
            Self::Http(receiver) => receiver.post(caller, body).await,
            Self::File(FileTarget { functions, name, export, answered }) => {
                let file = functions.get(name).filter(|file| file.exports(*export));
                let file = file.ok_or(OutboundError::NotLoaded)?;
                let answer = file.call(*export, caller, &body, context()).await?;
                answered.fetch_add(1, Ordering::Relaxed);
                Ok(answer)
            }
        }
    }
}
