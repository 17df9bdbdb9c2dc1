//! The messenger after a lost connection. It resumes or loads everything again, even if the next connection breaks
//! while it loads. A removed member sees a notice.

use reqwest::Method;
use serde_json::{Value, json};

use super::long_rooms::long_room;
use super::{OPEN, enter_by_token, message, online, room, say};
use crate::support::{Browser, Link, Pointer, Server, State, Window};

const GONE: &str = "You are no longer in this room";

/// Returns a script that runs before the page's own scripts, replaces `WebSocket`, and numbers the page's connections.
/// `Math.random` returns a million. So the page's pause before a reconnect lasts until the test sends the event
/// `online`.
///
/// The second connection sends an invalid cursor, so the server does not resume. The script drops this connection's
/// frames with the action `action`. The script also empties the list of rooms in the third connection's `ready` frame,
/// as if no room had changed. So the page can't learn the rooms from this frame, and must request them.
fn anew_without(action: &str) -> String {
    format!(
        "Math.random = () => 1e6; \
         const Real = WebSocket; \
         let made = 0; \
         window.WebSocket = class extends Real {{ \
           constructor(url, protocols) {{ \
             made += 1; \
             super(made === 2 ? url.replace(/since=.*/, 'since=forgotten') : url, protocols); \
             this.number = made; \
             document.documentElement.dataset.made = made; \
             window.last = this; \
           }} \
           send(frame) {{ \
             if (this.number !== 2 || JSON.parse(frame).action !== '{action}') super.send(frame); \
           }} \
           addEventListener(kind, listener) {{ \
             if (this.number !== 3 || kind !== 'message') return super.addEventListener(kind, listener); \
             super.addEventListener(kind, ({{ data }}) => {{ \
               const frame = JSON.parse(data); \
               if (frame.type === 'ready') frame.rooms = []; \
               listener({{ data: JSON.stringify(frame) }}); \
             }}); \
           }} \
         }}"
    )
}

/// Closes the page's connection, and waits until the page shows that it is not connected.
async fn lose(window: &Window<'_>) {
    window.script("last.close()").await;
    window.see("#state[data-state=waiting]").await;
}

/// Ends the page's pause before its next try to connect, and waits until the connection with this number is open.
async fn come_back(window: &Window<'_>, number: u8) {
    online(window).await;
    window.see(&format!("[data-made='{number}'] {OPEN}")).await;
}

/// Lets the page record the text of each notice, and whether the user can see the notice.
async fn note_notices(window: &Window<'_>) {
    let script = "const noted = window.notices = []; \
        const element = document.getElementById('notice'); \
        const note = () => element.textContent && noted.push([element.textContent, element.checkVisibility()]); \
        new MutationObserver(note).observe(element, { childList: true, characterData: true, subtree: true })";
    window.script(script).await;
}

/// Sends a message and waits until the server has confirmed it, so that all earlier answers have arrived. Then returns
/// the recorded notices.
async fn notices(window: &Window<'_>, server: &Server) -> Value {
    server.room(&[1, 2]).await;
    window.click(&room("User 2")).await;
    say(window, "Is this on?").await;
    window.script("return notices").await
}

#[tokio::test]
async fn a_new_beginning_that_is_cut_off_is_begun_again() {
    let server = long_room(20).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    window.begin_with(&anew_without("history")).await;
    enter_by_token(&window, &server, server.address()).await;
    window.see(&message("number 1")).await;
    lose(&window).await;
    come_back(&window, 2).await;
    // The page still shows message 18, but has not loaded it on the second connection. So the click on "edit" must have
    // no effect.
    window.click(&format!("{}//button[@data-action='edit']", message("number 18"))).await;
    lose(&window).await;
    come_back(&window, 3).await;
    let mut two = server.join(2, 1).await;
    two.say("After").await;
    window.see(&message("After")).await;
    window.see(&message("number 1")).await;
    say(&window, "It goes on").await;
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn deep_room_is_found_again_when_the_list_was_interrupted() {
    let server = Server::start(&[("PAGE__ENABLED", "on")]).await;
    // User 1 has 51 rooms, and a page of the list has 50 rooms. The room with user 2 has the oldest activity, so the
    // first page lacks this room.
    for other in 2..=52 {
        server.room(&[1, other]).await;
    }
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    window.begin_with(&anew_without("rooms")).await;
    enter_by_token(&window, &server, server.address()).await;
    window.click("#more-rooms").await;
    window.click(&room("User 2")).await;
    window.see("//h2[@id='room-name'][.='User 2']").await;
    lose(&window).await;
    come_back(&window, 2).await;
    window.miss(&room("User 2")).await;
    lose(&window).await;
    come_back(&window, 3).await;
    window.see(&room("User 2")).await;
    say(&window, "Still here").await;
    browser.close().await;
}

#[tokio::test]
async fn removed_member_sees_a_notice() {
    let server = Server::start(&[("PAGE__ENABLED", "on")]).await;
    let group = server.room(&[1, 2, 3]).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, server.address()).await;
    window.see("#messenger[data-pane=room]").await;
    note_notices(&window).await;
    remove(&server, group).await;
    window.see("#messenger[data-pane=rooms]").await;
    assert_eq!(notices(&window, &server).await, json!([[GONE, true]]));
    browser.close().await;
}

#[tokio::test]
async fn removed_member_sees_a_notice_when_the_page_starts_again() {
    let server = Server::start(&[("PAGE__ENABLED", "on")]).await;
    let group = server.room(&[1, 2, 3]).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    window.begin_with(&anew_without("nothing")).await;
    enter_by_token(&window, &server, server.address()).await;
    window.see("#messenger[data-pane=room]").await;
    note_notices(&window).await;
    lose(&window).await;
    remove(&server, group).await;
    come_back(&window, 2).await;
    window.see("#messenger[data-pane=rooms]").await;
    assert_eq!(notices(&window, &server).await, json!([[GONE, true]]));
    browser.close().await;
}

/// Removes user 1 from a group.
async fn remove(server: &Server, group: i64) {
    let removed = server.call(Method::DELETE, &format!("/rooms/{group}/members/1"), Value::Null).await;
    assert_eq!(removed.0, 204, "{}", removed.1);
}

#[tokio::test]
async fn a_network_that_is_back_during_an_attempt_needs_no_pause() {
    let server = long_room(1).await;
    let link = Link::to_a_server(server.address()).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    window.begin_with(&anew_without("nothing")).await;
    enter_by_token(&window, &server, link.address).await;
    link.set(State::Cut);
    window.see("#state[data-state=waiting]").await;
    link.set(State::Held);
    online(&window).await;
    window.see("[data-made='2'] #state[data-state=connecting]").await;
    online(&window).await;
    link.set(State::Cut);
    window.see("[data-made='3']").await;
    browser.close().await;
}
