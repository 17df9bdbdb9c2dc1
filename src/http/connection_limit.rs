//! Limits the connections per address that are not WebSockets, or not yet.
//!
//! `http.connections` limits all of them together; one more waits. Without a limit per address, a client that opens
//! silent connections would make everybody wait. So a connection over `http.connections_per_address` is closed when it
//! is accepted, before anything of it is read. A connection counts until it is closed, or until it is the WebSocket of
//! a client with a valid token: from then on it counts as a socket. A refused client counts until it has received the
//! reason.
//!
//! The address is that of the connection itself: the header that proxies write has not been read yet. Listed proxies
//! are exempt.
//!
//! The admin listener has its own limits, in all and per address, and closes connections over either one. Connections
//! there must not use up the files that connections of clients need.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use salvo::async_trait;
use salvo::conn::ConnCtrl;
use salvo::fuse::{ArcConnObserver, ConnObserver, FuseAction, FuseConfig, FuseInfo, FusePolicy};

use crate::config::Config;
use crate::config::live::LiveConfig;
use crate::protocol::client_ip;
use crate::telemetry::metrics::Metrics;

/// The open connections by address.
#[derive(Default)]
pub(crate) struct Arrivals(Mutex<HashMap<IpAddr, HashSet<SocketAddr>>>);

impl Arrivals {
    /// Adds a connection. Returns false if its address already has `most`.
    fn enter(&self, peer: SocketAddr, most: usize) -> bool {
        let mut known = self.known();
        let peers = known.entry(client_ip::network(peer.ip())).or_default();
        let fits = peers.len() < most;
        if fits {
            peers.insert(peer);
        }
        fits
    }

    /// Removes a connection that is closed, or that counts as a socket from now on.
    pub(crate) fn leave(&self, peer: SocketAddr) {
        let mut known = self.known();
        let network = client_ip::network(peer.ip());
        let Some(peers) = known.get_mut(&network) else { return };
        peers.remove(&peer);
        if peers.is_empty() {
            known.remove(&network);
        }
    }

    /// Returns the number of connections.
    pub(crate) fn count(&self) -> usize {
        self.known().values().map(HashSet::len).sum()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, HashSet<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener that a limit applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The listener for clients.
    Clients,
    /// The listener for operators.
    Admin,
}

/// Limits the connections of one listener.
#[derive(Clone)]
pub(crate) struct ConnectionLimiter {
    pub(crate) door: Door,
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) arrivals: Arc<Arrivals>,
}

impl ConnectionLimiter {
    /// Admits a connection.
    ///
    /// # Errors
    /// The name of the limit that the connection would exceed.
    fn enter(&self, peer: SocketAddr) -> Result<(), &'static str> {
        let config = self.config.load();
        let (most, bound) = self.bound(&config, peer)?;
        if self.arrivals.enter(peer, most) { Ok(()) } else { Err(bound) }
    }

    /// Returns how many connections the address may have, and the name of that limit.
    fn bound(&self, config: &Config, peer: SocketAddr) -> Result<(usize, &'static str), &'static str> {
        match self.door {
            Door::Clients => {
                let exempt = client_ip::is_listed(peer.ip().to_canonical(), &config.http.proxies);
                let most = config.http.connections_per_address.filter(|_| !exempt).unwrap_or(usize::MAX);
                Ok((most, "connections_per_address"))
            }
            // One task accepts, so no connection is added between the count and the entry.
            Door::Admin if self.arrivals.count() >= config.admin.connections => Err("admin_connections"),
            Door::Admin => Ok((config.admin.connections_per_address, "admin_connections_per_address")),
        }
    }
}

/// Decides about each connection when it is accepted.
pub(crate) struct Gate {
    pub(crate) limiter: ConnectionLimiter,
    /// The limits of an accepted connection.
    pub(crate) fuse: FuseConfig,
}

#[async_trait]
impl FusePolicy for Gate {
    async fn decide(&self, info: &FuseInfo) -> FuseAction {
        let Some(peer) = info.remote_addr.clone().into_std() else { return FuseAction::Accept(self.fuse) };
        match self.limiter.enter(peer) {
            Ok(()) => FuseAction::Accept(self.fuse),
            Err(bound) => {
                self.limiter.metrics.limit(bound);
                FuseAction::Reject
            }
        }
    }

    fn observe(&self, info: &FuseInfo, _: &ConnCtrl) -> Option<ArcConnObserver> {
        let peer = info.remote_addr.clone().into_std()?;
        Some(Arc::new(Arrival { arrivals: self.limiter.arrivals.clone(), peer }))
    }
}

/// Removes its connection from the count when it is dropped, with the connection.
struct Arrival {
    arrivals: Arc<Arrivals>,
    peer: SocketAddr,
}

impl ConnObserver for Arrival {}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.arrivals.leave(self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_others_have_theirs() {
        let arrivals = Arrivals::default();
        let peer = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (first, second, third, stranger) in [
            ("203.0.113.1:1", "203.0.113.1:2", "[::ffff:203.0.113.1]:3", "203.0.113.2:1"),
            ("[2001:db8:1:2::1]:1", "[2001:db8:1:2::9]:1", "[2001:db8:1:2::1]:2", "[2001:db8:1:3::1]:1"),
        ] {
            assert!(arrivals.enter(peer(first), 2) && arrivals.enter(peer(second), 2));
            assert!(!arrivals.enter(peer(third), 2) && arrivals.enter(peer(stranger), 2));
            arrivals.leave(peer(first));
            // A connection may be removed twice: by its upgrade, and by its end.
            arrivals.leave(peer(first));
            assert!(arrivals.enter(peer(third), 2) && !arrivals.enter(peer(first), 2));
            assert_eq!(arrivals.count(), 3);
            for left in [second, third, stranger] {
                arrivals.leave(peer(left));
            }
            assert_eq!(arrivals.count(), 0);
            assert!(arrivals.known().is_empty(), "nothing is kept of who left");
        }
    }
}
