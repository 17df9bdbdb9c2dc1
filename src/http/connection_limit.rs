//! Limits the open connections of each client address. A connection that became a WebSocket with a valid token does not
//! count.
//!
//! `http.connections` limits the counted connections of all addresses together. Beyond this limit, a new connection
//! waits until it is accepted. Without a limit for each address, one client could open `http.connections` connections
//! without sending anything. All other clients would then wait. Therefore, if an address already has
//! `http.connections_per_address` connections, its next connection is closed immediately. Parlor does not read from
//! this connection. A connection counts until it is closed, or until it becomes a WebSocket with a valid token. A
//! WebSocket that Parlor refuses counts until the client has received the close reason.
//!
//! The address is the peer address of the TCP connection, because `X-Forwarded-For` has not been read yet. The limit
//! for each address does not apply to the proxies in `http.proxies`.
//!
//! The admin listener has two limits of its own: one for all connections, and one for each address. A connection over
//! one of these limits is closed. Each connection uses one of the process's open files. Without these limits, admin
//! connections could use up the files that the connections of clients need.

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

/// The counted connections, by address. All IPv6 addresses of one /64 network count as one address.
#[derive(Default)]
pub(crate) struct OpenConnections(Mutex<HashMap<IpAddr, HashSet<SocketAddr>>>);

impl OpenConnections {
    /// Adds a connection. Returns false if the address already has `most` connections.
    fn try_add(&self, peer: SocketAddr, most: usize) -> bool {
        let mut open = self.peers();
        let peers = open.entry(client_ip::network(peer.ip())).or_default();
        let fits = peers.len() < most;
        if fits {
            peers.insert(peer);
        }
        fits
    }

    /// Removes a connection that was closed or became a socket with a valid token.
    pub(crate) fn remove(&self, peer: SocketAddr) {
        let mut open = self.peers();
        let network = client_ip::network(peer.ip());
        let Some(peers) = open.get_mut(&network) else { return };
        peers.remove(&peer);
        if peers.is_empty() {
            open.remove(&network);
        }
    }

    /// Returns the number of connections of all addresses.
    pub(crate) fn count(&self) -> usize {
        self.peers().values().map(HashSet::len).sum()
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<IpAddr, HashSet<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener whose connections are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// The listener for clients.
    Clients,
    /// The listener for operators.
    Admin,
}

/// Limits the connections of one listener.
#[derive(Clone)]
pub(crate) struct ConnectionLimiter {
    pub(crate) kind: ListenerKind,
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Arc<OpenConnections>,
}

impl ConnectionLimiter {
    /// Admits and counts a connection.
    ///
    /// # Errors
    /// Returns the name of the limit that the connection would exceed.
    fn admit(&self, peer: SocketAddr) -> Result<(), &'static str> {
        let config = self.config.load();
        let (most, bound) = self.bound(&config, peer)?;
        if self.connections.try_add(peer, most) { Ok(()) } else { Err(bound) }
    }

    /// Returns the highest number of connections of this address, and the name of this limit. Fails if the admin
    /// listener already has its highest number of connections.
    fn bound(&self, config: &Config, peer: SocketAddr) -> Result<(usize, &'static str), &'static str> {
        match self.kind {
            ListenerKind::Clients => {
                let exempt = client_ip::is_listed(peer.ip().to_canonical(), &config.http.proxies);
                let most = config.http.connections_per_address.filter(|_| !exempt).unwrap_or(usize::MAX);
                Ok((most, "connections_per_address"))
            }
            // Only one task accepts connections. Therefore no other connection is added between this check and
            // `try_add`.
            ListenerKind::Admin if self.connections.count() >= config.admin.connections => {
                Err("admin_connections")
            }
            ListenerKind::Admin => {
                Ok((config.admin.connections_per_address, "admin_connections_per_address"))
            }
        }
    }
}

/// Decides for each accepted connection: to serve or to close it.
pub(crate) struct ConnectionGate {
    pub(crate) limiter: ConnectionLimiter,
    /// The timeouts of an accepted connection.
    pub(crate) fuse: FuseConfig,
}

#[async_trait]
impl FusePolicy for ConnectionGate {
    async fn decide(&self, info: &FuseInfo) -> FuseAction {
        let Some(peer) = info.remote_addr.clone().into_std() else { return FuseAction::Accept(self.fuse) };
        match self.limiter.admit(peer) {
            Ok(()) => FuseAction::Accept(self.fuse),
            Err(bound) => {
                self.limiter.metrics.bound_hit(bound);
                FuseAction::Reject
            }
        }
    }

    fn observe(&self, info: &FuseInfo, _: &ConnCtrl) -> Option<ArcConnObserver> {
        let peer = info.remote_addr.clone().into_std()?;
        Some(Arc::new(ConnectionGuard { connections: self.limiter.connections.clone(), peer }))
    }
}

/// Removes a connection from the count. The HTTP server drops this guard when the connection is closed.
struct ConnectionGuard {
    connections: Arc<OpenConnections>,
    peer: SocketAddr,
}

impl ConnObserver for ConnectionGuard {}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.remove(self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_others_have_theirs() {
        let connections = OpenConnections::default();
        let peer = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (first, second, third, stranger) in [
            ("203.0.113.1:1", "203.0.113.1:2", "[::ffff:203.0.113.1]:3", "203.0.113.2:1"),
            ("[2001:db8:1:2::1]:1", "[2001:db8:1:2::9]:1", "[2001:db8:1:2::1]:2", "[2001:db8:1:3::1]:1"),
        ] {
            assert!(connections.try_add(peer(first), 2) && connections.try_add(peer(second), 2));
            assert!(!connections.try_add(peer(third), 2) && connections.try_add(peer(stranger), 2));
            connections.remove(peer(first));
            // A connection may be removed twice: when it becomes a WebSocket with a valid token, and when it is closed.
            connections.remove(peer(first));
            assert!(connections.try_add(peer(third), 2) && !connections.try_add(peer(first), 2));
            assert_eq!(connections.count(), 3);
            for left in [second, third, stranger] {
                connections.remove(peer(left));
            }
            assert_eq!(connections.count(), 0);
            assert!(connections.peers().is_empty(), "no entry is left for closed connections");
        }
    }
}
