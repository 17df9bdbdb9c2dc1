//! The leases of webhooks. A lease names the server that delivers a webhook's events. A lease ends by itself if the
//! server does not renew it. The lease's document also has the webhook's position in the change stream. The collection
//! `hooks` has one document for each event source (a change stream of events): `after_send`, `offline`, and `presence`.
//! The webhooks `connected` and `disconnected` share the source `presence`. A file that is a webhook has a document of its
//! own, such as `after_send:audit`.
//!
//! | field | meaning |
//! |---|---|
//! | `holder` | the `_id` of the delivering server's heartbeat |
//! | `until` | the end of the lease, by the database's clock |
//! | `token` | the resume token of the change stream: every event up to this token was delivered |
//! | `at` | the cluster time of the token, which is needed if the stream's history is lost |
//!
//! Only the holder of the lease writes the position. Therefore a server that lost the lease can't set the position
//! back.

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, Timestamp, doc};
use mongodb::options::ReturnDocument;

use super::{Store, StoreError, from_now};

/// A webhook's position in the change stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WebhookPosition {
    pub(crate) token: Bson,
    pub(crate) at: Timestamp,
}

impl Store {
    /// Tells whether the database has a position of this event source.
    pub(crate) async fn hook_is_known(&self, hook: &str) -> Result<bool, StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let filter = doc! { "_id": hook };
        let find = async move { Ok(hooks.find_one(filter).await?.is_some()) };
        self.run_detached(find).await
    }

    /// Stores the first position of an event source. An existing position is kept.
    pub(crate) async fn begin_hook(&self, hook: &str, from: WebhookPosition) -> Result<(), StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let first = doc! { "$setOnInsert": {
            "token": from.token, "at": from.at, "holder": Bson::Null, "until": bson::DateTime::from_millis(0),
        } };
        let filter = doc! { "_id": hook };
        self.run_detached(async move {
            hooks.update_one(filter, first).upsert(true).await?;
            Ok(())
        })
        .await
    }

    /// Takes the lease of an event source for the time `lease`, and returns the source's position. None if another
    /// server holds the lease, or if the source has no position.
    pub(crate) async fn take_hook(
        &self,
        hook: &str,
        server: ObjectId,
        lease: Duration,
    ) -> Result<Option<WebhookPosition>, StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let free = doc! { "$or": [{ "$lt": ["$until", "$$NOW"] }, { "$eq": ["$holder", server] }] };
        let filter = doc! { "_id": hook, "$expr": free };
        let update = vec![doc! { "$set": { "holder": server, "until": from_now(lease) } }];
        let take = async move {
            let take = hooks.find_one_and_update(filter, update).return_document(ReturnDocument::After);
            Ok(take.await?)
        };
        let Some(hook) = self.run_detached(take).await? else { return Ok(None) };
        read_position(&hook).map(Some)
    }

    /// Extends the lease to `lease` from now, and stores the position. Returns false if another server has taken the
    /// lease.
    pub(crate) async fn hold_hook(
        &self,
        hook: &str,
        server: ObjectId,
        lease: Duration,
        position: WebhookPosition,
    ) -> Result<bool, StoreError> {
        let hooks = self.db.collection::<Document>("hooks");
        let filter = doc! { "_id": hook, "holder": server };
        let set = doc! {
            "until": from_now(lease),
            "token": { "$literal": position.token },
            "at": { "$literal": position.at },
        };
        let hold = async move { Ok(hooks.update_one(filter, vec![doc! { "$set": set }]).await?) };
        Ok(self.run_detached(hold).await?.matched_count == 1)
    }
}

fn read_position(hook: &Document) -> Result<WebhookPosition, StoreError> {
    let missing = || StoreError::Fault("a hook's position is missing".into());
    let token = hook.get("token").cloned().ok_or_else(missing)?;
    let at = hook.get_timestamp("at").map_err(|_| missing())?;
    Ok(WebhookPosition { token, at })
}
