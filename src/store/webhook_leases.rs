//! Which server tells hooks what happened, and how far they have come: a document a source, by its name. `after_send` and
//! `offline` have one each, `connected` and `disconnected` share `presence`.
//!
//! | `holder`, `until` | the server that tells, by the `_id` of its heartbeat, and until when by the database's clock |
//! |---|---|
//! | `token` | the change stream's: everything up to it has been told |
//! | `at` | the cluster time of that, for when the stream's history is lost |
//!
//! The position is written under the condition that the lease is held: who lost it can't set it back.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, Timestamp, doc};
use mongodb::options::ReturnDocument;

use super::{Store, StoreError, from_now};

/// Where a hook is in the change stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Position {
    pub(crate) token: Bson,
    pub(crate) at: Timestamp,
}

impl Store {
    /// Whether a hook has a position.
    pub(crate) async fn hook_is_known(&self, hook: &'static str) -> Result<bool, StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let find = async move { Ok(hooks.find_one(doc! { "_id": hook }).await?.is_some()) };
        self.bounded(find).await
    }

    /// The earliest position that these hooks have; none where none has one.
    pub(crate) async fn earliest_of_hooks(
        &self,
        hooks: &[&'static str],
    ) -> Result<Option<Position>, StoreError> {
        let collection = self.db.collection::<Document>("hooks");
        let filter = doc! { "_id": { "$in": hooks }, "token": { "$exists": true } };
        let find = async move { Ok(collection.find_one(filter).sort(doc! { "at": 1 }).await?) };
        let Some(hook) = self.bounded(find).await? else { return Ok(None) };
        read_position(&hook).map(Some)
    }

    /// Gives a hook its first position; one that has one keeps it.
    pub(crate) async fn begin_hook(&self, hook: &'static str, from: Position) -> Result<(), StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let first = doc! { "$setOnInsert": {
            "token": from.token, "at": from.at, "holder": Bson::Null, "until": bson::DateTime::from_millis(0),
        } };
        self.bounded(async move {
            hooks.update_one(doc! { "_id": hook }, first).upsert(true).await?;
            Ok(())
        })
        .await
    }

    /// Takes a hook's lease for `lease`, where no other server has it; gives the position to go on from.
    pub(crate) async fn take_hook(
        &self,
        hook: &'static str,
        server: ObjectId,
        lease: Duration,
    ) -> Result<Option<Position>, StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let free = doc! { "$or": [{ "$lt": ["$until", "$$NOW"] }, { "$eq": ["$holder", server] }] };
        let filter = doc! { "_id": hook, "$expr": free };
        let update = vec![doc! { "$set": { "holder": server, "until": from_now(lease) } }];
        let take = async move {
            let take = hooks.find_one_and_update(filter, update).return_document(ReturnDocument::After);
            Ok(take.await?)
        };
        let Some(hook) = self.bounded(take).await? else { return Ok(None) };
        read_position(&hook).map(Some)
    }

    /// Keeps the lease for `lease` from now, and notes how far the hook has come. False where it is another's.
    pub(crate) async fn hold_hook(
        &self,
        hook: &'static str,
        server: ObjectId,
        lease: Duration,
        position: Position,
    ) -> Result<bool, StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let filter = doc! { "_id": hook, "holder": server };
        let set = doc! {
            "until": from_now(lease),
            "token": { "$literal": position.token },
            "at": { "$literal": position.at },
        };
        let hold = async move { Ok(hooks.update_one(filter, vec![doc! { "$set": set }]).await?) };
        Ok(self.bounded(hold).await?.matched_count == 1)
    }
}

fn read_position(hook: &Document) -> Result<Position, StoreError> {
    let missing = || StoreError::Fault("a hook's position is missing".into());
    let token = hook.get("token").cloned().ok_or_else(missing)?;
    let at = hook.get_timestamp("at").map_err(|_| missing())?;
    Ok(Position { token, at })
}
