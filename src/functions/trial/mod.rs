//! Runs a function file without a server: with the same engine and limits, and with a room and stored values in memory.
//! The command `parlor function test` uses this.

mod memory_host;
mod memory_state;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use self::memory_host::MemoryHost;
use super::call::{Export, ProgramCall, ProgramLimits};
use super::host::fetch::FunctionFetch;
use super::loader::offline::load_for_trial;
use crate::config::Config;
use crate::telemetry::metrics::Metrics;

/// What to run.
#[derive(Debug)]
pub struct TrialPlan {
    /// The function file.
    pub file: PathBuf,
    /// The input of the call, as the function gets it.
    pub input: Value,
    /// The export to call. None: `before_send` or another hook if the input has the field `hook`, else `default`.
    pub export: Option<String>,
    /// The values that are stored before the call, by scope and key, such as `{"room":{"tea":1}}`.
    pub state: Value,
    /// The room, as `room.about()` returns it, with its `messages`.
    pub room: Value,
    /// Whether the function may send requests to the hosts of its configuration.
    pub allow_fetch: bool,
}

/// What a call did.
#[derive(Debug)]
pub struct TrialReport {
    /// The answer, or why the function failed.
    pub outcome: Result<Value, String>,
    /// The lines that the function wrote to the log.
    pub log: Vec<String>,
    /// The stored values after the call.
    pub state: Value,
    /// The CPU time, in whole milliseconds.
    pub cpu: Duration,
    /// The memory of the call, in bytes.
    pub memory_bytes: usize,
}

/// Loads a function file and calls it once.
///
/// # Errors
/// The file can't be loaded, it lacks the export, or the plan is invalid.
pub async fn try_function(config: &Config, plan: TrialPlan) -> Result<TrialReport, String> {
    let export = export_of(&plan)?;
    let name = name_of(&plan.file)?;
    let program = load_for_trial(config, &plan.file, &name).await?;
    if !program.exports().contains(&export) {
        let there: Vec<_> = program.exports().iter().map(|export| export.name()).collect();
        return Err(format!("the file exports no {}, but: {}", export.name(), there.join(", ")));
    }
    let settings = config.function(&name);
    let metrics = Arc::new(Metrics::new());
    let fetch = if plan.allow_fetch {
        FunctionFetch::new(&settings.file, &metrics).map_err(|error| error.to_string())?
    } else {
        None
    };
    let host = Arc::new(MemoryHost::new(&plan, settings, fetch)?);
    let limits = ProgramLimits {
        memory_bytes: settings.file.memory_bytes,
        cpu: if export == Export::BeforeSend { settings.file.before_send_cpu } else { settings.file.cpu },
        max_response_bytes: settings.receiver.max_response_bytes,
    };
    let input = plan.input.to_string();
    let call = program.call(ProgramCall { export, input: &input, host: host.clone(), limits });
    let called = tokio::time::timeout(settings.receiver.timeout, call).await;
    let mut report = TrialReport {
        outcome: Err("timeout: it took longer than timeout_ms".to_owned()),
        log: host.log_lines(),
        state: host.state(),
        cpu: Duration::ZERO,
        memory_bytes: 0,
    };
    match called {
        Ok(Ok(result)) => {
            report.cpu = result.cpu;
            report.memory_bytes = result.memory_bytes;
            let json = if result.json.is_empty() { "null" } else { &result.json };
            report.outcome = serde_json::from_str(json).map_err(|error| error.to_string());
        }
        Ok(Err(error)) => report.outcome = Err(error.to_string()),
        Err(_) => {}
    }
    Ok(report)
}

fn export_of(plan: &TrialPlan) -> Result<Export, String> {
    let named = plan.export.as_deref().or_else(|| plan.input["hook"].as_str()).unwrap_or("default");
    let export = Export::ALL.into_iter().find(|export| export.name() == named);
    export.ok_or_else(|| format!("there is no export named {named:?}"))
}

fn name_of(file: &Path) -> Result<String, String> {
    let name = file.file_stem().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| format!("{}: not a function file", file.display()))
}
