//! The number and the size of the values of one scope. They are counted when a value is new or grows, and not at other
//! writes. Therefore a scope may exceed its bounds by as many values as functions write at the same moment.

use bson::{Bson, RawDocumentBuf, doc};
use futures_util::TryStreamExt;

use super::{StateBounds, StateError, StateOwner, alive};
use crate::store::{Store, StoreError, codec};

impl Store {
    /// Checks that a value of this size may be added to a scope, in the place of the key's value if there is one.
    pub(super) async fn check_room_for(
        &self,
        owner: &StateOwner,
        key: &str,
        bytes: usize,
        bounds: &StateBounds,
    ) -> Result<(), StateError> {
        let state = self.function_state();
        let others = doc! { "_id.key": { "$ne": key }, "$expr": alive() };
        let range = doc! { "$gte": owner.id(Bson::MinKey), "$lte": owner.id(Bson::MaxKey) };
        let sum = doc! { "_id": Bson::Null, "keys": { "$sum": 1 }, "bytes": { "$sum": "$bytes" } };
        let stages =
            vec![doc! { "$match": { "_id": range } }, doc! { "$match": others }, doc! { "$group": sum }];
        let used = self.run_detached(async move {
            let found: Vec<_> = state.aggregate(stages).await?.try_collect().await?;
            let Some(used) = found.into_iter().next() else { return Ok((0, 0)) };
            let used = RawDocumentBuf::try_from(used).map_err(|error| StoreError::Fault(error.into()))?;
            Ok((codec::read_int(&used, "keys")?, codec::read_int(&used, "bytes")?))
        });
        let (keys, used) = used.await?;
        let (keys, used) =
            (usize::try_from(keys).unwrap_or(usize::MAX), usize::try_from(used).unwrap_or(usize::MAX));
        if keys >= bounds.keys {
            return Err(StateError::TooLarge("state_keys", bounds.keys));
        }
        if used.saturating_add(bytes) > bounds.bytes {
            return Err(StateError::TooLarge("state_bytes", bounds.bytes));
        }
        Ok(())
    }
}
