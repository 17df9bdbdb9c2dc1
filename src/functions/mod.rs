//! Functions: the actions and hooks that the application adds, as HTTP servers or as files.
//!
//! A file `functions/translate.js` is the action `{"action":"translate"}`, and may also be asked about each message
//! (`before_send`) or be told what happened (the hooks). It runs inside the server, as WebAssembly, with bounded CPU
//! time, memory and reach. The [`loader`] reads the folder of files. A [`Program`](program::Program) is a loaded file. A
//! [`Target`](target::Target) is what the callers call: an HTTP server or a file.

pub(crate) mod call;
pub(crate) mod file;
pub(crate) mod host;
pub(crate) mod host_call;
pub(crate) mod host_error;
pub(crate) mod loader;
pub(crate) mod log_line;
pub(crate) mod program;
#[cfg(feature = "functions")]
pub(crate) mod script;
pub(crate) mod target;
pub(crate) mod trial;
#[cfg(feature = "functions")]
pub(crate) mod wasm;
