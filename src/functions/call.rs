//! One call of a function file: what it gets, its limits, its result and its errors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::host_call::Host;

/// What a file can export. Each export is called for one kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Export {
    /// The action of the file's name.
    Call,
    /// Each message or edit of a client, before it is written.
    BeforeSend,
    /// Each message, edit and delete, after it was written.
    AfterSend,
    /// A user came online.
    Connected,
    /// A user went offline.
    Disconnected,
    /// A message for a user who is offline.
    Offline,
}

impl Export {
    pub(crate) const ALL: [Self; 6] =
        [Self::Call, Self::BeforeSend, Self::AfterSend, Self::Connected, Self::Disconnected, Self::Offline];

    /// Returns the name of the export in a script, in logs and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Call => "default",
            Self::BeforeSend => "before_send",
            Self::AfterSend => "after_send",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Offline => "offline",
        }
    }
}

/// The limits of one call (docs/operate/configuration.md, `[functions."<name>"]`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgramLimits {
    /// The most memory of the call, in bytes.
    pub(crate) memory_bytes: usize,
    /// The most CPU time of the call.
    pub(crate) cpu: Duration,
    /// The largest answer, in bytes.
    pub(crate) max_response_bytes: usize,
}

/// One call of a program.
pub(crate) struct ProgramCall<'a> {
    pub(crate) export: Export,
    /// A JSON text.
    pub(crate) input: &'a str,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) limits: ProgramLimits,
}

/// The result of a call that did not fail.
#[derive(Debug)]
pub(crate) struct CallResult {
    /// The answer, a JSON text. Empty if the function returned nothing.
    pub(crate) json: String,
    /// The CPU time that the call used, in whole ticks.
    pub(crate) cpu: Duration,
    /// The memory of the instance at the end of the call, in bytes.
    pub(crate) memory_bytes: usize,
    /// Whether an instance was made for the call.
    pub(crate) is_new: bool,
}

/// Why a call of a function failed. The texts are for the log. They never reach a client.
#[derive(Clone, Debug)]
pub(crate) enum ProgramError {
    /// The function threw an error or answered `err`: the text, with the stack of a script.
    Thrown(String),
    /// The CPU time was used up.
    Cpu(Duration),
    /// The memory limit was reached.
    Memory,
    /// The stack was exhausted.
    TooDeep,
    /// WebAssembly trapped for another reason.
    Trap(String),
    /// The answer was too large, in bytes.
    TooLarge(usize),
    /// The memory of all instances is used up, so the function was not called.
    NoInstance,
    /// The server failed.
    Host(String),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Thrown(text) | Self::Host(text) => to.write_str(text),
            Self::Cpu(budget) => write!(to, "used up its CPU time of {} ms", budget.as_millis()),
            Self::Memory => to.write_str("out of memory"),
            Self::TooDeep => to.write_str("too deep: its stack is exhausted"),
            Self::Trap(name) => write!(to, "trap: {name}"),
            Self::TooLarge(most) => write!(to, "its answer has more than {most} bytes"),
            Self::NoInstance => to.write_str("the memory of all function instances is used up"),
        }
    }
}
