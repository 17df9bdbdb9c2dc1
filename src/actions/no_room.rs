//! The room port for frames of an inbox connection that name no room: every use fails.

use handlers::{
    AppendOutcome, ClientId, Error, History, HistoryCursor, MessageId, Pending, Role, Room, Text, UserId,
};

pub(crate) struct NoRoom;

fn missing<T>() -> Pending<'static, T> {
    Box::pin(async { Err(Error::invalid("room_id: is needed")) })
}

impl Room for NoRoom {
    fn append(&self, _: Text, _: Option<ClientId>) -> Pending<'_, AppendOutcome> {
        missing()
    }

    fn author(&self, _: MessageId) -> Pending<'_, UserId> {
        missing()
    }

    fn edit(&self, _: MessageId, _: Text) -> Pending<'_, ()> {
        missing()
    }

    fn delete(&self, _: MessageId) -> Pending<'_, ()> {
        missing()
    }

    fn role(&self) -> Pending<'_, Role> {
        missing()
    }

    fn history(&self, _: HistoryCursor, _: usize) -> Pending<'_, History> {
        missing()
    }

    fn read(&self, _: MessageId) -> Pending<'_, ()> {
        missing()
    }

    fn typing(&self) -> Pending<'_, ()> {
        missing()
    }
}
