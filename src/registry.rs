//! Every socket that is open here, for what concerns them apart from their rooms: that the server goes away, or that
//! the application wants a user's sockets closed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use handlers::UserId;

use crate::close::Close;
use crate::outbox::Outbox;

/// The outboxes of all open sockets.
#[derive(Clone, Default)]
pub(crate) struct Outboxes(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    outboxes: HashMap<u64, Arc<Outbox>>,
    /// Those of them whose user is known, by the user.
    by_user: HashMap<UserId, Vec<Arc<Outbox>>>,
    next: u64,
}

/// Takes a socket off the list when dropped.
pub(crate) struct Registered {
    outboxes: Outboxes,
    key: u64,
    user: Option<UserId>,
}

impl Outboxes {
    /// Takes a socket on the list; `user` is whose it is, where the token said so.
    pub(crate) fn register(&self, outbox: &Arc<Outbox>, user: Option<&UserId>) -> Registered {
        let mut open = self.open();
        let key = open.next;
        open.next += 1;
        open.outboxes.insert(key, outbox.clone());
        if let Some(user) = user {
            let sockets = open.by_user.entry(user.clone()).or_insert_with(|| Vec::with_capacity(1));
            sockets.push(outbox.clone());
        }
        Registered { outboxes: self.clone(), key, user: user.cloned() }
    }

    /// Makes every socket look up what changed for it.
    pub(crate) fn wake(&self) {
        self.open().outboxes.values().for_each(|outbox| outbox.wake());
    }

    /// Tells every socket to close.
    pub(crate) fn close(&self, close: Close) {
        self.open().outboxes.values().for_each(|outbox| outbox.close(close));
    }

    /// Tells every socket of a user to close.
    pub(crate) fn close_of(&self, user: &UserId, close: Close) {
        self.open().by_user.get(user).into_iter().flatten().for_each(|outbox| outbox.close(close));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.outboxes.open();
        let Some(outbox) = open.outboxes.remove(&self.key) else { return };
        let Some(user) = &self.user else { return };
        if let Some(sockets) = open.by_user.get_mut(user) {
            sockets.retain(|other| !Arc::ptr_eq(other, &outbox));
            if sockets.is_empty() {
                open.by_user.remove(user);
            }
        }
    }
}
