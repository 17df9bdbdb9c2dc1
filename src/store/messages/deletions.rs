//! Caches the numbers of the deleted messages of each room. The count of a member's unread messages must leave out
//! deleted messages. Many deleted messages may follow a member's read marker. Without the cache, each connect of this
//! member would read all these messages from the database.
//!
//! A deletion is a revision (an edit or a deletion, numbered within its room). The revisions of a room become visible
//! in the order of their numbers ([`revisions`](super::revisions)). Therefore an entry of the cache is complete up to a
//! revision number, and an update reads only later revisions. While an entry stays in the cache, the server reads each
//! deletion once. The cache keeps the latest deletions with their revision numbers. Therefore it can also count the
//! deletions up to a slightly earlier revision. The cache does not use the change stream. If an entry is evicted, the
//! server reads its deletions from the database again when they are needed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bson::{Document, RawDocument, doc};
use futures_util::TryStreamExt;
use handlers::{RoomId, UserId};
use moka::notification::RemovalCause;
use moka::sync::Cache;
use mongodb::ClientSession;
use tokio::sync::Mutex;

use super::revisions::revised_after;
use crate::store::codec::{self, Undecodable};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// The number of a room's latest deletions that are kept with their revision numbers.
const LATEST: usize = 1_000;

/// The cache of the deleted messages of rooms.
pub(crate) struct Deletions(Cache<RoomId, Arc<RoomDeletions>>);

#[derive(Default)]
struct RoomDeletions {
    deleted: Arc<Mutex<DeletedMessages>>,
    /// The weight of `deleted` in the cache when `deleted` was last updated (see [`DeletedMessages::weight`]).
    weight: AtomicU32,
}

/// The deleted messages of a room that have a number above `after`. All deletions up to the revision `revision` are
/// included.
#[derive(Debug, Default)]
struct DeletedMessages {
    /// The messages up to this number are not covered. None before the first read from the database.
    after: Option<i64>,
    revision: i64,
    all: NumberSet,
    /// The deleted messages of each author. Messages without a stored author are missing in this map.
    by_author: HashMap<UserId, NumberSet>,
    /// The deletions with a revision number above `latest_after`. The key is the revision number.
    latest: BTreeMap<i64, Deletion>,
    latest_after: i64,
}

#[derive(Clone, Debug)]
struct Deletion {
    revision: i64,
    number: i64,
    author: Option<UserId>,
}

/// A set of message numbers, stored as bits: 64 numbers in each word.
#[derive(Debug, Default)]
struct NumberSet(BTreeMap<i64, u64>);

impl NumberSet {
    fn insert(&mut self, number: i64) {
        *self.0.entry(number >> 6).or_default() |= 1 << (number & 63);
    }

    /// Returns how many numbers in the set are greater than `number`.
    fn count_after(&self, number: i64) -> i64 {
        let word = number >> 6;
        let above = self.0.get(&word).map_or(0, |bits| bits & (u64::MAX << (number & 63) << 1));
        let words = self.0.range(word + 1..).map(|(_, bits)| i64::from(bits.count_ones()));
        i64::from(above.count_ones()) + words.sum::<i64>()
    }
}

impl DeletedMessages {
    /// Returns how many messages of users other than `user`, with numbers above `after`, were deleted as of the
    /// revision `revision`. Returns none if the entry does not cover these messages or this revision.
    fn count(&self, user: &UserId, after: i64, revision: i64) -> Option<i64> {
        let from = self.after.filter(|from| *from <= after);
        if from.is_none() || revision > self.revision || revision < self.latest_after {
            return None;
        }
        let own = self.by_author.get(user).map_or(0, |own| own.count_after(after));
        let later = self.latest.range(revision + 1..).map(|(_, deletion)| deletion);
        let later =
            later.filter(|deletion| deletion.number > after && deletion.author.as_ref() != Some(user));
        Some(self.all.count_after(after) - own - i64::try_from(later.count()).unwrap_or(i64::MAX))
    }

    fn add(&mut self, deletion: Deletion) {
        self.all.insert(deletion.number);
        if let Some(author) = &deletion.author {
            self.by_author.entry(author.clone()).or_default().insert(deletion.number);
        }
        if deletion.revision <= self.latest_after {
            return;
        }
        self.latest.insert(deletion.revision, deletion);
        if self.latest.len() > LATEST
            && let Some((revision, _)) = self.latest.pop_first()
        {
            self.latest_after = revision;
        }
    }

    /// Returns the approximate memory of the entry, in words of 8 bytes.
    fn weight(&self) -> u32 {
        let words = self.by_author.values().map(|numbers| numbers.0.len() + 4).sum::<usize>();
        u32::try_from(words + self.all.0.len() + self.latest.len() + 10).unwrap_or(u32::MAX)
    }
}

