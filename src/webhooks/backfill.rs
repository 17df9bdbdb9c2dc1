//! Rebuilds webhook events from the collections when the change stream's history is lost: everything the collections
//! show to have happened since the hook's position. A message that was deleted meanwhile gives only the deleted event.
//! Of several edits, only the last one is sent. Presence is sent as it is now. Events that were already delivered come
//! again, with the same `id`. Messages of a version that did not stamp them yet are left out.
//!
//! The backfill reads a whole collection once, because these times have no index. It should never be needed. If the
//! server dies during the backfill, another server begins it again.

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

/// A change is stamped shortly before it is committed, so the backfill begins this much earlier.
const BEFORE: Duration = Duration::from_secs(10);

/// Documents in one batch. Delivering each one may take long.
const BATCH: u32 = 100;

/// Sends the events since a position. The inner error means that nobody receives the events any more.
pub(super) async fn run(
    reader: &HookStreamReader,
    from: &WebhookPosition,
) -> Result<Result<(), ConsumerGone>, StoreError> {
    let before = u32::try_from(BEFORE.as_secs()).unwrap_or(u32::MAX);
    let since = Timestamp { time: from.at.time.saturating_sub(before), increment: 0 };
    let (collection, filter) = changed_since(reader.source, since);
    let collection = reader.store.database().collection::<RawDocumentBuf>(collection);
    // Sorted by _id: the messages of a room in their order.
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

/// Returns the collection and the filter for documents that changed since a time, by the database's clock.
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
