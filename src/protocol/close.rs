//! The close codes of the protocol, and the close reasons: the texts that a client receives with a code.

/// The close codes. Each code has a text that says when the server sends the code. The text is part of the contract
/// (`/asyncapi.json`).
pub(crate) const CODES: &[(u16, &str)] = &[
    (1000, "the client closed the connection, and the server agrees"),
    (1001, "ping timeout: the client sent nothing and did not answer a ping"),
    (1002, "the client did not send valid WebSocket frames"),
    (1007, "a text frame was not UTF-8"),
    (1009, "a frame over limits.frame_bytes, or a message of more fragments than limits.message_fragments"),
    (1011, "an internal error of the server"),
    (1012, "the server is going away: reconnect after a random pause"),
    (
        1013,
        "the server can't serve this connection now, because the database or the issuer of the token's key can't be \
         reached, the other user of the room is being erased, or the server is busy: try again later",
    ),
    (
        4001,
        "there is no token, or it fails a check; the user is being erased; later: the token has expired, its key was \
         removed, the rules for tokens were changed, or the application has disconnected the user",
    ),
    (4003, "the caller is not the token's user, or not a member of the room"),
    (4004, "the room does not exist, or was deleted"),
    (4008, "the client reads too slowly"),
    (
        4029,
        "the client went on sending too much after being told so, or the user has too many sockets, connects too often, or \
         makes too many rooms",
    ),
    (4400, "a parameter is missing, malformed or given twice, or both users are the same"),
];

