//! The list of all sockets that are open on this server. The server uses the list for tasks that concern more than one
//! room. Examples are a shutdown, and a request of the application to close a user's sockets.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use handlers::UserId;

use super::outbox::{Outbox, ProbedSocket};
use crate::protocol::close::Close;

/// The maximum number of sockets of one user that are probed concurrently.
const MAX_PROBED: usize = 64;

/// The outboxes of all open sockets.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<OpenSockets>>);

#[derive(Default)]
struct OpenSockets {
    outboxes: HashMap<u64, Arc<Outbox>>,
    /// The sockets of each user. Sockets without a known user are not in this map.
    by_user: HashMap<UserId, UserSockets>,
    next: u64,
}

/// The sockets of a user.
struct UserSockets {
    outboxes: Vec<Arc<Outbox>>,
    /// The bytes that are held for all sockets of the user.
    bytes: Arc<AtomicUsize>,
}

/// Keeps a socket in the list until the guard is dropped.
pub(crate) struct SessionGuard {
    outboxes: Sessions,
    key: u64,
    user: Option<UserId>,
}

impl Sessions {
    /// Adds a socket to the list. `user` is the user in the socket's token, if known.
    pub(crate) fn register(&self, outbox: &Arc<Outbox>, user: Option<&UserId>) -> SessionGuard {
        let mut open = self.open();
        let key = open.next;
        open.next += 1;
        open.outboxes.insert(key, outbox.clone());
        if let Some(user) = user {
            // Most users have one socket. Without this capacity, the vector would allocate space for four.
            let one = || UserSockets { outboxes: Vec::with_capacity(1), bytes: Arc::default() };
            let sockets = open.by_user.entry(user.clone()).or_insert_with(one);
            sockets.outboxes.push(outbox.clone());
            outbox.count_for(sockets.bytes.clone());
        }
        SessionGuard { outboxes: self.clone(), key, user: user.cloned() }
    }

    /// Wakes the task of every socket. The task checks again whether the server shuts down, and whether the key that
    /// signed the socket's token is still valid.
    pub(crate) fn wake(&self) {
        self.open().outboxes.values().for_each(|outbox| outbox.wake());
    }

    /// Requests that every socket closes.
    pub(crate) fn close(&self, close: Close) {
        self.open().outboxes.values().for_each(|outbox| outbox.close(close));
    }

    /// Requests that a user's open sockets send a ping to their clients, at most [`MAX_PROBED`] sockets. The clients
    /// that have been inactive longest come first.
    pub(crate) fn probe(&self, user: &UserId) -> Vec<ProbedSocket> {
        let mut sockets: Vec<_> = {
            let open = self.open();
            let sockets = open.by_user.get(user).into_iter().flat_map(|sockets| &sockets.outboxes);
            sockets.filter_map(|outbox| Some((outbox.last_alive()?, outbox.clone()))).collect()
        };
        sockets.sort_unstable_by_key(|(last_alive, _)| *last_alive);
        sockets.iter().take(MAX_PROBED).map(|(_, outbox)| outbox.request_probe()).collect()
    }

    /// Returns the `most` sockets with the most held bytes, or fewer, and the bytes of each socket. Ignores sockets
    /// without held bytes, and sockets that are closing.
    pub(crate) fn fullest(&self, most: usize) -> Vec<(usize, Arc<Outbox>)> {
        let mut waiting: Vec<_> = {
            let open = self.open();
            open.outboxes.values().map(|outbox| (outbox.bytes(), outbox.clone())).collect()
        };
        waiting.retain(|(bytes, outbox)| *bytes > 0 && outbox.closing().is_none());
        waiting.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        waiting.truncate(most);
        waiting
    }

    /// Requests that every socket of a user closes.
    pub(crate) fn close_user(&self, user: &UserId, close: Close) {
        let open = self.open();
        let sockets = open.by_user.get(user).into_iter().flat_map(|sockets| &sockets.outboxes);
        sockets.for_each(|outbox| outbox.close(close));
    }

    fn open(&self) -> MutexGuard<'_, OpenSockets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        let mut open = self.outboxes.open();
        let Some(outbox) = open.outboxes.remove(&self.key) else { return };
        let Some(user) = &self.user else { return };
        if let Some(sockets) = open.by_user.get_mut(user) {
            sockets.outboxes.retain(|other| !Arc::ptr_eq(other, &outbox));
            if sockets.outboxes.is_empty() {
                open.by_user.remove(user);
            }
        }
    }
}
