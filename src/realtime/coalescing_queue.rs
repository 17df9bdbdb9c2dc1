//! A queue that holds at most one pending change for each key. A later change of a key merges with the pending change
//! of this key.
//!
//! A task takes changes from the queue, oldest first. After a task has taken the change of a key, later changes of this
//! key stay in the queue until the task releases the key. Therefore two tasks never handle changes of one key
//! concurrently or out of order.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// A change that merges with a later change of the same key.
pub(crate) trait Coalesce: Sized {
    /// Merges this change with a later change of the same key. Returns `None` if the two changes cancel each other.
    fn merge(self, later: Self) -> Option<Self>;
}

/// The queue. All clones of a queue share its changes. The length of the queue is at most the number of distinct keys.
pub(crate) struct CoalescingQueue<K, V>(Arc<SharedQueue<K, V>>);

impl<K, V> Clone for CoalescingQueue<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for CoalescingQueue<K, V> {
    fn default() -> Self {
        let changes = QueuedChanges {
            pending: HashMap::new(),
            order: BTreeMap::new(),
            taken: HashSet::new(),
            pushes: 0,
        };
        Self(Arc::new(SharedQueue { changes: Mutex::new(changes), added: Notify::new() }))
    }
}

struct SharedQueue<K, V> {
    changes: Mutex<QueuedChanges<K, V>>,
    /// Notified when a change can be taken: after a push, and after a task has released or put back the changes that it
    /// had taken.
    added: Notify,
}

struct QueuedChanges<K, V> {
    pending: HashMap<K, PendingChange<V>>,
    /// The keys of the pending changes that can be taken now. They are ordered by [`PendingChange::number`].
    order: BTreeMap<u64, K>,
    /// The keys that a task has taken and not yet released. New changes of these keys stay pending.
    taken: HashSet<K>,
    /// The number of the last push that created a pending change.
    pushes: u64,
}

struct PendingChange<V> {
    change: V,
    /// When the first of the merged changes was pushed.
    since: Instant,
    /// The number of the push that created this pending change.
    number: u64,
}

/// Changes that a task has taken from the queue. The drop of this value releases the keys of the changes, even if the
/// task panics.
pub(crate) struct TakenChanges<K: Clone + Eq + Hash, V: Coalesce> {
    queue: CoalescingQueue<K, V>,
    pub(crate) changes: Vec<TakenChange<K, V>>,
}

/// A taken change, with its key.
pub(crate) struct TakenChange<K, V> {
    pub(crate) key: K,
    pub(crate) change: V,
    /// When the first of the merged changes was pushed.
    pub(crate) since: Instant,
    /// The number of the push that created the pending change.
    number: u64,
}

impl<K: Clone + Eq + Hash, V: Coalesce> CoalescingQueue<K, V> {
    /// Adds a change to the queue. If the key already has a pending change, merges the two changes.
    pub(crate) fn push(&self, key: K, change: V) {
        let can_be_taken = self.changes().push(key, change);
        if can_be_taken {
            self.0.added.notify_one();
        }
    }

    /// Waits until a change can be taken. Takes at most `most` changes, oldest first.
    pub(crate) async fn take(&self, most: usize) -> TakenChanges<K, V> {
        loop {
            if let Some(taken) = self.take_now(most) {
                return taken;
            }
            self.0.added.notified().await;
        }
    }

    fn take_now(&self, most: usize) -> Option<TakenChanges<K, V>> {
        let mut changes = self.changes();
        let taken: Vec<_> = std::iter::from_fn(|| changes.take_oldest()).take(most).collect();
        // If no change was taken, the result is `None`. The drop of an empty `TakenChanges` would notify the waiting
        // task. The task would find the queue empty and create the next empty `TakenChanges`, in an endless loop.
        (!taken.is_empty()).then(|| TakenChanges { queue: self.clone(), changes: taken })
    }

