//! Implements [`Room`], the interface through which the action handlers use the database. A [`BoundRoom`] is the store
//! for one call of a client or a service (a backend that uses the HTTP API). It contains the caller, the room and the
//! deadline of the call.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, RawDocumentBuf, doc};
use handlers::{AppendOutcome, ClientId, Code, Error, History, HistoryCursor, Message, MessageId, Pending};
use handlers::{Role, Room, RoomId, Text, Time, UserId};
use tokio::time::Instant;

use super::bulk_reads::SMALL_HISTORY;
use super::codec;
use super::messages::draft::UnwrittenMessage;
use super::messages::revisions::MessageChange;
use super::{Audience, Receipts, Snapshot, Store, StoreError, Writer, Written};
use crate::model::message::StoredMessage;
use crate::model::receipts::Marks;

/// A write must start some time before the call's deadline. The time is this margin plus `mongodb.selection_ms` (the
/// limit for the selection of a database node), but at most half of the time until the deadline. If the write can't
/// start in time, the server can still answer `unavailable`, which says that nothing was written.
const MARGIN: Duration = Duration::from_millis(500);

/// If a call has waited for this time before its write, the server reads the caller's membership again, because a user
/// who was removed from the room during the wait must not write.
pub(crate) const RECHECK_AFTER: Duration = Duration::from_secs(1);

/// The rights that a caller needs for an edit or a deletion. They are checked again if the write had to wait.
#[derive(Clone, Copy)]
enum RevisionRights {
    /// The caller is a service, which may change any message.
    Service,
    /// The caller must be a member.
    Member,
    /// The caller must be a member, and either an admin or the author of the message.
    AuthorOrAdmin,
}

/// The store for one call of one caller in one room.
pub struct BoundRoom {
    /// The database.
    pub store: Store,
    /// The writer of messages.
    pub writer: Writer,
    /// The writer of receipt markers.
    pub receipts: Receipts,
    /// The room.
    pub room: RoomId,
    /// The user who makes the call.
    pub caller: UserId,
    /// The id of the call. The log and the database contain it.
    pub request: ObjectId,
    /// The sockets of the room on this server.
    pub audience: Arc<dyn Audience>,
    /// The time at which the caller stops waiting.
    pub deadline: Instant,
    /// The configured `limits.page_bytes`.
    pub page_bytes: usize,
    /// The configured `mongodb.selection_ms`.
    pub selection: Duration,
}

/// Returns the latest time at which a write may start, so that its outcome is known before `deadline`.
pub(crate) fn begin_by(deadline: Instant, selection: Duration) -> Instant {
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    now + left.saturating_sub(selection + MARGIN).max(left / 2)
}

/// The server stops waiting for a write's confirmation this long before the call's deadline. So the server still has
/// time to answer the client that the outcome is unknown. The margin is at most a tenth of the time until the deadline.
const CONFIRM_MARGIN: Duration = Duration::from_millis(100);

impl BoundRoom {
    /// Waits for a write, until [`CONFIRM_MARGIN`] before the call's deadline. Returns [`StoreError::Unknown`] if the
    /// write has not ended by then.
    async fn confirmed<T>(
        &self,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let wait = left.saturating_sub(CONFIRM_MARGIN.min(left / 10));
        tokio::time::timeout(wait, write).await.unwrap_or(Err(StoreError::Unknown(None)))
    }

    async fn message(&self, id: MessageId) -> Result<StoredMessage, Error> {
        let messages = self.store.messages.clone();
        let filter = doc! { "_id": codec::message_id(self.room, id) };
        let comment = self.request;
        let found = self
            .store
            .run_detached(async move { Ok(messages.find_one(filter).comment(comment).await?) })
            .await;
        let document: Option<RawDocumentBuf> = found.map_err(StoreError::of_read)?;
        let Some(document) = document else { return Err(Error::not_found()) };
        codec::read_message(&document).map_err(Error::internal)?.ok_or_else(Error::not_found)
    }

    /// Reads the caller's role again, after the call has waited.
    ///
    /// # Errors
    /// `not_found` if the caller is no longer a member, or the room was deleted.
    pub(crate) async fn recheck(&self) -> Result<Role, Error> {
        let role = self.store.role(self.room, &self.caller).await.map_err(StoreError::of_read)?;
        role.ok_or_else(|| Error::new(Code::NotFound, "no such room"))
    }

