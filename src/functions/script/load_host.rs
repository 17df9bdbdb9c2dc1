//! The server, as a file sees it while it is loaded: it may read its `env` and write to the log, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Secret;
use crate::functions::host_call::{Host, HostCall, HostFuture, LogLevel};
use crate::functions::host_error::{HostCode, HostError};

/// The host of a file that is being loaded.
pub(super) struct LoadHost {
    pub(super) file: Arc<str>,
    pub(super) env: BTreeMap<String, Secret>,
}

impl Host for LoadHost {
    fn run(&self, _: HostCall) -> HostFuture<'_> {
        let refused = HostError::new(HostCode::NotAllowed, "host calls are possible only during a call");
        Box::pin(std::future::ready(Err(refused)))
    }

    fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(Secret::expose)
    }

    fn log(&self, level: LogLevel, text: &str) {
        crate::functions::log_line::write(level, &self.file, None, text);
    }
}
