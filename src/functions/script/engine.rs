//! The JavaScript engine as WebAssembly, compiled once for all scripts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use wasmtime::{Config, Engine, InstancePre, Module};

use super::guest::Guest;
use super::idle::IdleGuests;
use super::imports::{self, GuestState};
use super::load_host::LoadHost;
use super::source::{Image, ScriptSource};
use crate::config::Secret;
use crate::functions::call::{Export, ProgramError, ProgramLimits};
use crate::functions::wasm::memory::MemoryBudget;
use crate::functions::wasm::ticker::Ticker;

/// QuickJS-ng with `engine.c` and `prelude.js`. `build.sh` makes it.
const QUICKJS: &[u8] = include_bytes!("quickjs/quickjs.wasm");

/// The stack of a host call, beside the stack of WebAssembly, in bytes.
const HOST_STACK: usize = 512 * 1024;

/// The compiled engine.
pub(crate) struct ScriptEngine {
    pre: InstancePre<GuestState>,
    ticker: Ticker,
    budget: MemoryBudget,
    /// The idle instances of all scripts. They are dropped when the memory of all instances is used up.
    idle: Mutex<Vec<Weak<IdleGuests>>>,
}

impl std::fmt::Debug for ScriptEngine {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("ScriptEngine").finish_non_exhaustive()
    }
}

/// How a file is loaded.
pub(crate) struct ScriptLoad {
    /// The most CPU time of loading.
    pub(crate) cpu: Duration,
    /// The most memory of an instance, in bytes.
    pub(crate) memory_bytes: usize,
    /// The most instances that wait for a call.
    pub(crate) idle_instances: usize,
    pub(crate) env: BTreeMap<String, Secret>,
}

impl ScriptEngine {
    /// Compiles the engine. This takes up to a second of CPU time.
    ///
    /// # Errors
    /// This machine can't run WebAssembly, for example because it forbids executable memory.
    pub(crate) fn new(stack_bytes: usize, budget: MemoryBudget) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(stack_bytes)
            .async_stack_size(stack_bytes + HOST_STACK);
        let engine = Engine::new(&config)?;
        let module = Module::new(&engine, QUICKJS)?;
        let pre = imports::linker(&engine)?.instantiate_pre(&module)?;
        let ticker = Ticker::new(engine)?;
        Ok(Self { pre, ticker, budget, idle: Mutex::default() })
    }

    pub(super) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// Loads a file. Returns its memory, its exports, and the place for its idle instances.
    pub(super) async fn load(
        &self,
        source: ScriptSource<'_>,
        how: ScriptLoad,
    ) -> Result<(Image, Vec<Export>, Arc<IdleGuests>), ProgramError> {
        let _ticking = self.ticker.begin();
        let limits =
            ProgramLimits { memory_bytes: how.memory_bytes, cpu: how.cpu, max_response_bytes: usize::MAX };
        let mut guest = Guest::blank(&self.pre, &self.budget, &limits).await?;
        let host = Arc::new(LoadHost { file: source.file.into(), env: how.env });
        let exports = guest.load(&source, host, &limits).await?;
        let idle = Arc::new(IdleGuests::new(how.idle_instances));
        let mut every = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        every.retain(|idle| idle.strong_count() > 0);
        every.push(Arc::downgrade(&idle));
        Ok((guest.image(), exports, idle))
    }

    /// Creates an instance with this memory. If the memory of all instances is used up, the idle instances make room.
    pub(super) async fn instance(
        &self,
        image: &Image,
        limits: &ProgramLimits,
    ) -> Result<Guest, ProgramError> {
        match Guest::of_image(&self.pre, &self.budget, image, limits).await {
            Err(ProgramError::NoInstance) => {
                let every = self.idle.lock().unwrap_or_else(PoisonError::into_inner).clone();
                every.iter().filter_map(Weak::upgrade).for_each(|idle| idle.drop_every());
                Guest::of_image(&self.pre, &self.budget, image, limits).await
            }
            made => made,
        }
    }
}
