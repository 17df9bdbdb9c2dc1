//! Raises this process's limit of open files. Each socket is an open file, and the usual limit of 1,024 is far below
//! `limits.sockets`. Operating systems keep the limit at 1,024 for programs that use the system call `select`, which
//! supports no more files. Parlor doesn't use `select`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// The number of files that Parlor may open besides clients' sockets and HTTP connections, for example the connections
/// of the database driver.
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
    // An embedded `mongod` is meant for a first try of Parlor. A server for a first try has few sockets. So the line is
    // logged as information and not as a warning.
    if config.mongodb.uri.is_some() {
        tracing::warn!(allowed, needed, "{warning}");
    } else {
        tracing::info!(allowed, needed, "{warning}");
    }
}
