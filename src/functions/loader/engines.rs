//! Loads files with the engine of their kind. An engine is made when the first file of its kind is loaded.

use std::sync::Arc;

use crate::config::{FunctionConfig, FunctionFilesConfig};
use crate::functions::call::ProgramError;
use crate::functions::program::Program;

#[cfg(feature = "functions")]
use crate::functions::script::{
    Script,
    engine::{ScriptEngine, ScriptLoad},
    source::ScriptSource,
};
#[cfg(feature = "functions")]
use crate::functions::wasm::memory::MemoryBudget;

/// A file to load.
pub(super) struct LoadFile<'a> {
    /// The name of the file.
    pub(super) file: &'a str,
    pub(super) kind: &'a str,
    pub(super) content: &'a Arc<[u8]>,
    /// The modules that a script may import.
    pub(super) modules: &'a [(String, String)],
    pub(super) config: &'a FunctionConfig,
}

/// The engines.
#[cfg(feature = "functions")]
#[derive(Debug)]
pub(super) struct Engines {
    settings: FunctionFilesConfig,
    budget: MemoryBudget,
    script: tokio::sync::OnceCell<Arc<ScriptEngine>>,
}

#[cfg(feature = "functions")]
impl Engines {
    pub(super) fn new(settings: &FunctionFilesConfig) -> Self {
        let budget = MemoryBudget::new(settings.memory_bytes);
        Self { settings: settings.clone(), budget, script: tokio::sync::OnceCell::new() }
    }

    /// Returns the memory of all instances, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Loads a file.
    pub(super) async fn load(&self, file: LoadFile<'_>) -> Result<Program, ProgramError> {
        if file.kind != "js" {
            return Err(ProgramError::Host("this server runs scripts (.js) only".to_owned()));
        }
        let code = str::from_utf8(file.content)
            .map_err(|error| ProgramError::Host(format!("is not UTF-8: {error}")))?;
        let engine = self.script.get_or_try_init(|| self.make_script_engine()).await?;
        let source = ScriptSource { file: file.file, code, modules: file.modules };
        let how = ScriptLoad {
            cpu: self.settings.load,
            memory_bytes: file.config.file.memory_bytes,
            idle_instances: self.settings.idle_instances.unwrap_or_else(cores),
            env: file.config.file.env.clone(),
        };
        Script::load(engine, source, how).await.map(Program::Script)
    }

    async fn make_script_engine(&self) -> Result<Arc<ScriptEngine>, ProgramError> {
        let (stack, budget) = (self.settings.stack_bytes, self.budget.clone());
        // To compile the engine takes up to a second, in which the thread could serve nobody.
        let made = tokio::task::spawn_blocking(move || ScriptEngine::new(stack, budget)).await;
        let failed =
            |error: String| ProgramError::Host(format!("this machine can't run WebAssembly: {error}"));
        let made = made.map_err(|error| failed(error.to_string()))?;
        made.map(Arc::new).map_err(|error| failed(format!("{error:#}")))
    }
}

#[cfg(feature = "functions")]
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Without the feature `functions`, no file can be loaded.
#[cfg(not(feature = "functions"))]
#[derive(Debug)]
pub(super) struct Engines;

#[cfg(not(feature = "functions"))]
impl Engines {
    pub(super) fn new(_: &FunctionFilesConfig) -> Self {
        Self
    }

    pub(super) fn memory_bytes(&self) -> usize {
        0
    }

    pub(super) async fn load(&self, file: LoadFile<'_>) -> Result<Program, ProgramError> {
        let LoadFile { file, kind, content, modules, config } = file;
        let _ = (kind, content, modules, config);
        Err(ProgramError::Host(format!("{file}: this binary was built without the feature functions")))
    }
}
