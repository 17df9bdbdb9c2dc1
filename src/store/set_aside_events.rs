//! Set-aside events: events that a webhook's receiver (a server of the application) did not accept after several tries.
//! Each event is kept until an operator sends it again or drops it. At most `hooks.set_aside` events are kept.
//!
//! | field | meaning |
//! |---|---|
//! | `hook`, `event` | the webhook, and the event's id as the receiver gets it; unique together |
//! | `type`, `room`, `n`, `user`, `time` | the kind of the event, its message or user, and its time |
//! | `recipient` | the user to whom an offline message is sent |
//! | `users` | all users that the event names; a user's erasure deletes the event, an export includes it |
//! | `tries`, `reason`, `at` | the number of tries, the reason of the last failure, the time when the event was set aside |
//!
//! The documents contain no text of a message. When Parlor sends a set-aside event again, it reads the message's
//! current text. If the message was deleted, Parlor does not send the event.

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use handlers::{MessageId, RoomId, Time, UserId};
use mongodb::Collection;

use super::codec::{self, Undecodable};
use super::users::export::ExportCursor;
use super::{Store, StoreError};
use crate::model::message::StoredMessage;

/// The kind of an event, its message or user, and its time.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Sent { room: RoomId, message: MessageId, at: Time },
    Edited { room: RoomId, message: MessageId, at: Time },
    Deleted { room: RoomId, message: MessageId, at: Time },
    Connected { user: UserId, at: Time },
    Disconnected { user: UserId, at: Time },
}

/// An event that is to be set aside.
pub(crate) struct NewSetAside<'a> {
    pub(crate) hook: &'a str,
    pub(crate) event: &'a str,
    pub(crate) subject: Subject,
    pub(crate) recipient: Option<&'a UserId>,
    pub(crate) tries: u32,
    pub(crate) reason: &'a str,
}

/// An event that was set aside.
#[derive(Clone, Debug)]
pub(crate) struct SetAside {
    pub(crate) id: ObjectId,
    pub(crate) hook: String,
    pub(crate) event: String,
    pub(crate) subject: Subject,
    pub(crate) recipient: Option<UserId>,
    pub(crate) tries: i64,
    pub(crate) reason: String,
    pub(crate) at: Time,
}

/// The result of setting an event aside.
pub(crate) struct SetAsideOutcome {
    /// The number of events that were dropped because more than the permitted number were set aside. The oldest events
    /// are dropped first.
    pub(crate) dropped: u64,
}

impl Subject {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Sent { .. } => "sent",
            Self::Edited { .. } => "edited",
            Self::Deleted { .. } => "deleted",
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
        }
    }

    /// Returns the message of the event. None for an event about a user's presence.
    pub(crate) const fn message(&self) -> Option<(RoomId, MessageId)> {
        match self {
            Self::Sent { room, message, .. }
            | Self::Edited { room, message, .. }
            | Self::Deleted { room, message, .. } => Some((*room, *message)),
            Self::Connected { .. } | Self::Disconnected { .. } => None,
        }
    }

    /// Returns the user of the event. None for an event about a message.
    pub(crate) const fn user(&self) -> Option<&UserId> {
        match self {
            Self::Connected { user, .. } | Self::Disconnected { user, .. } => Some(user),
            Self::Sent { .. } | Self::Edited { .. } | Self::Deleted { .. } => None,
        }
    }

    const fn at(&self) -> Time {
        match self {
            Self::Sent { at, .. }
            | Self::Edited { at, .. }
            | Self::Deleted { at, .. }
            | Self::Connected { at, .. }
            | Self::Disconnected { at, .. } => *at,
        }
    }
}

impl Store {
    fn set_asides(&self) -> Collection<RawDocumentBuf> {
        self.db.collection("set_aside")
    }

