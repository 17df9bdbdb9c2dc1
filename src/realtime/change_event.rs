//! Decodes the events of MongoDB's change stream, for example about rooms, messages and members.

use bson::{DateTime, RawDocument, Timestamp};

use crate::model::change::CommittedChange;
use crate::store::codec::{self, Undecodable};

/// A change event. One pass over the event's ten fields finds all values. A look-up by name would each time start at
/// the first field.
pub(super) struct ChangeEvent<'a> {
    pub(super) operation: &'a str,
    pub(super) collection: &'a str,
    /// The cluster time (MongoDB's logical clock) of the commit.
    pub(super) time: Timestamp,
    /// The time of the change, by the wall clock of the database server.
    pub(super) made: Option<DateTime>,
    /// The event's `documentKey`: the `_id` of the changed document.
    pub(super) key: &'a RawDocument,
    /// The whole document, if it was inserted or replaced.
    document: Option<&'a RawDocument>,
    /// The event's `updateDescription` (the changed and removed fields), if the document was updated.
    update: Option<&'a RawDocument>,
}

/// Operations that change a whole collection or its indexes instead of one document.
const OF_COLLECTIONS: [&str; 3] = ["drop", "rename", "dropIndexes"];

/// An event of the change stream: about one document, or about a whole collection.
pub(super) enum StreamEvent<'a> {
    /// A changed document.
    Change(ChangeEvent<'a>),
    /// A collection was dropped or renamed, or one of its indexes was dropped.
    Dropped {
        collection: &'a str,
        /// Whether the documents of the collection are lost, too.
        all: bool,
        time: Timestamp,
    },
}

impl<'a> ChangeEvent<'a> {
    pub(super) fn read(event: &'a RawDocument) -> Result<StreamEvent<'a>, Undecodable> {
        let (mut operation, mut namespace, mut time, mut key) = (None, None, None, None);
        let (mut made, mut document, mut update) = (None, None, None);
        for field in event {
            let (name, value) = field?;
            match name.as_str() {
                "operationType" => operation = value.as_str(),
                "ns" => namespace = value.as_document(),
                "clusterTime" => time = value.as_timestamp(),
                "wallTime" => made = value.as_datetime(),
                "documentKey" => key = value.as_document(),
                "fullDocument" => document = value.as_document(),
                "updateDescription" => update = value.as_document(),
                _ => {}
            }
        }
        let operation = found(operation, "operationType")?;
        let (collection, time) = (found(namespace, "ns")?.get_str("coll")?, found(time, "clusterTime")?);
        if OF_COLLECTIONS.contains(&operation) {
            return Ok(StreamEvent::Dropped { collection, all: operation != "dropIndexes", time });
        }
        let key = found(key, "documentKey")?;
        Ok(StreamEvent::Change(Self { operation, collection, time, made, key, document, update }))
    }

    pub(super) fn document(&self) -> Result<&'a RawDocument, Undecodable> {
        found(self.document, "fullDocument")
    }

    pub(super) fn updated_fields(&self) -> Result<&'a RawDocument, Undecodable> {
        Ok(self.update()?.get_document("updatedFields")?)
    }

    fn update(&self) -> Result<&'a RawDocument, Undecodable> {
        found(self.update, "updateDescription")
    }

    /// Returns the change of a room that this event reports. Returns `None` if the room's sockets are not notified of
    /// this kind of change. `id` is the `_id` of the document.
    pub(super) fn change(&self, id: &RawDocument) -> Result<Option<CommittedChange>, Undecodable> {
        Ok(match (self.collection, self.operation) {
            ("messages", "insert") => codec::read_message(self.document()?)?.map(CommittedChange::Sent),
            ("messages", "update") => read_update(id, self.updated_fields()?)?,
            ("members", "insert") => {
                let member = codec::read_member(self.document()?)?;
                Some(CommittedChange::Entered { user: member.user, marks: member.marks })
            }
            ("members", "delete") => Some(CommittedChange::Left { user: codec::read_member_user(id)? }),
            _ => None,
        })
    }

    /// Returns whether this server handles this kind of change.
    pub(super) fn is_of_interest(&self) -> Result<bool, Undecodable> {
        Ok(match (self.collection, self.operation) {
            // The document of a message is removed only after its room was deleted. The room then has no sockets that
            // need a notification.
            ("messages" | "heartbeats", "insert" | "update")
            | ("members", "insert" | "update" | "delete")
            | ("presence", "insert" | "update" | "replace")
            // The document of a batch of receipt markers is deleted after a server has written the markers into the
            // members' documents.
            | ("marks" | "erasures", "insert" | "delete")
            // The documents of ephemeral events are deleted when they expire. No server needs to know this.
            | ("rooms" | "signals", "insert") => true,
            // The room was renamed or deleted.
            ("rooms", "update") => {
                let fields = self.updated_fields()?;
                let mut removed = self.update()?.get_array("removedFields")?.into_iter();
                fields.get("deleted_at")?.is_some()
                    || fields.get("name")?.is_some()
                    || removed.any(|field| field.is_ok_and(|field| field.as_str() == Some("name")))
            }
            _ => false,
        })
    }

    /// Returns whether a change of a member's document affects the list of members or a role.
    pub(super) fn is_of_membership(&self) -> Result<bool, Undecodable> {
        if self.operation != "update" {
            return Ok(true);
        }
        Ok(self.removes("pending")? || self.updated_fields()?.get("role")?.is_some())
    }

    /// Returns whether a change of a member's document sets or removes the member's e-mail address.
    pub(super) fn is_of_address(&self) -> Result<bool, Undecodable> {
        let is_update = self.operation == "update";
        Ok(is_update && (self.updated_fields()?.get("email")?.is_some() || self.removes("email")?))
    }

    fn removes(&self, name: &str) -> Result<bool, Undecodable> {
        let mut removed = self.update()?.get_array("removedFields")?.into_iter();
        Ok(removed.any(|field| field.is_ok_and(|field| field.as_str() == Some(name))))
    }
}

/// Returns the value of a field. Fails if the field is missing or has an unexpected type.
fn found<T>(value: Option<T>, name: &str) -> Result<T, Undecodable> {
    value.ok_or_else(|| Undecodable::new(&format!("no `{name}`")))
}

/// Reads an edit or a delete from the updated fields of a message's document.
fn read_update(id: &RawDocument, fields: &RawDocument) -> Result<Option<CommittedChange>, Undecodable> {
    let (_, id) = codec::read_message_id(id)?;
    if fields.get("deleted_at")?.is_some() {
        return Ok(Some(CommittedChange::Deleted { id, revision: codec::read_revision(fields)? }));
    }
    let Some((text, updated_at)) = codec::read_edit(fields)? else { return Ok(None) };
    Ok(Some(CommittedChange::Edited { id, text, updated_at, revision: codec::read_revision(fields)? }))
}
