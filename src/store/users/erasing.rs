//! The users who are being erased. Until the erasure of a user has ended, nothing new is written for the user.
//!
//! The collection `erasures` has a document for each running erasure. A server reads this collection before it adds a
//! user to a room. Each server also keeps the ids of these users in memory, so that it reads nothing when a user
//! connects or sends a message. The change stream delivers the ids. The document of an erasure is committed before the
//! erasure's first step. The change stream is ordered. Therefore every server knows of the erasure before it receives a
//! change that the erasure makes.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::UserId;
use tokio::sync::Notify;

use super::presence;
use crate::store::{Store, StoreError, codec};

/// The users whose erasure is running, as far as this server knows. The set has at most one entry for each document of
/// the collection `erasures`.
#[derive(Debug, Default)]
pub(crate) struct ErasingUsers {
    users: Mutex<HashSet<UserId>>,
    added: Notify,
}

impl ErasingUsers {
    /// Adds a user, because the change stream reported a new erasure.
    pub(crate) fn add(&self, user: UserId) {
        self.users().insert(user);
        self.added.notify_waiters();
    }

    /// Removes a user, because the erasure has ended.
    pub(crate) fn remove(&self, user: &UserId) {
        self.users().remove(user);
    }

    /// Tells whether this server knows that a user is being erased.
    pub(crate) fn contains(&self, user: &UserId) -> bool {
        self.users().contains(user)
    }

    /// Waits until this server knows of a user's erasure, for `limit` at most.
    pub(crate) async fn wait_for(&self, user: &UserId, limit: Duration) {
        let known = async {
            loop {
                let added = self.added.notified();
                if self.contains(user) {
                    return;
                }
                added.await;
            }
        };
        let _ = tokio::time::timeout(limit, known).await;
    }

    /// Removes all users, because the collection `erasures` was dropped.
    pub(crate) fn clear(&self) {
        self.replace(HashSet::new());
    }

    fn replace(&self, users: HashSet<UserId>) {
        *self.users() = users;
        self.added.notify_waiters();
    }

    fn users(&self) -> MutexGuard<'_, HashSet<UserId>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Returns the users whose erasure is running, as far as this server knows.
    pub(crate) fn erasing(&self) -> &ErasingUsers {
        &self.erasing
    }

    /// Reads from the database whether a user's erasure is running.
    pub(crate) async fn is_being_erased(&self, user: &UserId) -> Result<bool, StoreError> {
        Ok(self.first_erasing(std::iter::once(user)).await?.is_some())
    }

    /// Fails with [`StoreError::Erasing`] if one of these users is being erased.
    pub(in crate::store) async fn refuse_erasing<'a>(
        &self,
        users: impl Iterator<Item = &'a UserId>,
    ) -> Result<(), StoreError> {
        match self.first_erasing(users).await? {
            Some(user) => Err(StoreError::Erasing(user)),
            None => Ok(()),
        }
    }

    async fn first_erasing<'a>(
        &self,
        users: impl Iterator<Item = &'a UserId>,
    ) -> Result<Option<UserId>, StoreError> {
        let erasures = self.db.collection::<RawDocumentBuf>("erasures");
        let users: Vec<Bson> = users.map(codec::user_bson).collect();
        let filter = doc! { "_id": { "$in": users } };
        let found = self
            .run_detached(async move { Ok(erasures.find_one(filter).projection(doc! { "_id": 1 }).await?) })
            .await?;
        Ok(found.map(|erasure| presence::read_id(&erasure)).transpose()?)
    }

    /// Reads the ids of the users who are being erased into memory, and returns these ids. A server calls this at its
    /// start and after a gap in its change stream.
    pub(crate) async fn read_erasing(&self) -> Result<Vec<UserId>, StoreError> {
        let erasures = self.db.collection::<RawDocumentBuf>("erasures");
        let found: Vec<RawDocumentBuf> = self
            .run_detached(async move {
                let find = erasures.find(Document::new()).projection(doc! { "_id": 1 });
                Ok(find.await?.try_collect().await?)
            })
            .await?;
        let users = found.iter().map(|erasure| presence::read_id(erasure));
        let users: HashSet<_> = users.collect::<Result<_, codec::Undecodable>>()?;
        let list = users.iter().cloned().collect();
        self.erasing.replace(users);
        Ok(list)
    }
}
