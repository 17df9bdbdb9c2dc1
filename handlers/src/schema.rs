//! The JSON schemas of the types that have hand-written parsers. For the other types, `schemars` derives the schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{ClientId, Draft, Fields, MAX_ID, MessageId, RoomId, Time, UserId};

/// Implements `JsonSchema` for each type. The schema is repeated at each use instead of referenced.
macro_rules! schemas {
    ($($type:ty, |$generator:ident| $schema:expr;)+) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )+};
}

schemas! {
    Draft, |_generator| json_schema!({
        "type": "string",
        "minLength": 1,
        "pattern": "^[^\\u0000]*[^\\s\\u0000][^\\u0000]*$",
        "description": "Not only white space, no U+0000, at most `limits.text_chars` code points. Kept exactly as it was sent.",
    });

    ClientId, |_generator| json_schema!({ "type": "string", "minLength": 1, "maxLength": ClientId::MAX_CHARS });

    MessageId, |generator| if generator.contract().is_deserialize() {
        json_schema!({ "oneOf": [
            { "type": "integer", "minimum": 1, "maximum": MAX_ID },
            { "type": "string", "pattern": "^[0-9]+$" },
        ] })
    } else {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_ID })
    };

    RoomId, |_generator| json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_ID });

    UserId, |_generator| json_schema!({
        "oneOf": [
            { "type": "integer", "minimum": 0, "maximum": MAX_ID },
            { "type": "string", "minLength": 1, "maxLength": UserId::MAX_BYTES },
        ],
        "description": "The user's id, as in the application's tokens. A text of digits without a leading zero is the same id as the integer.",
    });

    Fields<'_>, |_generator| json_schema!({ "type": "object", "additionalProperties": true });

    Time, |_generator| json_schema!({ "type": "string", "format": "date-time" });
}
