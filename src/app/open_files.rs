//! Raises this process's limit of open files. Each socket is an open file, and the usual limit of 1,024 is far below
//! `limits.sockets`. Systems keep this limit low for programs that use `select`. Parlor doesn't use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// The number of open files that are neither clients' sockets nor HTTP connections, such as the connections of the
/// database driver.
const OTHERS: usize = 256;

/// Raises the soft limit to the hard limit. Logs a line if the hard limit is lower than the configuration may need.
pub fn raise(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "could not raise the limit of open files; keeping the current one");
            current
        }
    };
    let connections = config.http.connections.saturating_add(config.admin.connections);
    let needed = config.limits.sockets.saturating_add(connections).saturating_add(OTHERS);
    // In `getrlimit`, `None` means unlimited.
    let Some(allowed) = allowed.filter(|allowed| usize::try_from(*allowed).is_ok_and(|most| most < needed))
    else {
        return;
    };
    let warning = "the limit of open files is lower than limits.sockets and http.connections may need: raise `ulimit -Hn`, or lower these keys";
    // An embedded `mongod` is for trying Parlor. Such a server has few sockets, so this is logged as information
    // only.
    if config.mongodb.uri.is_some() {
        tracing::warn!(allowed, needed, "{warning}");
    } else {
        tracing::info!(allowed, needed, "{warning}");
    }
}
