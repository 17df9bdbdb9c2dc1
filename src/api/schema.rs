//! How the handlers' types look in the description, for that crate knows nothing of it.

use handlers::{MAX_ID, UserId};
use salvo_oapi::schema::OneOf;
use salvo_oapi::{BasicType, KnownFormat, Object, SchemaFormat};

/// A room's or a message's id.
pub(super) fn id() -> Object {
    Object::with_type(BasicType::Integer).minimum(1).maximum(MAX_ID)
}

/// A user's id: digits without a leading zero, up to the greatest integer, are an integer; else it is a string.
pub(super) fn user_id() -> OneOf {
    let number = Object::with_type(BasicType::Integer).minimum(0).maximum(MAX_ID);
    let name = Object::with_type(BasicType::String).min_length(1).max_length(UserId::MAX_BYTES);
    OneOf::new().item(number).item(name).description("As the application's tokens have it.")
}

/// A moment.
pub(super) fn time() -> Object {
    Object::with_type(BasicType::String)
        .format(SchemaFormat::KnownFormat(KnownFormat::DateTime))
        .example("2025-02-18T18:28:52.258Z")
}
