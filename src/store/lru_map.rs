//! A map with a maximum number of entries. A new entry in a full map replaces the least recently used entry.

use std::borrow::Borrow;
use std::hash::Hash;

use lru::LruCache;

/// An [`LruCache`] that allocates memory only for the entries that it has.
///
/// `LruCache::new` immediately allocates memory for the maximum number of entries. The maximum of the store's caches is
/// much higher than the number of entries that a small installation needs.
pub(super) struct LruMap<K, V> {
    entries: LruCache<K, V>,
    limit: usize,
}

impl<K: Hash + Eq, V> LruMap<K, V> {
    /// Creates a map for at most `limit` entries. A limit of zero counts as a limit of one.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: LruCache::unbounded(), limit: limit.max(1) }
    }

    /// Returns a value, and marks it as used.
    pub(super) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key)
    }

    /// Returns a value, and does not mark it as used.
    pub(super) fn peek<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.peek(key)
    }

    /// Sets a value, and marks it as used. Returns the entry that was removed because the map was full.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.entries.put(key, value);
        if self.entries.len() > self.limit { self.entries.pop_lru() } else { None }
    }

    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.entries.pop(key);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Returns the number of entries.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_map_drops_the_least_recently_used_entry() {
        let mut map = LruMap::new(2);
        assert_eq!((map.insert(1, "one"), map.insert(2, "two")), (None, None));
        assert_eq!(map.get_mut(&1), Some(&mut "one"));
        assert_eq!(map.peek(&2), Some(&"two"), "a peek is not a use");
        assert_eq!(map.insert(3, "three"), Some((2, "two")));
        assert_eq!(map.insert(1, "eins"), None, "a known key needs no place");
        assert_eq!((map.len(), map.peek(&1), map.peek(&3)), (2, Some(&"eins"), Some(&"three")));
        map.remove(&3);
        assert_eq!((map.len(), map.insert(4, "four")), (1, None));
        map.clear();
        assert_eq!((map.len(), map.peek(&4)), (0, None));
    }
}
