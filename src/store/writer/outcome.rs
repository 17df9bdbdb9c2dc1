//! What became of a message that may be written or not, or whose number or `client_id` is another's.

use bson::{RawBsonRef, doc};
use mongodb::options::ReadConcern;
use tokio::time::Instant;

use super::super::StoreError;
use super::super::documents::{self, Draft};
use super::{Entry, RETRY_PAUSE, Task, Written};

impl Task {
    /// Waits until the message that has an entry's number is on a majority. What isn't may be rolled back, and
    /// going on from there would leave a hole.
    pub(super) async fn await_majority(&self, entry: &Entry, n: i64) {
        self.numbers.forget(entry.draft.room);
        while entry.deadline > Instant::now() {
            match self.store.last_number(entry.draft.room).await {
                Ok(last) if last >= n => return,
                Ok(_) => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => self.pause("reading a taken number", &error).await,
            }
        }
    }

    /// Answers the entries that an earlier try has written after all, and frees those whose number is another
    /// message's. Gives back what is still to be written.
    ///
    /// An entry of which there is nothing keeps its number, for the first try may still be under way. Behind an
    /// entry that is another's it needn't: the first try was ordered, too, and ends there.
    pub(super) async fn look_up(&self, batch: Vec<Entry>) -> Vec<Entry> {
        let (mut rest, mut blocked) = (Vec::with_capacity(batch.len()), false);
        let mut entries = batch.into_iter();
        while let Some(mut entry) = entries.next() {
            let found = match entry.tried {
                Some(n) => self.written_as(&entry, n).await,
                None => Ok(None),
            };
            match (found, entry.tried) {
                (Ok(Some(true)), Some(n)) => {
                    self.answer(vec![entry], &[n]);
                    continue;
                }
                (Ok(Some(_)), _) => {
                    self.numbers.forget(entry.draft.room);
                    entry.tried = None;
                    blocked = true;
                }
                (Ok(None), _) if blocked => entry.tried = None,
                (Ok(None), _) => {}
                (Err(error), _) => {
                    self.pause("looking up a write", &error).await;
                    rest.push(entry);
                    rest.extend(entries);
                    return rest;
                }
            }
            rest.push(entry);
        }
        rest
    }

    /// Whether the message with this number is this entry; none where there is no such message.
    async fn written_as(&self, entry: &Entry, n: i64) -> Result<Option<bool>, StoreError> {
        let messages = self.store.messages.clone();
        let filter = doc! { "_id": { "room": entry.draft.room.get(), "n": n } };
        let found = self
            .store
            .bounded(
                async move { Ok(messages.find_one(filter).read_concern(ReadConcern::majority()).await?) },
            )
            .await?;
        Ok(found.map(|message| {
            matches!(message.get("write_id"), Ok(Some(RawBsonRef::ObjectId(id))) if id == entry.draft.write_id)
        }))
    }

    /// The message that this one's sender gave its `client_id` first, once a majority has it.
    pub(super) async fn written_before(&self, draft: &Draft) -> Result<Option<Written>, StoreError> {
        let messages = self.store.messages.clone();
        let client_id = draft.client_id.as_ref().map(|id| id.as_str().to_owned());
        let filter = doc! {
            "_id.room": draft.room.get(),
            "sender": documents::user_bson(&draft.sender),
            "client_id": client_id,
        };
        let find = async move {
            let find = messages.find_one(filter).projection(doc! { "_id": 1, "write_id": 1 });
            Ok(find.read_concern(ReadConcern::majority()).await?)
        };
        let Some(found) = self.store.bounded(find).await? else { return Ok(None) };
        let id = found.get_document("_id").map_err(documents::Undecodable::from)?;
        let (_, id) = documents::read_message_id(id)?;
        // One of unknown outcome may meet itself.
        let mine = documents::read_request(&found, "write_id")? == Some(draft.write_id);
        Ok(Some(if mine { Written::New(id) } else { Written::Before(id) }))
    }
}
