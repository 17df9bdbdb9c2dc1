//! As many open files as this process may have. Each socket is one, and a machine's usual 1,024 would end far below
//! `limits.sockets`; what holds a process to that is kept low for programs that use `select`, as none of this does.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// What is open beside connections of clients, at most some of which the database's client needs.
const OTHERS: usize = 256;

/// Raises the soft limit to the hard one, and warns where that is less than the configuration's bounds may take.
pub fn raise(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            current
        }
    };
    let connections = config.http.connections.saturating_add(config.admin.connections);
    let needed = config.limits.sockets.saturating_add(connections).saturating_add(OTHERS);
    // None is without limit.
    let Some(allowed) = allowed.filter(|allowed| usize::try_from(*allowed).is_ok_and(|most| most < needed))
    else {
        return;
    };
    let told = "fewer open files are allowed than limits.sockets and http.connections may take: raise `ulimit -Hn`, or lower them";
    // Whoever tries things out with a private database has no thousands of sockets.
    if config.mongodb.uri.is_some() {
        tracing::warn!(allowed, needed, "{told}");
    } else {
        tracing::info!(allowed, needed, "{told}");
    }
}