    /// Edits or deletes one message of the room. Fails with `not_found` if the message is already deleted.
    async fn change(
        &self,
        id: MessageId,
        change: MessageChange,
        standing: RevisionRights,
    ) -> Result<(), Error> {
        let since = Instant::now();
        let turn = self.store.revision_turn(self.room).await.map_err(StoreError::of_write)?;
        if since.elapsed() >= RECHECK_AFTER {
            self.stands(id, standing).await?;
        }
        let revision = self.store.revise_in(turn, self.room, vec![id], change, self.request);
        let changed = self.confirmed(revision).await;
        if changed.map_err(StoreError::of_write)? > 0 { Ok(()) } else { Err(Error::not_found()) }
    }

    /// Checks that the caller still has the required rights to edit or delete the message.
    async fn stands(&self, id: MessageId, standing: RevisionRights) -> Result<(), Error> {
        match standing {
            RevisionRights::Service => Ok(()),
            RevisionRights::Member => self.recheck().await.map(|_| ()),
            RevisionRights::AuthorOrAdmin => {
                if self.recheck().await? != Role::Admin && self.message(id).await?.sender != self.caller {
                    return Err(Error::not_author("only its author may delete a message"));
                }
                Ok(())
            }
        }
    }

    async fn change_text(&self, id: MessageId, text: &Text, standing: RevisionRights) -> Result<Time, Error> {
        // An event of the change stream contains only fields whose values have changed. The event of an edit lacks
        // `text` if the edit does not change the text, and `updated_at` if two edits have the same millisecond. The
        // field `edit` changes with each edit, because it contains this call's id.
        let at = self.store.now_in(self.room);
        let now = Bson::DateTime(at);
        let edit = doc! { "text": text.as_str(), "id": self.request, "at": &now };
        let set = doc! { "text": text.as_str(), "updated_at": now, "edit": edit };
        self.change(id, MessageChange { set, unset: &[] }, standing).await?;
        Ok(Time(at.timestamp_millis()))
    }

    async fn delete_message(&self, id: MessageId, standing: RevisionRights) -> Result<(), Error> {
        let now = Bson::DateTime(self.store.now_in(self.room));
        let set = doc! { "deleted_at": now, "deletion": self.request };
        self.change(id, MessageChange { set, unset: &["text", "edit"] }, standing).await
    }

    /// Writes a message of a sender who need not be a member. The message's event carries the `ref` of the call.
    pub(crate) async fn append_as(&self, sender: UserId, text: Text) -> Result<(), Error> {
        let begin_by = begin_by(self.deadline, self.selection);
        let draft = UnwrittenMessage {
            room: self.room,
            sender,
            text,
            client_id: None,
            at: self.store.now(),
            write_id: self.request,
            by_member: false,
        };
        self.confirmed(self.writer.append(draft, begin_by)).await.map_err(StoreError::of_write).map(|_| ())
    }

    /// Replaces the text of any user's message. Returns the new `updated_at`.
    pub(crate) async fn edit_as_service(&self, id: MessageId, text: &Text) -> Result<Time, Error> {
        self.change_text(id, text, RevisionRights::Service).await
    }

    /// Deletes any user's message.
    pub(crate) async fn delete_as_service(&self, id: MessageId) -> Result<(), Error> {
        self.delete_message(id, RevisionRights::Service).await
    }

    /// Returns the outcome of `append` for a message that an earlier call wrote.
    async fn again(&self, id: MessageId) -> Result<AppendOutcome, Error> {
        let found = self.store.message(self.room, id).await.map_err(of_stored)?;
        let Some(snapshot) = found else { return self.deleted(id).await };
        self.is_in(&snapshot)?;
        let Some(message) = snapshot.for_client().into_iter().next() else { return self.deleted(id).await };
        Ok(AppendOutcome::Before(Message {
            text: message.text.into_owned(),
            message_id: message.message_id,
            sender_id: message.sender_id,
            status: message.status,
            created_at: message.created_at,
            updated_at: message.updated_at,
        }))
    }

    /// Checks that the caller is a member in the snapshot. A former member must not read the room.
    fn is_in(&self, snapshot: &Snapshot) -> Result<(), Error> {
        if snapshot.members.iter().any(|member| member.user == self.caller) {
            return Ok(());
        }
        Err(Error::new(Code::NotFound, "no such room"))
    }