impl Deletions {
    /// Creates a cache that takes about `words` words of 8 bytes at most. One word holds 64 message numbers.
    pub(in crate::store) fn new(words: u64, metrics: Option<Arc<Metrics>>) -> Self {
        let weight = |_: &RoomId, room: &Arc<RoomDeletions>| room.weight.load(Ordering::Relaxed).max(1);
        let evicted = move |_, _, cause| {
            if let (RemovalCause::Size, Some(metrics)) = (cause, &metrics) {
                metrics.bound_hit("deletions_cached");
            }
        };
        Self(Cache::builder().max_capacity(words).weigher(weight).eviction_listener(evicted).build())
    }

    /// Clears the cache. The caller clears the cache when new rooms may have the ids of old rooms, for example after a
    /// collection was dropped.
    pub(crate) fn clear(&self) {
        self.0.invalidate_all();
    }
}

impl Store {
    /// Returns how many messages of users other than `user`, with numbers above `after`, were deleted as of the room's
    /// revision `revision`. Returns none if more than [`LATEST`] deletions followed this revision.
    pub(in crate::store) async fn deleted_after(
        &self,
        room: RoomId,
        user: &UserId,
        after: i64,
        revision: i64,
    ) -> Result<Option<i64>, StoreError> {
        let entry = self.deletions.0.get_with(room, Arc::default);
        let mut deleted = entry.deleted.clone().lock_owned().await;
        if let Some(count) = deleted.count(user, after, revision) {
            return Ok(Some(count));
        }
        let mut session = self.client.start_session().snapshot(true).await?;
        let now = self.position(&mut session, room).await?.revision;
        let known = deleted.after.filter(|_| deleted.revision <= now);
        let filter = if known.is_some_and(|known| known <= after) {
            revised_after(room, deleted.revision)
        } else {
            // The entry does not cover the messages after `after`, or is newer than the snapshot of the session. In
            // both cases, all deletions are read again. If the entry is not newer, the new range of messages includes
            // the old range.
            let after = known.map_or(after, |known| known.min(after));
            *deleted = DeletedMessages { after: Some(after), ..DeletedMessages::default() };
            doc! { "_id.room": room.get(), "_id.n": { "$gt": after } }
        };
        self.read_deletions(&mut session, filter, &mut deleted).await?;
        deleted.revision = now;
        let count = deleted.count(user, after, revision);
        entry.weight.store(deleted.weight(), Ordering::Relaxed);
        drop(deleted);
        // The cache computes the weight of an entry only at an insert, so the entry is inserted again.
        self.deletions.0.insert(room, entry);
        Ok(count)
    }

    async fn read_deletions(
        &self,
        session: &mut ClientSession,
        mut filter: Document,
        deleted: &mut DeletedMessages,
    ) -> Result<(), StoreError> {
        filter.insert("deleted_at", doc! { "$exists": true });
        let find = self.messages.find(filter).projection(doc! { "_id": 1, "sender": 1, "rev": 1 });
        let mut cursor = find.session(&mut *session).await?;
        let mut found = cursor.stream(session);
        while let Some(document) = found.try_next().await? {
            let deletion = read_deletion(&document)?;
            if deleted.after.is_some_and(|after| deletion.number > after) {
                deleted.add(deletion);
            }
        }
        Ok(())
    }
}

fn read_deletion(document: &RawDocument) -> Result<Deletion, Undecodable> {
    Ok(Deletion {
        revision: codec::read_int_if_any(document, "rev")?.unwrap_or_default(),
        number: codec::read_int(document.get_document("_id")?, "n")?,
        author: document.get("sender")?.map(codec::read_user).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: UserId = UserId::Int(1);

    /// Counts one by one the deletions up to `revision` of messages after `after` whose author is not user 1.
    fn counted(all: &[Deletion], after: i64, revision: i64) -> i64 {
        let others = all.iter().filter(|deletion| deletion.author.as_ref() != Some(&ONE));
        i64::try_from(others.filter(|it| it.number > after && it.revision <= revision).count()).unwrap()
    }

    proptest! {
        #[test]
        fn deletions_are_counted_as_of_any_revision_that_is_known(
            messages in prop::collection::hash_map(1_i64..2_000, prop::option::of(1_i64..4), 0..1_500),
            after in 0_i64..2_000,
            of_latest in 0_i64..1_200,
        ) {
            let all: Vec<_> = (1..).zip(messages).map(|(revision, (number, author))| {
                Deletion { revision, number, author: author.map(UserId::Int) }
            }).collect();
            let now = i64::try_from(all.len()).unwrap();
            let mut deleted = DeletedMessages { after: Some(0), revision: now, ..DeletedMessages::default() };
            for deletion in all.iter().rev().chain(&all) {
                deleted.add(deletion.clone());
            }
            let revision = (now - of_latest).max(0);
            let expected = (now - revision <= 1_000).then(|| counted(&all, after, revision));
            prop_assert_eq!(deleted.count(&ONE, after, revision), expected);
            prop_assert_eq!(deleted.count(&ONE, after, now + 1), None);
            deleted.after = Some(after + 1);
            prop_assert_eq!(deleted.count(&ONE, after, now), None);
        }
    }
}
