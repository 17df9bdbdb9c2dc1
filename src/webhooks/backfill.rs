//! Rebuilds webhook events from the database's collections. A hook's source is a change stream with a stored position.
//! Parlor runs the backfill if the change stream no longer has the changes after that position. The backfill builds
//! events from the documents that changed since the position. These events differ from the events of the stream:
//!
//! - For a message that was deleted since the position, only the event `deleted` is sent.
//! - For a message that was edited several times, only the last edit is sent.
//! - For each user, only the current presence is sent, without earlier changes.
//! - Events that were delivered before are sent again, with the same `id`.
//! - Messages without the field `stamp` (the database's time of the insert) are left out. Only another program can have
//!   inserted such messages.
//!
//! The backfill reads a whole collection, because no index contains the times of changes. Therefore the backfill is
//! meant for emergencies only. If the server dies during the backfill, another server starts the backfill from the
//! beginning.

use std::time::Duration;

use bson::{DateTime, Document, RawDocument, RawDocumentBuf, Timestamp, doc};
use futures_util::TryStreamExt;
use handlers::Time;

use super::event::{self, EventPayload, EventSource, WebhookEvent};
use super::reader::{ConsumerGone, HookStreamReader};
use crate::store::StoreError;
use crate::store::codec::{self, Undecodable};
use crate::store::users::presence;
use crate::store::webhook_leases::WebhookPosition;

/// The backfill starts this long before the source's position. The database sets the stamp of a change shortly before
/// it commits the change. So a change that was committed after the position may have a stamp from before the position.
const BEFORE: Duration = Duration::from_secs(10);

/// The number of documents in one batch of the database. The batch is small, so that the server requests the next batch
/// before the database closes the idle cursor, even if the deliveries are slow.
const BATCH: u32 = 100;

/// Sends the events since the position `from` to the [dispatcher](super::dispatcher), the task that delivers events to
/// the receivers. The inner error means that this task has ended.
pub(super) async fn run(
    reader: &HookStreamReader,
    from: &WebhookPosition,
) -> Result<Result<(), ConsumerGone>, StoreError> {
    let before = u32::try_from(BEFORE.as_secs()).unwrap_or(u32::MAX);
    let since = Timestamp { time: from.at.time.saturating_sub(before), increment: 0 };
    let (collection, filter) = changed_since(reader.source, since);
    let collection = reader.store.database().collection::<RawDocumentBuf>(collection);
    // The sort by `_id` puts the messages of a room into the order of their numbers.
    let mut found = collection.find(filter).sort(doc! { "_id": 1 }).batch_size(BATCH).await?;
    while let Some(document) = found.try_next().await? {
        for event in read(reader, &document, since, from.at)? {
            if reader.send(Some(event), None).await.is_err() {
                return Ok(Err(ConsumerGone));
            }
        }
    }
    Ok(Ok(()))
}

/// Returns the collection to read, and the filter for documents that changed at or after `since` (a time of the
/// database's clock).
fn changed_since(source: EventSource, since: Timestamp) -> (&'static str, Document) {
    let new = doc! { "stamp": { "$gte": since } };
    match source {
        EventSource::AfterSend => ("messages", doc! { "$or": [new, { "revised": { "$gte": since } }] }),
        EventSource::Offline => ("messages", new),
        EventSource::Presence => {
            let since = DateTime::from_millis(i64::from(since.time) * 1000);
            let gone = doc! { "online": false, "last_seen": { "$gte": since } };
            ("presence", doc! { "$or": [{ "online": true }, gone] })
        }
    }
}

fn read(
    reader: &HookStreamReader,
    document: &RawDocument,
    since: Timestamp,
    place: Timestamp,
) -> Result<Vec<WebhookEvent>, Undecodable> {
    let (source, now) = (reader.source, reader.store.now());
    let event = |at: Time, what: EventPayload| WebhookEvent::new(source, what, at, place);
    let mut events = Vec::new();
    match source {
        EventSource::AfterSend | EventSource::Offline => {
            if let Some(what @ EventPayload::Sent { created_at, .. }) = event::sent(document)?
                && codec::read_stamp(document, "stamp")?.is_some_and(|stamp| stamp >= since)
            {
                events.push(event(created_at, what));
            }
            if source == EventSource::AfterSend {
                let changed = event::changed(document.get_document("_id")?, document)?;
                events.extend(changed.map(|what| event(now, what)));
            }
        }
        EventSource::Presence if document.get_bool("online")? => {
            let user_id = presence::read_id(document)?;
            events.push(event(now, EventPayload::Connected { user_id, at: now }));
        }
        EventSource::Presence => {
            let (user_id, last_seen) =
                (presence::read_id(document)?, codec::read_time(document, "last_seen")?);
            events.push(event(last_seen, EventPayload::Disconnected { user_id, last_seen }));
        }
    }
    Ok(events)
}