    /// Returns the outcome of `append` for a message that was deleted after an earlier call wrote it. Fails if the
    /// message is not deleted: in this case, the earlier read that did not find the message was outdated.
    async fn deleted(&self, id: MessageId) -> Result<AppendOutcome, Error> {
        if self.store.is_deleted(self.room, id).await.map_err(of_stored)? {
            return Ok(AppendOutcome::Deleted(id));
        }
        Err(of_stored(StoreError::Unreachable(None)))
    }

    /// Returns the outcome of `append` for the caller's message with this `client_id`. Returns none if no such message
    /// was written.
    pub(crate) async fn appended_before(&self, client_id: ClientId) -> Result<Option<AppendOutcome>, Error> {
        let found = self.store.of_client_id(self.room, &self.caller, &client_id.into_string()).await;
        match found.map_err(StoreError::of_read)? {
            Some((id, _)) => self.again(id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the smaller of a message's number and the room's last number. Therefore a client can't mark a message as
    /// read before the message exists.
    async fn within(&self, id: MessageId) -> Result<i64, StoreError> {
        let numbers = self.store.numbers();
        if let Some(last) = numbers.last(self.room).filter(|last| last.n >= id.get()) {
            return Ok(last.n.min(id.get()));
        }
        let last = self.store.last_number(self.room).await?;
        numbers.record(self.room, last);
        Ok(last.n.min(id.get()))
    }
}

/// Converts the error of a read that follows a write. The code `unavailable` would wrongly say that nothing was
/// written.
fn of_stored(error: StoreError) -> Error {
    error.after_a_write().of_write()
}

impl Room for BoundRoom {
    fn append(&self, text: Text, client_id: Option<ClientId>) -> Pending<'_, AppendOutcome> {
        self.store.end_typing(self.room, &self.caller);
        Box::pin(async move {
            let begin_by = begin_by(self.deadline, self.selection);
            let draft = UnwrittenMessage {
                room: self.room,
                sender: self.caller.clone(),
                text,
                client_id: client_id.map(ClientId::into_string),
                at: self.store.now(),
                write_id: self.request,
                by_member: true,
            };
            match self.confirmed(self.writer.append(draft, begin_by)).await.map_err(StoreError::of_write)? {
                Written::New(id, _) => Ok(AppendOutcome::New(id)),
                Written::Before(id) => self.again(id).await,
            }
        })
    }

    fn author(&self, id: MessageId) -> Pending<'_, UserId> {
        Box::pin(async move { Ok(self.message(id).await?.sender) })
    }

    fn edit(&self, id: MessageId, text: Text) -> Pending<'_, ()> {
        Box::pin(async move { self.change_text(id, &text, RevisionRights::Member).await.map(|_| ()) })
    }

    fn delete(&self, id: MessageId) -> Pending<'_, ()> {
        Box::pin(self.delete_message(id, RevisionRights::AuthorOrAdmin))
    }

    fn role(&self) -> Pending<'_, Role> {
        Box::pin(async move {
            let role = self.store.role(self.room, &self.caller).await.map_err(StoreError::of_read)?;
            Ok(role.unwrap_or(Role::Member))
        })
    }

    fn history(&self, from: HistoryCursor, limit: usize) -> Pending<'_, History> {
        Box::pin(async move {
            let (store, _turn) = if limit > SMALL_HISTORY {
                let turn = self.store.bulk(Some(&self.caller)).await;
                turn.map_err(|busy| StoreError::from(busy).of_read())?
            } else {
                // A page of very long texts takes much memory. Therefore the number of pages that one user reads
                // concurrently is bounded.
                let turn = self.store.own_turn(&self.caller).await;
                (self.store.clone(), turn.map_err(|busy| StoreError::from(busy).of_read())?)
            };
            let page =
                store.history(self.room, from, limit, self.page_bytes).await.map_err(StoreError::of_read)?;
            let (snapshot, has_more) = page.ok_or_else(Error::not_found)?;
            self.is_in(&snapshot)?;
            Ok(History { messages: snapshot.for_client(), has_more })
        })
    }

    fn read(&self, id: MessageId) -> Pending<'_, ()> {
        Box::pin(async move {
            let read = self.within(id).await.map_err(StoreError::of_read)?;
            let marks = Marks { delivered: read, read };
            if read == 0 || self.receipts.raise(self.room, &self.caller, marks) {
                return Ok(());
            }
            Err(StoreError::Full.of_write())
        })
    }

    fn typing(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            self.store.typing(self.room, &self.caller, &*self.audience).await.map_err(StoreError::of_write)
        })
    }
}
