//! Fuzzes the parsers of the API. [`crate::fuzzing`] lists all fuzz targets.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a fuzz target reports an error")]

use futures_util::FutureExt;
use handlers::{Draft, HistoryCursor, MAX_ID};
use salvo::Extractible as _;
use salvo::http::{StatusCode, uri::Uri};
use salvo::prelude::*;
use serde_json::Value;

use super::json_body::JsonBody;
use super::members::MembershipBody;
use super::messages::{NewMessage, NewText};
use super::page_query::{MAX_LIMIT, PageQuery};
use super::problem::Problem;
use super::room_bounds::MAX_MEMBERS;
use super::room_list::{self, ListRoomsQuery};
use super::rooms::{NewRoomBody, PlannedRoom, RenameBody};
use crate::store::RoomListPosition;

/// The longest text of `detail` in an error answer, in characters.
pub(crate) const SAID_CHARS: usize = 1_000;

/// The longest text of a message, in characters. It is the default of `limits.text_chars`.
const TEXT_CHARS: usize = 4096;

/// Parses the body of a request. The first byte chooses the kind of the body. `r` is a new room, `n` a room's new name,
/// `m` a membership, and `p` a message. Any other byte means a message's new text.
pub fn bodies(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    let read = match kind {
        b'r' => JsonBody::<NewRoomBody>::read(body)
            .and_then(|body| body.0.planned())
            .map(|room| assert_plan(&room)),
        b'n' => JsonBody::<RenameBody>::read(body).and_then(|body| body.0.name()).map(|_| ()),
        b'm' => JsonBody::<MembershipBody>::read(body).and_then(|body| body.0.checked()).map(|_| ()),
        b'p' => JsonBody::<NewMessage>::read(body).and_then(|body| said(body.0.text)),
        _ => JsonBody::<NewText>::read(body).and_then(|body| said(body.0.text)),
    };
    if let Err(problem) = read {
        assert_told(problem);
    }
}

fn said(text: Draft) -> Result<(), Problem> {
    let text = text.within(TEXT_CHARS, "text")?;
    assert!(text.as_str().chars().count() <= TEXT_CHARS);
    Ok(())
}

fn assert_plan(PlannedRoom { members, name, .. }: &PlannedRoom) {
    assert!((1..=MAX_MEMBERS).contains(&members.len()));
    assert!(name.as_ref().is_none_or(|name| !name.trim().is_empty()));
}

/// Parses the query of a URL with the parsers of two endpoints: the list of messages and the list of rooms.
pub(crate) fn query(uri: &Uri) {
    let (mut request, mut depot) = (Request::new(), Depot::new());
    *request.uri_mut() = uri.clone();
    match PageQuery::extract(&mut request, &mut depot).now_or_never().expect("nothing here waits") {
        Ok(PageQuery { from, limit }) => {
            assert!((1..=MAX_LIMIT).contains(&limit));
            assert!(
                matches!(
                    from,
                    HistoryCursor::Newest | HistoryCursor::Before(_) | HistoryCursor::After(0..=MAX_ID)
                ),
                "{from:?}"
            );
        }
        Err(problem) => assert_told(problem),
    }
    match ListRoomsQuery::extract(&mut request, &mut depot).now_or_never().expect("nothing here waits") {
        Ok(ListRoomsQuery { user, limit, .. }) => {
            assert_eq!(user.to_string().parse(), Ok(user));
            assert!((1..=room_list::LIMIT.1).contains(&limit));
        }
        Err(problem) => assert_told(problem),
    }
}

/// Parses the value `next` of a page of rooms. Clients send this value back as `before`.
pub(crate) fn page(text: &str) {
    if let Ok(position) = text.parse::<RoomListPosition>() {
        assert_eq!(position.to_string().parse(), Ok(position));
    }
}

/// Asserts that a problem is an error of the client (status 400), with a known code and a short text.
fn assert_told(problem: Problem) {
    let mut response = Response::new();
    problem.render(&mut response);
    assert_eq!(response.status_code, Some(StatusCode::BAD_REQUEST));
    let salvo::http::ResBody::Once(body) = &response.body else { return };
    let problem: Value = serde_json::from_slice(body).unwrap();
    assert!(["bad_json", "invalid_request"].contains(&problem["code"].as_str().unwrap()), "{problem}");
    assert!((1..=SAID_CHARS).contains(&problem["detail"].as_str().unwrap().chars().count()), "{problem}");
}