    /// Sets an event aside. If more than `most` events are set aside afterwards, drops the oldest events. Stores
    /// nothing if the database has no data of the event's user, because then the user was erased.
    pub(crate) async fn set_aside(
        &self,
        new: NewSetAside<'_>,
        most: u64,
    ) -> Result<SetAsideOutcome, StoreError> {
        let NewSetAside { hook, event, subject, recipient, tries, reason } = new;
        let own = recipient.or(subject.user()).cloned();
        if let Some(user) = &own
            && !self.is_known(user).await?
        {
            return Ok(SetAsideOutcome { dropped: 0 });
        }
        let mut users: Vec<Bson> = own.iter().map(codec::user_bson).collect();
        if let Some((room, message)) = subject.message() {
            users.extend(self.sender_of(room, message).await?.as_ref().map(codec::user_bson));
        }
        let mut set = doc! {
            "type": subject.kind(),
            "time": DateTime::from_millis(subject.at().0),
            "users": users,
            "tries": i64::from(tries),
            "reason": reason,
        };
        if let Some((room, message)) = subject.message() {
            set.insert("room", room.get());
            set.insert("n", message.get());
        }
        set.extend(subject.user().map(|user| ("user".to_owned(), codec::user_bson(user))));
        set.extend(recipient.map(|user| ("recipient".to_owned(), codec::user_bson(user))));
        let collection = self.set_asides();
        let filter = doc! { "hook": hook, "event": event };
        let update = doc! { "$set": set, "$currentDate": { "at": true } };
        self.run_detached(async move {
            collection.update_one(filter, update).upsert(true).await?;
            drop_oldest(&collection, most).await
        })
        .await
    }

    /// Lists set-aside events, the oldest first, at most `limit`. Each argument that is not None restricts the list: to
    /// one webhook, to one user, or to the events after the event `after`.
    pub(crate) async fn list_set_aside(
        &self,
        hook: Option<&str>,
        user: Option<&UserId>,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Result<Vec<SetAside>, StoreError> {
        let mut filter = Document::new();
        filter.extend(hook.map(|hook| ("hook".to_owned(), hook.into())));
        filter.extend(user.map(|user| ("users".to_owned(), codec::user_bson(user))));
        filter.extend(after.map(|after| ("_id".to_owned(), doc! { "$gt": after }.into())));
        let (collection, limit) = (self.set_asides(), i64::try_from(limit).unwrap_or(i64::MAX));
        let find = async move {
            let found = collection.find(filter).sort(doc! { "_id": 1 }).limit(limit).await?;
            Ok(found.try_collect::<Vec<_>>().await?)
        };
        let found = self.run_detached(find).await?;
        Ok(found.iter().map(|document| read(document)).collect::<Result<_, _>>()?)
    }

    /// Returns one set-aside event. None if no event has this id.
    pub(crate) async fn find_set_aside(&self, id: ObjectId) -> Result<Option<SetAside>, StoreError> {
        let collection = self.set_asides();
        let found =
            self.run_detached(async move { Ok(collection.find_one(doc! { "_id": id }).await?) }).await?;
        Ok(found.map(|document| read(&document)).transpose()?)
    }

    /// Records that another try to send a set-aside event failed.
    pub(crate) async fn note_set_aside(&self, id: ObjectId, reason: &str) -> Result<(), StoreError> {
        let collection = self.set_asides();
        let update = doc! { "$inc": { "tries": 1_i64 }, "$set": { "reason": reason } };
        let note = async move { Ok(collection.update_one(doc! { "_id": id }, update).await.map(|_| ())?) };
        self.run_detached(note).await
    }

    /// Removes a set-aside event. Returns false if no event has this id.
    pub(crate) async fn drop_set_aside(&self, id: ObjectId) -> Result<bool, StoreError> {
        let collection = self.set_asides();
        self.run_detached(
            async move { Ok(collection.delete_one(doc! { "_id": id }).await?.deleted_count > 0) },
        )
        .await
    }

    /// Removes all set-aside events that name a user.
    pub(crate) async fn erase_set_aside(&self, user: &UserId) -> Result<(), StoreError> {
        let collection = self.set_asides();
        let filter = doc! { "users": codec::user_bson(user) };
        self.run_detached(async move { Ok(collection.delete_many(filter).await.map(|_| ())?) }).await
    }

    /// Reads all set-aside events that name a user, for an export.
    pub(crate) async fn set_aside_of(&self, user: &UserId) -> Result<ExportCursor<SetAside>, StoreError> {
        let collection = self.set_asides();
        let filter = doc! { "users": codec::user_bson(user) };
        self.run_detached(async move { Ok(ExportCursor::new(collection.find(filter).await?, read)) }).await
    }

    /// Returns a message. None if the message is deleted or doesn't exist.
    pub(crate) async fn message_alone(
        &self,
        room: RoomId,
        id: MessageId,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::message_id(room, id) };
        let found = self.run_detached(async move { Ok(messages.find_one(filter).await?) }).await?;
        let message = found.map(|message| codec::read_message(&message)).transpose()?.flatten();
        Ok(message)
    }

