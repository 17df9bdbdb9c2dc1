//! Reads the last message number of a room from the database, for rooms whose number is not in the cache.

use bson::doc;
use handlers::RoomId;

use super::sequence_cache::LastMessage;
use crate::store::{Store, StoreError, codec};

impl Store {
    /// Returns the greatest message number that a room has used, and the time of the last message. Reads
    /// majority-committed data. In an empty room, the number is 0. If an operator has purged (removed) all messages,
    /// the number is that of the last purged message.
    pub(crate) async fn last_number(&self, room: RoomId) -> Result<LastMessage, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::of_room(room, "n") };
        let last = self
            .run_detached(async move {
                let find = messages.find_one(filter).sort(doc! { "_id": -1 });
                let find = find.projection(doc! { "_id": 1, "created_at": 1 });
                Ok(find.read_concern(mongodb::options::ReadConcern::majority()).await?)
            })
            .await?;
        let Some(last) = last else {
            return Ok(LastMessage { n: self.given_out(room).await?, ..LastMessage::default() });
        };
        let id = last.get_document("_id").map_err(codec::Undecodable::from)?;
        let n = codec::read_message_id(id)?.1.get();
        // A message may have no time if another program inserted it.
        let at = codec::read_time(&last, "created_at").unwrap_or(LastMessage::default().at);
        Ok(LastMessage { n, at })
    }
}
