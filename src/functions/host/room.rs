//! The room of a call, as a function reads it: as its caller may, or, in a hook, as a service.

use handlers::{HistoryCursor, HistoryMessage, MessageId, Role, RoomId, UserId};
use serde::Serialize;

use super::state::of_read;
use crate::functions::host_error::{HostCode, HostError};
use crate::model::room::StoredRoomKind;
use crate::store::{SMALL_HISTORY, Snapshot, Store, StoreError};

/// The most messages of a page.
const PAGE: u32 = 200;

/// A room, and who reads it.
#[derive(Clone, Debug)]
pub(crate) struct FunctionRoom {
    pub(crate) room: RoomId,
    /// The member who reads. None: a service, which may read every room.
    pub(crate) reader: Option<UserId>,
    /// `limits.page_bytes`
    pub(crate) page_bytes: usize,
}

#[derive(Serialize)]
struct Page<'a> {
    messages: Vec<HistoryMessage<'a>>,
    has_more: bool,
}

#[derive(Serialize)]
struct About {
    kind: &'static str,
    name: Option<String>,
    members: Vec<AboutMember>,
}

#[derive(Serialize)]
struct AboutMember {
    user_id: UserId,
    role: Role,
}

impl FunctionRoom {
    /// Returns a page of messages, as JSON.
    pub(super) async fn history(
        &self,
        store: &Store,
        from: HistoryCursor,
        limit: u32,
    ) -> Result<String, HostError> {
        if !(1..=PAGE).contains(&limit) {
            return Err(HostError::new(HostCode::InvalidRequest, format!("limit is from 1 to {PAGE}")));
        }
        let limit = limit as usize;
        let busy = |busy| of_read(StoreError::from(busy));
        let (store, _turn) = if limit > SMALL_HISTORY {
            store.bulk(self.reader.as_ref()).await.map_err(busy)?
        } else if let Some(reader) = &self.reader {
            // A page of very long texts takes much memory, so the pages that one user reads at once are bounded.
            (store.clone(), store.own_turn(reader).await.map_err(busy)?)
        } else {
            (store.clone(), None)
        };
        let page = store.history(self.room, from, limit, self.page_bytes).await.map_err(of_read)?;
        let (snapshot, has_more) = page.ok_or_else(no_room)?;
        self.may_read(&snapshot)?;
        json(&Page { messages: snapshot.for_client(), has_more })
    }

    /// Returns one message, as JSON.
    pub(super) async fn message(&self, store: &Store, id: MessageId) -> Result<String, HostError> {
        let none = || HostError::new(HostCode::NotFound, "no such message");
        let snapshot = store.message(self.room, id).await.map_err(of_read)?.ok_or_else(none)?;
        self.may_read(&snapshot)?;
        json(&snapshot.for_client().first().ok_or_else(none)?)
    }

    /// Returns the room's kind, name and members, as JSON.
    pub(super) async fn about(&self, store: &Store) -> Result<String, HostError> {
        let room = store.room(self.room).await.map_err(of_read)?.ok_or_else(no_room)?;
        let (_, members) = store.members_known(self.room).await.map_err(of_read)?;
        if self.reader.as_ref().is_some_and(|reader| !members.iter().any(|member| member.user == *reader)) {
            return Err(no_room());
        }
        let kind = match room.kind {
            StoredRoomKind::Direct => "direct",
            StoredRoomKind::Group => "group",
        };
        let members =
            members.into_iter().map(|member| AboutMember { user_id: member.user, role: member.role });
        json(&About { kind, name: room.name, members: members.collect() })
    }

    fn may_read(&self, snapshot: &Snapshot) -> Result<(), HostError> {
        let Some(reader) = &self.reader else { return Ok(()) };
        let is_member = snapshot.members.iter().any(|member| member.user == *reader);
        if is_member { Ok(()) } else { Err(no_room()) }
    }
}

pub(super) fn no_room() -> HostError {
    HostError::new(HostCode::NotFound, "no such room")
}

fn json(value: &impl Serialize) -> Result<String, HostError> {
    serde_json::to_string(value).map_err(|error| HostError::new(HostCode::Internal, error.to_string()))
}
