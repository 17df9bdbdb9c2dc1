//! Refuses requests that a proxy and Parlor could interpret differently. A request of the first kind has no valid
//! `Host` (RFC 9112, 3.2). A request of the second kind has a path or query that a proxy may decode or resolve in a
//! different way.

use percent_encoding::percent_decode_str;
use salvo::http::header::HOST;
use salvo::http::uri::Authority;
use salvo::http::{HeaderMap, HeaderValue, Version};
use salvo::prelude::*;

use super::api::{Problem, ProblemCode};
use super::head;

/// Checks every request before its handler runs.
pub(crate) struct RequestCheck;

#[async_trait]
impl Handler for RequestCheck {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let uri = req.uri();
        let checked = check_host(req.version(), req.headers())
            .and_then(|()| check_path(uri.path(), head::is_read(req)))
            .and_then(|()| check_query(uri.path(), uri.query().unwrap_or_default()));
        if let Err(problem) = checked {
            problem.render(res);
            ctrl.skip_rest();
        }
    }
}

/// Checks the header `Host`. Only an HTTP/1.0 request may omit the header. Refuses a second `Host` header, and an
/// invalid value.
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version <= Version::HTTP_10 => Ok(()),
        (None, _) => Err(Problem::invalid("Host: is missing")),
        (Some(host), None) if is_host(host) => Ok(()),
        (Some(_), None) => Err(Problem::invalid("Host: is not a host, or a host and a port")),
        (Some(_), Some(_)) => Err(Problem::invalid("Host: is given twice")),
    }
}

/// Returns whether a value is a name or an address with an optional port. The host of a URI may also contain
/// characters such as `!` and `;`. This function refuses these characters, because no server name contains them.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(value.as_bytes()) else { return false };
    let host = authority.host();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let is_named = !host.is_empty() && (host.starts_with('[') || host.bytes().all(plain));
    // A value with a login (`user@host`) does not begin with the host, so it is refused. The digits after the colon may
    // be missing (RFC 3986, 3.2.3).
    let rest = authority.as_str().strip_prefix(host);
    let port = rest.map(|rest| rest.strip_prefix(':').unwrap_or(rest));
    is_named && port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok_and(|_| is_digits(port)))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Checks that all HTTP implementations read every segment of a path in the same way. Below `/api`, an empty segment
/// gets 404. The router would skip an empty segment. Then a path with an empty id, such as `/users//export`, would name
/// another resource. The path of a GET or HEAD request may end in a slash.
fn check_path(path: &str, is_read: bool) -> Result<(), Problem> {
    for segment in path.split('/') {
        let decoded =
            decoded(segment).ok_or_else(|| Problem::invalid("the path is not UTF-8 in percent-encoding"))?;
        if matches!(&*decoded, "." | "..") {
            return Err(Problem::invalid("the path has a segment that is `.` or `..`"));
        }
    }
    let Some(below) = path.trim_start_matches('/').strip_prefix("api/") else { return Ok(()) };
    let below = if is_read { below.strip_suffix('/').unwrap_or(below) } else { below };
    if below.split('/').any(str::is_empty) {
        let detail = "no such path: a segment is empty, or the path ends in a slash";
        return Err(Problem::new(ProblemCode::NotFound, detail));
    }
    Ok(())
}

/// Checks that the query of an API request is UTF-8, because salvo would replace invalid bytes without an error. The
/// query of a WebSocket handshake is checked when the handshake reads it.
fn check_query(path: &str, query: &str) -> Result<(), Problem> {
    if !path.starts_with("/api/") || decoded(query).is_some() {
        return Ok(());
    }
    Err(Problem::invalid("the query is not UTF-8 in percent-encoding"))
}

fn decoded(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    let whole = text.match_indices('%').all(|(at, _)| digit(at + 1) && digit(at + 2));
    percent_decode_str(text).decode_utf8().ok().filter(|_| whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_is_none() {
        for host in ["parlor", "parlor:80", "parlor:", "127.0.0.1:8001", "[::1]", "[::1]:80", "a-b_c.example"]
        {
            assert!(is_host(&HeaderValue::from_static(host)), "{host}");
        }
        for host in
            ["", " ", "a b", "a,b", "user@host", "a/b", "a?b", "a:b", "a:99999", ":80", "[::1", "a:+1", "a#b"]
        {
            assert!(!is_host(&HeaderValue::from_static(host)), "{host}");
        }
    }

    #[test]
    fn paths_that_others_resolve_differently_are_refused() {
        for path in [
            "/",
            "/page/style.css",
            "//ws/chat/",
            "/api/v1/rooms/7",
            "//api/v1/rooms",
            "/api/v1/users/a%2Fb",
            "/api/v1/users/%E2%82%AC",
            "/a.b/..c",
            "/ws//chat",
        ] {
            assert!(check_path(path, false).is_ok(), "{path}");
        }
        for path in [
            "/.",
            "/..",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/.%2e",
            "/%FF",
            "/a/%C3%28",
            "/%",
            "/%4",
            "/%zz",
            "/api/v1/rooms/",
            "/api/v1//rooms",
            "/api/v1/rooms//",
            "/api/v1/users//export",
            "/api//",
            "//api/v1/rooms/7/",
        ] {
            assert!(check_path(path, false).is_err(), "{path}");
        }
        assert!(check_path("/api/v1/rooms/7/", true).is_ok());
        assert!(check_path("/api/v1/rooms/7//", true).is_err());
        assert!(check_query("/api/v1/rooms", "user_id=%FF").is_err());
        assert!(check_query("/api/v1/rooms", "user_id=%E2%82%AC").is_ok());
    }
}