/// The reason for which the server closes a socket. The variant decides the close code, the text of the reason, and the
/// label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// 4400: the URL is invalid.
    Malformed(&'static str),
    /// 4001: there is no token, or the token fails a check. The reason contains no part of the token.
    Unauthorized(&'static str),
    /// 4001: the token has expired.
    Expired,
    /// 4001: the key that signed the token was removed.
    KeyRemoved,
    /// 4001: a reload has changed the rules for tokens, so that they may refuse this token.
    TokenRulesChanged,
    /// 4001: the application disconnected this user.
    Disconnected,
    /// 4001: the user is being erased at the application's request.
    Erased,
    /// 4003: the user id in the URL is not the user of the token.
    NotCaller,
    /// 4003: the user is not a member of the room.
    NotMember,
    /// 4004: there is no such room.
    NoRoom,
    /// 4008: the socket's send queue is full, a write to the socket took too long, or all send queues of the server
    /// together are too large.
    TooSlow,
    /// 4029: the client continued to send too much after it received rate-limit errors.
    TooMuch,
    /// 4029: the user has too many sockets.
    TooManySockets,
    /// 4029: the user connects too often, or the user's connects read too many documents from the database.
    TooManyConnects,
    /// 4029: the user creates too many rooms by connecting.
    TooManyRooms,
    /// 1009: a frame is too large.
    TooLarge,
    /// 1009: a message has too many fragments.
    TooFragmented,
    /// 1002: the client's bytes are not valid WebSocket frames. 1007: a text frame is not UTF-8.
    BadFraming(u16),
    /// 1011: an internal error.
    Internal,
    /// 1012: the server is shutting down, usually for a deployment.
    GoingAway,
    /// 1013: the room or the membership can't be read from the database now.
    Unavailable,
    /// 1013: the data of the first frame could not be read from the database in time. The cause is that the server
    /// reads the first frames of many other sockets.
    Busy,
    /// 1013: the room can't be created now, because the other user is being erased.
    PeerErasing,
    /// 1013: the issuer's keys, which are needed to check the token, can't be fetched now.
    NoKeys,
    /// 1001: ping timeout. The client sent nothing for too long and did not answer a ping.
    Dead,
    /// 1000: the client closed the connection, and the server answers the client's close frame.
    Normal,
}

impl Close {
    /// Returns the code on the wire.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Dead => 1001,
            Self::BadFraming(code) => code,
            Self::TooLarge | Self::TooFragmented => 1009,
            Self::Internal => 1011,
            Self::GoingAway => 1012,
            Self::Unavailable | Self::Busy | Self::NoKeys | Self::PeerErasing => 1013,
            Self::Unauthorized(_)
            | Self::Expired
            | Self::KeyRemoved
            | Self::TokenRulesChanged
            | Self::Disconnected
            | Self::Erased => 4001,
            Self::NotCaller | Self::NotMember => 4003,
            Self::NoRoom => 4004,
            Self::TooSlow => 4008,
            Self::TooMuch | Self::TooManySockets | Self::TooManyConnects | Self::TooManyRooms => 4029,
            Self::Malformed(_) => 4400,
        }
    }

    /// Returns the reason on the wire. The reason has at most 123 bytes, because a WebSocket control frame is limited
    /// to 125 bytes and the code takes two.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Dead => "ping timeout",
            Self::BadFraming(_) => "not a frame of the WebSocket protocol",
            Self::TooLarge => "frame too large",
            Self::TooFragmented => "too many fragments in one message",
            Self::Internal => "internal error",
            Self::GoingAway => "the server is going away; reconnect after a random pause",
            Self::NoKeys => "the issuer's keys are unavailable; try again later",
            Self::Busy => "the server is busy; try again later",
            Self::PeerErasing => "the other user is being erased; try again later",
            Self::Unavailable => "the database is unavailable; try again later",
            Self::Unauthorized(reason) | Self::Malformed(reason) => reason,
            Self::Expired => "the token has expired",
            Self::KeyRemoved => "the token's key was removed",
            Self::TokenRulesChanged => "the rules for tokens were changed",
            Self::Disconnected => "disconnected by the application",
            Self::Erased => "the user was erased",
            Self::NotCaller => "the token is another user's",
            Self::NotMember => "not a member of this room",
            Self::NoRoom => "no such room",
            Self::TooSlow => "reading too slowly",
            Self::TooMuch => "too many frames over the limit",
            Self::TooManySockets => "too many sockets",
            Self::TooManyConnects => "too many connects; retry in a minute",
            Self::TooManyRooms => "too many rooms in a minute",
        }
    }

    /// Returns whether a connect that is refused with this close counts against the client. Too many such refusals
    /// block the client for a while ([`crate::auth`]).
    pub(crate) const fn is_client_error(self) -> bool {
        matches!(
            self,
            Self::Malformed(_)
                | Self::Unauthorized(_)
                | Self::Expired
                | Self::NotCaller
                | Self::NotMember
                | Self::NoRoom
                | Self::TooManySockets
        )
    }

    /// Returns whether the server can't read any further frame after this error.
    pub(crate) const fn ends_framing(self) -> bool {
        matches!(self, Self::TooLarge | Self::TooFragmented | Self::BadFraming(_))
    }

    /// Returns the label for metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Dead => "dead",
            Self::BadFraming(_) => "bad_framing",
            Self::TooLarge => "too_large",
            Self::TooFragmented => "too_fragmented",
            Self::Internal => "internal",
            Self::GoingAway => "going_away",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::PeerErasing => "peer_erasing",
            Self::NoKeys => "no_keys",
            Self::Unauthorized(_) => "unauthorized",
            Self::Expired => "expired",
            Self::KeyRemoved => "key_removed",
            Self::TokenRulesChanged => "token_rules_changed",
            Self::Disconnected => "disconnected",
            Self::Erased => "erased",
            Self::NotCaller => "not_caller",
            Self::NotMember => "not_member",
            Self::NoRoom => "no_room",
            Self::TooSlow => "too_slow",
            Self::TooMuch => "too_much",
            Self::TooManySockets => "too_many_sockets",
            Self::TooManyConnects => "too_many_connects",
            Self::TooManyRooms => "too_many_rooms",
            Self::Malformed(_) => "malformed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/protocol.md"));

    #[test]
    fn protocol_document_has_each_reason_beside_its_code() {
        for close in [
            Close::Expired,
            Close::KeyRemoved,
            Close::TokenRulesChanged,
            Close::Disconnected,
            Close::Erased,
            Close::NotCaller,
            Close::NotMember,
            Close::NoRoom,
            Close::TooSlow,
            Close::TooMuch,
            Close::TooManySockets,
            Close::TooManyConnects,
            Close::TooManyRooms,
            Close::TooLarge,
            Close::TooFragmented,
            Close::BadFraming(1002),
            Close::Internal,
            Close::GoingAway,
            Close::Unavailable,
            Close::Busy,
            Close::PeerErasing,
            Close::NoKeys,
            Close::Dead,
        ] {
            let (code, reason) = (close.code(), close.reason());
            let row = DOCUMENT.lines().find(|line| line.contains(&format!("| `{reason}` |")));
            assert!(row.is_some_and(|row| row.starts_with(&format!("| {code}"))), "{code} {reason}: {row:?}");
        }
    }
}