    fn changes(&self) -> MutexGuard<'_, QueuedChanges<K, V>> {
        self.0.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash, V: Coalesce> QueuedChanges<K, V> {
    /// Adds a change. Returns whether the change is a new entry that can be taken now.
    fn push(&mut self, key: K, change: V) -> bool {
        match self.pending.entry(key) {
            Entry::Occupied(entry) => {
                let (key, PendingChange { change: earlier, since, number }) = entry.remove_entry();
                match earlier.merge(change) {
                    Some(change) => drop(self.pending.insert(key, PendingChange { change, since, number })),
                    None => drop(self.order.remove(&number)),
                }
                false
            }
            Entry::Vacant(entry) => {
                self.pushes += 1;
                let number = self.pushes;
                let can_be_taken = !self.taken.contains(entry.key());
                if can_be_taken {
                    self.order.insert(number, entry.key().clone());
                }
                entry.insert(PendingChange { change, since: Instant::now(), number });
                can_be_taken
            }
        }
    }

    fn take_oldest(&mut self) -> Option<TakenChange<K, V>> {
        let (number, key) = self.order.pop_first()?;
        let PendingChange { change, since, .. } = self.pending.remove(&key)?;
        self.taken.insert(key.clone());
        Some(TakenChange { key, change, since, number })
    }

    /// Releases a taken key. A pending change of this key can be taken from now on.
    fn release(&mut self, key: &K) {
        self.taken.remove(key);
        if let Some(pending) = self.pending.get(key) {
            self.order.insert(pending.number, key.clone());
        }
    }
}

impl<K: Clone + Eq + Hash, V: Coalesce> TakenChanges<K, V> {
    /// Puts the changes back into the queue after a failure. If a key has a later pending change, the two changes
    /// merge.
    pub(crate) fn put_back(mut self) {
        let mut changes = self.queue.changes();
        for TakenChange { key, change, since, number } in self.changes.drain(..) {
            let later = changes.pending.remove(&key);
            changes.taken.remove(&key);
            let merged = match later {
                Some(later) => change.merge(later.change),
                None => Some(change),
            };
            if let Some(change) = merged {
                changes.order.insert(number, key.clone());
                changes.pending.insert(key, PendingChange { change, since, number });
            }
        }
        // Unlocks the queue, because the drop of `self` locks the queue and notifies the waiting task.
        drop(changes);
    }
}

impl<K: Clone + Eq + Hash, V: Coalesce> Drop for TakenChanges<K, V> {
    fn drop(&mut self) {
        let mut changes = self.queue.changes();
        self.changes.iter().for_each(|taken| changes.release(&taken.key));
        drop(changes);
        self.queue.0.added.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    /// In these tests a change is a number, and two changes of a key merge into their sum. If the sum is zero, the
    /// changes cancel each other.
    impl Coalesce for i32 {
        fn merge(self, later: Self) -> Option<Self> {
            Some(self + later).filter(|sum| *sum != 0)
        }
    }

    fn queue(pushes: &[(char, i32)]) -> CoalescingQueue<char, i32> {
        let queue = CoalescingQueue::default();
        for (key, change) in pushes {
            queue.push(*key, *change);
        }
        queue
    }

    fn entries(taken: Option<&TakenChanges<char, i32>>) -> Vec<(char, i32)> {
        let changes = taken.into_iter().flat_map(|taken| &taken.changes);
        changes.map(|taken| (taken.key, taken.change)).collect()
    }

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct WakeCount(AtomicUsize);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn waiting_task_is_woken_by_a_push_alone() {
        let (queue, count) = (queue(&[]), Arc::<WakeCount>::default());
        let waker = count.clone().into();
        let mut taking = pin!(queue.take(1));
        assert!(taking.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        queue.push('a', 1);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(entries(Some(&taking.await)), [('a', 1)]);
    }

    #[test]
    fn changes_of_a_key_are_merged_and_taken_oldest_first() {
        let queue = queue(&[('b', 1), ('a', 1), ('c', 1), ('c', -1), ('b', 2)]);
        assert_eq!(entries(queue.take_now(1).as_ref()), [('b', 3)]);
        assert_eq!(entries(queue.take_now(9).as_ref()), [('a', 1)], "the changes of c undo each other");
    }

    #[test]
    fn changes_of_a_taken_key_wait_until_its_work_has_ended() {
        let queue = queue(&[('a', 1)]);
        let taken = queue.take_now(1);
        queue.push('a', 2);
        queue.push('a', 4);
        queue.push('b', 1);
        assert_eq!(entries(queue.take_now(9).as_ref()), [('b', 1)]);
        drop(taken);
        assert_eq!(entries(queue.take_now(9).as_ref()), [('a', 6)]);
        assert_eq!(entries(queue.take_now(9).as_ref()), []);
    }

    #[test]
    fn returned_changes_come_first_and_merge_with_later_ones() {
        let queue = queue(&[('a', 1), ('b', 1), ('c', 1)]);
        let taken = queue.take_now(2);
        queue.push('a', 2);
        queue.push('b', -1);
        taken.unwrap().put_back();
        assert_eq!(entries(queue.take_now(9).as_ref()), [('a', 3), ('c', 1)]);
        assert_eq!(entries(queue.take_now(9).as_ref()), []);
    }
}
