//! Functions in plain JavaScript. QuickJS-ng, compiled to WebAssembly, runs them ([`engine`]). A file is loaded once:
//! the engine runs what stands above its functions, and the memory is then copied. A call gets an instance whose memory
//! is this copy, and after the call the copy is put back. Therefore nothing is kept between two calls.

pub(crate) mod engine;
mod guest;
mod idle;
mod imports;
mod load_host;
mod operations;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::engine::{ScriptEngine, ScriptLoad};
use self::guest::Guest;
use self::idle::IdleGuests;
use self::source::{Image, ScriptSource};
use crate::functions::call::{CallResult, Export, ProgramCall, ProgramError, ProgramLimits};

/// A loaded function file in JavaScript.
#[derive(Debug)]
pub(crate) struct Script {
    engine: Arc<ScriptEngine>,
    /// The memory after loading.
    image: Arc<Image>,
    exports: Vec<Export>,
    idle: Arc<IdleGuests>,
}

impl Script {
    /// Loads a file: runs what stands above its functions.
    ///
    /// # Errors
    /// The file is no JavaScript module, or it failed or reached a limit while it was loaded.
    pub(crate) async fn load(
        engine: &Arc<ScriptEngine>,
        source: ScriptSource<'_>,
        how: ScriptLoad,
    ) -> Result<Self, ProgramError> {
        let (image, exports, idle) = engine.load(source, how).await?;
        Ok(Self { engine: engine.clone(), image: Arc::new(image), exports, idle })
    }

    /// Returns which functions the file exports.
    pub(crate) fn exports(&self) -> &[Export] {
        &self.exports
    }

    /// Calls an export.
    ///
    /// # Errors
    /// The function failed or reached a limit. [`ProgramError`] says why.
    pub(crate) async fn call(&self, call: ProgramCall<'_>) -> Result<CallResult, ProgramError> {
        let _ticking = self.engine.ticker().begin();
        let idle = self.idle.take();
        let is_new = idle.is_none();
        let mut guest = match idle {
            Some(guest) => guest,
            None => self.instance(&call.limits).await?,
        };
        // If the call fails or is dropped, its instance is dropped, too.
        let json = guest.call(&call).await?;
        let result = CallResult { json, cpu: guest.cpu(), memory_bytes: guest.memory_bytes(), is_new };
        if guest.restore(&self.image) {
            self.idle.put(guest);
        }
        Ok(result)
    }

    /// Drops the instances that were not used for a while. Returns the number of those that remain.
    pub(crate) fn drop_idle(&self) -> usize {
        self.idle.drop_old()
    }

    async fn instance(&self, limits: &ProgramLimits) -> Result<Guest, ProgramError> {
        self.engine.instance(&self.image, limits).await
    }
}
