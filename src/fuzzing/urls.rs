//! Fuzzes the parsers of request targets and headers, for WebSocket handshakes and for the API's `GET` requests.

use std::net::IpAddr;
use std::sync::LazyLock;

use handlers::UserId;
use ipnet::IpNet;
use salvo::http::header::{HeaderName, HeaderValue};
use salvo::http::uri::Uri;
use salvo::http::{HeaderMap, StatusCode};

use super::{assert_listed, tokens};
use crate::http::upgrade;
use crate::http::upgrade::UpgradeRefusal;
use crate::protocol::client_ip;
use crate::ws::handshake::{self, Admission, HandshakePath, SocketTarget};

/// The highest number of header lines that are parsed.
const HEADERS: usize = 64;

static PROXIES: LazyLock<Vec<IpNet>> =
    LazyLock::new(|| ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap()).to_vec());

/// Parses the request target on the first line, and headers on the lines after it.
pub fn urls(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(uri) = lines.next().and_then(|target| Uri::try_from(target).ok()) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(HEADERS) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for path in [HandshakePath::Room, HandshakePath::All] {
        let caller = handshake::token(&headers).map(tokens::verified);
        match handshake::admit(path, uri.query().unwrap_or_default(), caller) {
            Ok(admission) => assert_meant(path, &admission),
            Err(close) => assert_listed(close),
        }
    }
    if let Some(spelling) = handshake::offered_bearer_protocol(&headers) {
        assert!(spelling.eq_ignore_ascii_case("bearer"));
    }
    match upgrade::websocket_key(&headers) {
        Ok(answer) => assert_eq!(answer.len(), 28),
        Err(UpgradeRefusal(status, _)) => {
            assert!([StatusCode::UPGRADE_REQUIRED, StatusCode::BAD_REQUEST].contains(&status));
        }
    }
    assert!(upgrade::origin_allowed(&headers, &[]));
    upgrade::origin_allowed(&headers, &["https://app.example.com".to_owned()]);
    assert_believed(&headers);
    crate::http::api::fuzz::query(&uri);
}

/// Asserts that an accepted handshake requests all rooms if, and only if, its path is the path of inbox connections.
/// Asserts that no caller requests a direct room with the caller's own id. Also asserts that ids stay the same when
/// they are written and parsed again.
fn assert_meant(path: HandshakePath, Admission { caller, room, options }: &Admission) {
    assert_eq!(*room == SocketTarget::All, path == HandshakePath::All);
    match room {
        SocketTarget::With(other) => {
            assert_ne!(*other, caller.user);
            assert_eq!(other.to_string().parse::<UserId>().as_ref(), Ok(other));
        }
        SocketTarget::Id(room) => assert_eq!(room.to_string().parse().as_ref(), Ok(room)),
        SocketTarget::All => {}
    }
    crate::fuzzing::cursors::cursor(options.since.as_deref().unwrap_or_default());
}

/// Asserts that the forwarding headers of a client are ignored if the client's address is not in the list of proxies.
/// Also asserts that [`client_ip::network`] changes nothing when it is applied a second time.
fn assert_believed(headers: &HeaderMap) {
    let stranger: IpAddr = [203, 0, 113, 5].into();
    assert_eq!(client_ip::resolve(stranger, headers, &PROXIES), stranger);
    let client = client_ip::resolve([10, 0, 0, 1].into(), headers, &PROXIES);
    assert_eq!(client_ip::network(client_ip::network(client)), client_ip::network(client));
}
