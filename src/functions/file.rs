//! One version of a function file with its settings, as the server calls it.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use handlers::UserId;

use super::call::{Export, ProgramCall, ProgramError, ProgramLimits};
use super::host::call_host::{CallHost, CallUse, FunctionServices};
use super::host::fetch::FunctionFetch;
use super::host::room::FunctionRoom;
use super::log_line::escaped;
use super::program::Program;
use crate::config::{FunctionConfig, ReceiverConfig};
use crate::outbound::{CallGate, OutboundError, ProgramFailure};
use crate::store::Store;
use crate::store::function_state::StateBounds;
use crate::telemetry::metrics::Metrics;

/// The version of a loaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionVersion {
    /// The kind of the file: `js`.
    pub(crate) kind: &'static str,
    /// The SHA-256 of the content, in hexadecimal.
    pub(crate) sha256: String,
}

impl FunctionVersion {
    /// Returns the first digits of the hash, by which logs and metrics name the version.
    pub(crate) fn short(&self) -> &str {
        self.sha256.get(..7).unwrap_or(&self.sha256)
    }
}

/// One version of a file with its settings.
pub(crate) struct FunctionFile {
    name: Arc<str>,
    version: FunctionVersion,
    program: Arc<Program>,
    config: FunctionConfig,
    gate: CallGate,
    /// The gate of `before_send`, which has limits of its own.
    before_send: CallGate,
    services: Arc<FunctionServices>,
}

impl fmt::Debug for FunctionFile {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("FunctionFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The circumstances of one call.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    /// The room of the call. None for the hooks `connected` and `disconnected`.
    pub(crate) room: Option<FunctionRoom>,
    /// The user of the call: the caller, the sender, or the user of a hook's event.
    pub(crate) user: Option<UserId>,
    /// Whether the call is of a hook, whose event may be about a user who was erased since.
    pub(crate) is_late: bool,
    /// The id of the call or the event.
    pub(crate) request: String,
}

impl FunctionFile {
    /// Gives a loaded program its settings.
    ///
    /// # Errors
    /// The file may send requests, and this machine has no trusted certificates.
    pub(crate) fn new(
        name: &Arc<str>,
        (version, program): (FunctionVersion, Arc<Program>),
        config: &FunctionConfig,
        store: &Store,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let section = format!("functions.{name}");
        let file = &config.file;
        let fetch = FunctionFetch::new(file, metrics)
            .map_err(|error| format!("{section}.hosts: can't be used on this machine: {error}"))?;
        let before_send = ReceiverConfig {
            max_in_flight: file.before_send_in_flight,
            max_in_flight_per_user: usize::MAX,
            ..config.receiver.clone()
        };
        let services = FunctionServices {
            name: name.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            fetch,
            env: file.env.clone(),
            state: StateBounds {
                keys: file.state_keys,
                value_bytes: file.state_value_bytes,
                bytes: file.state_bytes,
            },
            host_calls: file.host_calls,
            log_lines: file.log_lines,
            log_line_bytes: file.log_line_bytes,
        };
        Ok(Self {
            name: name.clone(),
            version,
            program,
            config: config.clone(),
            gate: CallGate::new(&section, &config.receiver, metrics),
            before_send: CallGate::new(&format!("{section}.before_send"), &before_send, metrics),
            services: Arc::new(services),
        })
    }

    /// Returns the name of the file without its ending.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn config(&self) -> &FunctionConfig {
        &self.config
    }

    pub(crate) fn exports(&self, export: Export) -> bool {
        self.program.exports().contains(&export)
    }

    /// Calls an export with a JSON text. Returns its answer, which is empty if the function returned nothing.
    ///
    /// # Errors
    /// The function was not called, or it failed.
    pub(crate) async fn call(
        &self,
        export: Export,
        caller: &impl Hash,
        input: &str,
        context: CallContext,
    ) -> Result<Vec<u8>, OutboundError> {
        let is_filter = export == Export::BeforeSend;
        let gate = if is_filter { &self.before_send } else { &self.gate };
        let file = &self.config.file;
        let limits = ProgramLimits {
            memory_bytes: file.memory_bytes,
            cpu: if is_filter { file.before_send_cpu } else { file.cpu },
            max_response_bytes: self.config.receiver.max_response_bytes,
        };
        let CallContext { room, user, is_late, request } = context;
        let host = Arc::new(CallHost {
            services: self.services.clone(),
            room,
            user,
            is_late,
            request,
            deadline: tokio::time::Instant::now() + gate.timeout(),
            used: CallUse::default(),
        });
        let began = Instant::now();
        let answer = gate.pass(caller, self.run(ProgramCall { export, input, host, limits })).await;
        let outcome = answer.as_ref().map_or_else(OutboundError::label, |_| "ok");
        self.services.metrics.function_called(&self.name, export.name(), outcome, began.elapsed());
        answer
    }

    async fn run(&self, call: ProgramCall<'_>) -> Result<Vec<u8>, OutboundError> {
        let metrics = &self.services.metrics;
        let _busy = metrics.function_begins();
        match self.program.call(call).await {
            Ok(result) => {
                metrics.function_used(&self.name, result.cpu, result.memory_bytes, result.is_new);
                Ok(result.json.into_bytes())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Counts a failure, and returns it with the version of the file.
    fn failed(&self, error: &ProgramError) -> OutboundError {
        let metrics = &self.services.metrics;
        let used = |cpu: Duration| metrics.function_used(&self.name, cpu, 0, false);
        let failure = match error {
            ProgramError::NoInstance => {
                metrics.bound_hit("function_instances_memory");
                ProgramFailure::Busy
            }
            ProgramError::Cpu(cpu) => {
                used(*cpu);
                metrics.bound_hit("function_cpu_ms");
                ProgramFailure::Cpu
            }
            ProgramError::Memory => {
                metrics.bound_hit("function_memory_mib");
                ProgramFailure::Trap
            }
            ProgramError::TooLarge(_) => {
                metrics.bound_hit("outbound_max_response_bytes");
                ProgramFailure::Error
            }
            ProgramError::Thrown(_) => ProgramFailure::Error,
            ProgramError::TooDeep | ProgramError::Trap(_) | ProgramError::Host(_) => ProgramFailure::Trap,
        };
        let text = format!("version {}: {}", self.version.short(), escaped(&error.to_string()));
        OutboundError::Program(failure, text)
    }
}
