//! Parses the WebSocket handshake of a client: the parameters of the URL and the token. Checks that the URL and the
//! token name the same user.
//!
//! The server can't refuse with an HTTP status, because a browser does not show the status to its page. Instead, the
//! server opens the socket and then closes it with a close code. The page can read the close code.

use std::borrow::Cow;

use handlers::{RoomId, UserId};
use percent_encoding::percent_decode_str;
use salvo::http::HeaderMap;
use salvo::http::header::{AUTHORIZATION, HeaderName, SEC_WEBSOCKET_PROTOCOL};

use crate::auth::{Caller, TokenError};
use crate::protocol::close::Close;
use crate::protocol::session_options::SessionOptions;

/// The only supported subprotocol. Upper and lower case are not distinguished.
const BEARER: &str = "Bearer";

/// A caller (the user of the token) whose token is valid and matches the URL. Room and membership are not checked yet.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) caller: Caller,
    pub(crate) room: SocketTarget,
    pub(crate) options: SessionOptions,
}

/// The path of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakePath {
    /// `/ws/chat/`: one room.
    Room,
    /// `/ws/`: all rooms of the caller.
    All,
}

/// The room or rooms that the URL names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SocketTarget {
    /// The direct room with this user.
    With(UserId),
    /// The room with this id.
    Id(RoomId),
    /// All rooms of the caller.
    All,
}

/// Checks the parameters, then the token, and then that the first user in the URL is the caller. `caller` is the result
/// of the token check, or None if the handshake has no token.
pub(crate) fn admit(
    path: HandshakePath,
    query: &str,
    caller: Option<Result<Caller, TokenError>>,
) -> Result<Admission, Close> {
    let mut parameters = Parameters::parse(query)?;
    let options = parameters.options()?;
    let (first, room) = match path {
        HandshakePath::Room => parameters.shape()?,
        HandshakePath::All => (None, SocketTarget::All),
    };
    let caller = caller.ok_or(Close::Unauthorized("no token"))?.map_err(|refused| {
        if refused.is_temporary() { Close::NoKeys } else { Close::Unauthorized(refused.as_str()) }
    })?;
    if first.is_some_and(|first| first != caller.user) {
        return Err(Close::NotCaller);
    }
    Ok(Admission { caller, room, options })
}

/// Returns the subprotocol `Bearer` in the client's spelling, if the client offers it. The server accepts no other
/// subprotocol.
pub(crate) fn offered_bearer_protocol(headers: &HeaderMap) -> Option<&str> {
    offered(headers).find(|name| name.eq_ignore_ascii_case(BEARER))
}

/// Returns the items of all `Sec-WebSocket-Protocol` headers.
fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    items(headers, SEC_WEBSOCKET_PROTOCOL).flat_map(|list| list.split(',')).map(str::trim)
}

fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// Returns the client's token. If the client offers `Bearer` and another subprotocol, the other subprotocol is the
/// token. Otherwise the token is in the `Authorization` header.
pub(crate) fn token(headers: &HeaderMap) -> Option<&str> {
    let mut others = offered(headers).filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(BEARER));
    if offered_bearer_protocol(headers).is_some()
        && let Some(token) = others.next()
    {
        // If the client offers two subprotocols besides `Bearer`, the server can't know which subprotocol is the token.
        // Then the server uses no token.
        return others.next().is_none().then_some(token);
    }
    let (scheme, token) = items(headers, AUTHORIZATION).next()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(BEARER).then_some(token.trim()).filter(|token| !token.is_empty())
}

/// The known parameters of the URL's query. Unknown parameters are ignored.
#[derive(Default)]
struct Parameters {
    first: Option<String>,
    second: Option<String>,
    room: Option<String>,
    since: Option<String>,
    receipts: Option<String>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, Close> {
        let mut parameters = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match &*decoded(name)? {
                "firts_user" | "first_user" => &mut parameters.first,
                "second_user" => &mut parameters.second,
                "room_id" => &mut parameters.room,
                "since" => &mut parameters.since,
                "receipts" => &mut parameters.receipts,
                _ => continue,
            };
            let value = decoded(value)?;
            let value = value.strip_suffix('/').unwrap_or(&value);
            if slot.replace(value.to_owned()).is_some() {
                return Err(Close::Malformed("a parameter is given twice"));
            }
        }
        Ok(parameters)
    }

    /// Returns the options of the session: `since` and `receipts`. Level 1 has no options.
    fn options(&mut self) -> Result<SessionOptions, Close> {
        let manual_receipts = match self.receipts.take().as_deref() {
            None => false,
            Some("manual") => true,
            Some(_) => return Err(Close::Malformed("receipts can only be manual")),
        };
        Ok(SessionOptions { since: self.since.take(), manual_receipts })
    }

    /// Returns the first user, if the URL names one, and the room.
    fn shape(self) -> Result<(Option<UserId>, SocketTarget), Close> {
        const BAD_FIRST: Close = Close::Malformed("firts_user is missing or malformed");
        const BAD_SECOND: Close = Close::Malformed("second_user is missing or malformed");
        const BAD_ROOM: Close = Close::Malformed("room_id is malformed");

        let first: Option<UserId> = self.first.map(|id| id.parse()).transpose().map_err(|_| BAD_FIRST)?;
        if let Some(room) = self.room {
            if self.second.is_some() {
                return Err(Close::Malformed("second_user and room_id exclude each other"));
            }
            return Ok((first, SocketTarget::Id(room.parse().map_err(|_| BAD_ROOM)?)));
        }
        let first = first.ok_or(BAD_FIRST)?;
        let second: UserId = self.second.ok_or(BAD_SECOND)?.parse().map_err(|_| BAD_SECOND)?;
        if first == second {
            return Err(Close::Malformed("both users are the same"));
        }
        Ok((Some(first), SocketTarget::With(second)))
    }
}

/// Decodes percent-encoding. A `+` becomes a space, because `URLSearchParams` in browsers encodes a space as `+`.
fn decoded(text: &str) -> Result<String, Close> {
    let text = text.replace('+', " ");
    let text = percent_decode_str(&text).decode_utf8();
    text.map(Cow::into_owned).map_err(|_| Close::Malformed("the query is not UTF-8"))
}
