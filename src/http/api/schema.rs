//! OpenAPI schemas for types of the crate `handlers`, which does not depend on OpenAPI.

use handlers::{MAX_ID, UserId};
use salvo_oapi::schema::OneOf;
use salvo_oapi::schema::SchemaType;
use salvo_oapi::{BasicType, KnownFormat, Object, SchemaFormat};

use super::room_bounds::MAX_NAME_CHARS;
use crate::auth::MAX_EMAIL_BYTES;

/// The control characters, for use inside a character class of a regular expression.
const CONTROL: &str = r"\x00-\x1F\x7F-\x9F";

/// The schema of the id of a room or a message.
pub(super) fn id() -> Object {
    Object::with_type(BasicType::Integer).minimum(1).maximum(MAX_ID)
}

/// The schema of a user's id. If an id consists of digits without a leading zero and is at most [`MAX_ID`], the API
/// shows it as an integer. The API shows any other id as a string.
pub(super) fn user_id() -> OneOf {
    let number = Object::with_type(BasicType::Integer).minimum(0).maximum(MAX_ID);
    let name = Object::with_type(BasicType::String)
        .min_length(1)
        .max_length(UserId::MAX_BYTES)
        .pattern(format!("^[^{CONTROL}]+$"));
    OneOf::new().item(number).item(name).description(
        "As the application's tokens have it: an integer, or a string of 1 to 128 bytes of UTF-8 without control characters. \
         A string of digits that could be the integer is that integer.",
    )
}

/// The schema of a time, or null.
pub(super) fn time_or_null() -> Object {
    time().schema_type(string_or_null())
}

fn string_or_null() -> SchemaType {
    SchemaType::from_iter([BasicType::String, BasicType::Null])
}

/// The schema of a room's name in a request, or null.
pub(super) fn name() -> Object {
    Object::new()
        .schema_type(string_or_null())
        .min_length(1)
        .max_length(MAX_NAME_CHARS)
        .pattern(format!(r"^[^{CONTROL}]*[^{CONTROL}\s][^{CONTROL}]*$"))
        .description(
            "1 to 200 characters, not only white space, no control characters. If a direct room already exists, its \
             name stays as it is.",
        )
}

/// The schema of an e-mail address in a request, or null.
pub(super) fn address() -> Object {
    Object::new()
        .schema_type(string_or_null())
        .min_length(1)
        .max_length(MAX_EMAIL_BYTES)
        .pattern(format!("^[^{CONTROL}]+$"))
        .description(
            "Shown as `sender_email`. An address in the user's token replaces it. 1 to 320 bytes of UTF-8 without control characters.",
        )
}

/// The schema of a message's status.
pub(super) fn status() -> Object {
    Object::with_type(BasicType::String).enum_values(["send", "delivered", "read"]).description(
        "`send`: stored. `delivered`: written to a socket of each other member. `read`: read by each other member.",
    )
}

/// The schema of a time.
pub(super) fn time() -> Object {
    Object::with_type(BasicType::String)
        .format(SchemaFormat::KnownFormat(KnownFormat::DateTime))
        .example("2025-02-18T18:28:52.258Z")
}
