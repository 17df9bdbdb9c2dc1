//! Raises the limit of open files of this process. Each socket is one, and the usual limit of 1,024 is far below
//! `limits.sockets`. The limit is kept low for programs that use `select`; Parlor doesn't.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Open files beside the connections of clients, such as those of the database driver.
const OTHERS: usize = 256;

/// Raises the soft limit to the hard limit. Warns if that is less than the configuration's limits may need.
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
    // `None` means unlimited.
    let Some(allowed) = allowed.filter(|allowed| usize::try_from(*allowed).is_ok_and(|most| most < needed))
    else {
        return;
    };
    let warning = "the limit of open files is lower than limits.sockets and http.connections may need: raise `ulimit -Hn`, or lower these keys";
    // A server that is tried out with an embedded `mongod` has no thousands of sockets.
    if config.mongodb.uri.is_some() {
        tracing::warn!(allowed, needed, "{warning}");
    } else {
        tracing::info!(allowed, needed, "{warning}");
    }
}
