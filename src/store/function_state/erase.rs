//! Removes the values of a user or a room, and exports the values of a user.

use bson::{Bson, Document, RawDocument, doc};
use handlers::{RoomId, UserId};

use super::{alive, read_value};
use crate::store::codec::{self, Undecodable};
use crate::store::users::export::ExportCursor;
use crate::store::{Store, StoreError};

/// A value that a function has stored about a user, as exported.
#[derive(Debug)]
pub(crate) struct ExportedState {
    pub(crate) function: String,
    pub(crate) key: String,
    /// A JSON text.
    pub(crate) json: String,
}

fn of_user(user: &UserId) -> Document {
    doc! { "_id.scope": "user", "_id.owner": codec::user_bson(user) }
}

impl Store {
    /// Removes all values of a user.
    pub(crate) async fn erase_state(&self, user: &UserId) -> Result<(), StoreError> {
        self.delete_states(of_user(user)).await
    }

    /// Removes all values of a room.
    pub(in crate::store) async fn delete_room_state(&self, room: RoomId) -> Result<(), StoreError> {
        self.delete_states(doc! { "_id.scope": "room", "_id.owner": Bson::Int64(room.get()) }).await
    }

    async fn delete_states(&self, filter: Document) -> Result<(), StoreError> {
        let state = self.function_state();
        self.run_detached(async move { Ok(state.delete_many(filter).await.map(|_| ())?) }).await
    }

    /// Returns all values that functions have stored about a user.
    pub(crate) async fn state_of(&self, user: &UserId) -> Result<ExportCursor<ExportedState>, StoreError> {
        let state = self.function_state();
        let mut filter = of_user(user);
        filter.insert("$expr", alive());
        self.run_detached(async move {
            Ok(ExportCursor::new(state.find(filter).sort(doc! { "_id": 1 }).await?, read_exported))
        })
        .await
    }
}

fn read_exported(document: &RawDocument) -> Result<ExportedState, Undecodable> {
    let id = document.get_document("_id")?;
    Ok(ExportedState {
        function: id.get_str("function")?.to_owned(),
        key: id.get_str("key")?.to_owned(),
        json: read_value(document)?.json,
    })
}
