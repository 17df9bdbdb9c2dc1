//! What an event of the change stream says of rooms, their messages and members.

use bson::RawDocument;

use crate::room::Change;
use crate::store::documents::{self, Marks, Undecodable};

/// The change of a room, where this is one that its sockets are told of.
pub(super) fn read(
    event: &RawDocument,
    collection: &str,
    id: &RawDocument,
) -> Result<Option<Change>, Undecodable> {
    let operation = event.get_str("operationType")?;
    Ok(match (collection, operation) {
        ("messages", "insert") => {
            documents::read_message(event.get_document("fullDocument")?)?.map(Change::Sent)
        }
        ("messages", "update") => read_update(id, updated_fields(event)?)?,
        ("members", "insert") => {
            let member = documents::read_member(event.get_document("fullDocument")?)?;
            Some(Change::Entered { user: member.user, marks: member.marks })
        }
        ("members", "update") => read_marks(id, updated_fields(event)?)?,
        ("members", "delete") => Some(Change::Left { user: documents::read_member_user(id)? }),
        _ => None,
    })
}

/// Whether anyone is told of such a change.
pub(super) fn is_of_interest(event: &RawDocument, collection: &str) -> Result<bool, Undecodable> {
    Ok(match (collection, event.get_str("operationType")?) {
        // Of messages there are deletes only where a room is deleted, and then no one is left to be told.
        ("messages" | "heartbeats", "insert" | "update")
        | ("members", "insert" | "update" | "delete")
        | ("presence", "insert" | "update" | "replace")
        // Deleted are those that are folded.
        | ("marks", "insert" | "delete")
        // Of signals deletes are but their expiry.
        | ("rooms" | "signals", "insert") => true,
        // One that is renamed or deleted.
        ("rooms", "update") => {
            let fields = updated_fields(event)?;
            let mut removed = event.get_document("updateDescription")?.get_array("removedFields")?.into_iter();
            fields.get("deleted_at")?.is_some()
                || fields.get("name")?.is_some()
                || removed.any(|field| field.is_ok_and(|field| field.as_str() == Some("name")))
        }
        _ => false,
    })
}

/// Whether a change of a member is one of who is in the room, and as what.
pub(super) fn is_of_membership(event: &RawDocument) -> Result<bool, Undecodable> {
    if event.get_str("operationType")? != "update" {
        return Ok(true);
    }
    let fields = updated_fields(event)?;
    Ok(fields.get("role")?.is_some())
}

pub(super) fn updated_fields(event: &RawDocument) -> Result<&RawDocument, Undecodable> {
    Ok(event.get_document("updateDescription")?.get_document("updatedFields")?)
}

/// An edit or a delete of a message.
fn read_update(id: &RawDocument, fields: &RawDocument) -> Result<Option<Change>, Undecodable> {
    let (_, id) = documents::read_message_id(id)?;
    if fields.get("deleted_at")?.is_some() {
        return Ok(Some(Change::Deleted { id, revision: documents::read_revision(fields)? }));
    }
    let Some((text, updated_at)) = documents::read_edit(fields)? else { return Ok(None) };
    Ok(Some(Change::Edited { id, text, updated_at, revision: documents::read_revision(fields)? }))
}

/// Marks of a member, where the update raised any: a server of an older version raises them so.
fn read_marks(id: &RawDocument, fields: &RawDocument) -> Result<Option<Change>, Undecodable> {
    let delivered = documents::read_int_if_any(fields, "delivered")?;
    let read = documents::read_int_if_any(fields, "read")?;
    if delivered.is_none() && read.is_none() {
        return Ok(None);
    }
    let marks = Marks { delivered: delivered.unwrap_or_default(), read: read.unwrap_or_default() };
    Ok(Some(Change::Marked(vec![(documents::read_member_user(id)?, marks)])))
}