    /// Returns the sender of a message, even if the message is deleted. None if the sender was erased.
    async fn sender_of(&self, room: RoomId, id: MessageId) -> Result<Option<UserId>, StoreError> {
        let messages = self.messages.clone();
        let filter = doc! { "_id": codec::message_id(room, id) };
        let find = async move { Ok(messages.find_one(filter).projection(doc! { "sender": 1 }).await?) };
        let found: Option<RawDocumentBuf> = self.run_detached(find).await?;
        let Some(message) = found else { return Ok(None) };
        let sender = message.get("sender").map_err(Undecodable::from)?;
        Ok(sender.map(codec::read_user).transpose()?)
    }

    /// Tells whether the database has a membership or a presence document of a user.
    pub(crate) async fn is_known(&self, user: &UserId) -> Result<bool, StoreError> {
        let (members, presence) = (self.members.clone(), self.db.collection::<RawDocumentBuf>("presence"));
        let user = codec::user_bson(user);
        self.run_detached(async move {
            let member = members.find_one(doc! { "_id.user": user.clone() }).projection(doc! { "_id": 1 });
            Ok(member.await?.is_some() || presence.find_one(doc! { "_id": user }).await?.is_some())
        })
        .await
    }
}

async fn drop_oldest(
    collection: &Collection<RawDocumentBuf>,
    most: u64,
) -> Result<SetAsideOutcome, StoreError> {
    let over = collection.estimated_document_count().await?.saturating_sub(most);
    if over == 0 {
        return Ok(SetAsideOutcome { dropped: 0 });
    }
    let find =
        collection.find(doc! {}).sort(doc! { "_id": 1 }).limit(i64::try_from(over).unwrap_or(i64::MAX));
    let oldest: Vec<RawDocumentBuf> = find.projection(doc! { "_id": 1 }).await?.try_collect().await?;
    let ids = oldest.iter().map(|document| document.get_object_id("_id").map_err(Undecodable::from));
    let ids = ids.collect::<Result<Vec<_>, _>>()?;
    let dropped = collection.delete_many(doc! { "_id": { "$in": ids } }).await?.deleted_count;
    Ok(SetAsideOutcome { dropped })
}

fn read(document: &RawDocument) -> Result<SetAside, Undecodable> {
    let user = |field: &str| document.get(field)?.map(codec::read_user).transpose();
    let at = codec::read_time(document, "time")?;
    let missing = |field: &str| Undecodable::new(&format!("an event was set aside without its {field}"));
    let about = || {
        let room = RoomId::try_from(codec::read_int(document, "room")?).map_err(|_| missing("room"))?;
        let message = MessageId::try_from(codec::read_int(document, "n")?).map_err(|_| missing("message"))?;
        Ok::<_, Undecodable>((room, message))
    };
    let whose = || user("user")?.ok_or_else(|| missing("user"));
    let subject = match document.get_str("type")? {
        "sent" => about().map(|(room, message)| Subject::Sent { room, message, at }),
        "edited" => about().map(|(room, message)| Subject::Edited { room, message, at }),
        "deleted" => about().map(|(room, message)| Subject::Deleted { room, message, at }),
        "connected" => whose().map(|user| Subject::Connected { user, at }),
        "disconnected" => whose().map(|user| Subject::Disconnected { user, at }),
        _ => Err(missing("type")),
    };
    Ok(SetAside {
        id: document.get_object_id("_id")?,
        hook: document.get_str("hook")?.to_owned(),
        event: document.get_str("event")?.to_owned(),
        subject: subject?,
        recipient: user("recipient")?,
        tries: codec::read_int(document, "tries")?,
        reason: document.get_str("reason")?.to_owned(),
        at: codec::read_time(document, "at")?,
    })
}
