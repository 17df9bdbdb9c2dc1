//! Rooms with many messages: the page loads them when the user scrolls, keeps its position, and holds at most 200
//! messages.

use std::ops::RangeInclusive;

use mongodb::bson::{DateTime, doc, oid::ObjectId};
use serde_json::{Value, json};

use super::{OPEN, enter_by_token, message, online, say};
use crate::support::{Browser, Link, Pointer, Server, State, Window, edited, key};

/// The number of messages in a long room.
const MANY: i64 = 10_000;

/// The largest number of messages that the page holds at a time.
pub(super) const MOST: u64 = 200;

/// A script that returns whether the list of messages is scrolled to its end.
pub(super) const AT_END: &str = "const { scrollHeight, scrollTop, clientHeight } = document.getElementById('scroller'); \
                      return scrollHeight - scrollTop - clientHeight < 2";

/// The function `drawn` for scripts. It waits until the browser has drawn the last change and dispatched its events.
const DRAWN: &str = "const drawn = () => new Promise((resolve) => \
                       requestAnimationFrame(() => setTimeout(resolve)));";

/// A script that scrolls up until message 1 is shown.
const TO_THE_TOP: &str = "const scroller = document.getElementById('scroller'); \
    return new Promise((resolve) => { \
      const look = () => { \
        scroller.scrollTop = 0; \
        if (document.querySelector('.message').dataset.id === '1') resolve(); else setTimeout(look, 5); \
      }; \
      look(); \
    })";

/// Starts a server with the page and a direct room of `count` messages. User 1 has read all messages.
pub(super) async fn long_room(count: i64) -> Server {
    long_room_read_up_to(count, count).await
}

/// Like [`long_room`], but user 1 has read only the messages up to `read`.
pub(super) async fn long_room_read_up_to(read: i64, count: i64) -> Server {
    let server = Server::start(&[("PAGE__ENABLED", "on")]).await;
    let room = server.room(&[1, 2]).await;
    write(&server, room, 1..=count).await;
    let members = server.collection("members").await;
    let member = doc! { "_id.room": room, "_id.user": 1_i64 };
    let updated =
        members.update_one(member, doc! { "$set": { "delivered": count, "read": read } }).await.unwrap();
    assert_eq!(updated.matched_count, 1);
    server
}

/// Writes messages with these ids. The two members send alternately.
async fn write(server: &Server, room: i64, numbers: RangeInclusive<i64>) {
    let start = DateTime::now().timestamp_millis() - MANY * 1000;
    let message = |n: i64| {
        let at = DateTime::from_millis(start + n * 1000);
        doc! {
            "_id": { "room": room, "n": n }, "sender": n % 2 + 1, "text": format!("number {n}"),
            "created_at": at, "updated_at": at, "write_id": ObjectId::new(),
        }
    };
    server.collection("messages").await.insert_many(numbers.map(message)).await.unwrap();
}

/// Sends a message. Returns the time from the click until the page shows the message, in ms. Before the call, the last
/// message on the page must have a different text.
async fn time_to_send(window: &Window<'_>, text: &str) -> f64 {
    let script = format!(
        "const box = document.getElementById('composer'); box.value = '{text}'; \
         box.dispatchEvent(new Event('input')); \
         const last = () => [...document.querySelectorAll('#messages .text')].at(-1)?.textContent; \
         return new Promise((resolve) => {{ \
           const began = performance.now(); \
           new MutationObserver(() => last() === '{text}' && resolve(performance.now() - began)) \
             .observe(document.getElementById('messages'), {{ childList: true, subtree: true }}); \
           document.getElementById('send').click(); \
         }})"
    );
    window.script(&script).await.as_f64().unwrap()
}

pub(super) async fn in_page(window: &Window<'_>) -> u64 {
    window.script("return document.querySelectorAll('.message').length").await.as_u64().unwrap()
}

#[tokio::test]
async fn older_ones_come_by_scrolling_up_and_the_place_is_kept() {
    let server = long_room(130).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, server.address()).await;
    window.see(&message("number 130")).await;
    window.see(&message("number 81")).await;
    assert_eq!(window.script(AT_END).await, true);

    let scroll = "const scroller = document.getElementById('scroller'); \
        const first = document.querySelector('.message'); \
        return new Promise((resolve) => { \
          new MutationObserver((_, observer) => { \
            observer.disconnect(); \
            resolve([first.dataset.id, Math.round(first.getBoundingClientRect().top - before)]); \
          }).observe(document.getElementById('messages'), { childList: true }); \
          scroller.scrollTop = 100; \
          const before = first.getBoundingClientRect().top; \
        })";
    let moved: Value = window.script(scroll).await;
    assert_eq!(moved[1], 0, "{moved}");
    window.script("document.getElementById('scroller').scrollTop = 0").await;
    window.see(&message("number 1")).await;
    assert_eq!(window.script("return document.querySelectorAll('.message').length").await, 130);

    // A new message does not scroll the page while the user reads older messages. A button at the bottom announces the
    // new message.
    let mut two = server.join(2, 1).await;
    two.say("And another").await;
    window.see("//*[@id='new-messages'][not(@hidden)][starts-with(., '1 new message')]").await;
    assert_eq!(window.script(AT_END).await, false);
    window.click("#new-messages").await;
    window.see(&message("And another")).await;
    window.see("#new-messages[hidden]").await;
    assert_eq!(window.script(AT_END).await, true);
    browser.close().await;
}

#[tokio::test]
async fn the_end_is_followed_also_where_the_log_has_less_height() {
    let server = long_room(20).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, server.address()).await;
    window.see(&message("number 1")).await;
    // The script scrolls to the end, and immediately shows the banner, which shrinks the list. The page receives the
    // scroll event only after the list has shrunk, and must stay at the end.
    let shrink = "const scroller = document.getElementById('scroller'); \
        return (async () => { \
          scroller.scrollTop -= 1; \
          await drawn(); \
          scroller.scrollTop = scroller.scrollHeight; \
          document.getElementById('banner').hidden = false; \
          await drawn(); \
          await drawn(); \
        })()";
    window.script(&format!("{DRAWN} {shrink}")).await;
    assert_eq!(window.script(AT_END).await, true);

    // User 1 scrolls up slowly, one pixel at a time. The page must not scroll back to the end.
    let slowly = "const scroller = document.getElementById('scroller'); \
        return (async () => { \
          for (let step = 0; step < 60; step++) { scroller.scrollTop -= 1; await drawn(); } \
          document.getElementById('banner').hidden = true; \
          await drawn(); \
        })()";
    window.script(&format!("{DRAWN} {slowly}")).await;
    assert_eq!(window.script(AT_END).await, false);
    browser.close().await;
}

#[tokio::test]
async fn own_message_is_shown_when_the_page_is_scrolled_up() {
    let server = long_room(20).await;
    let link = Link::to_a_server(server.address()).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, link.address).await;
    window.see(&message("number 1")).await;
    // The link holds back the server's answer. The page must show the message before the answer arrives.
    link.set(State::Held);
    let text = "words".repeat(100);
    let send = format!(
        "const scroller = document.getElementById('scroller'); \
         const box = document.getElementById('composer'); \
         return (async () => {{ \
           scroller.scrollTop = 0; \
           await drawn(); \
           box.value = '{text}'; \
           box.dispatchEvent(new Event('input')); \
           document.getElementById('send').click(); \
           await drawn(); \
           await drawn(); \
         }})()"
    );
    window.script(&format!("{DRAWN} {send}")).await;
    window.see(".pending").await;
    assert_eq!(window.script(AT_END).await, true);
    link.set(State::Open);
    window.see(&message(&text)).await;
    window.script(&format!("{DRAWN} return drawn()")).await;
    assert_eq!(window.script(AT_END).await, true);
    browser.close().await;
}

/// While the page is disconnected, the room gets 2,100 messages. These are more than a resume contains, and more than
/// the client library loads to fill a gap.
#[tokio::test]
async fn scrolled_page_moves_to_the_end_when_it_missed_too_much() {
    let server = long_room(300).await;
    let room = server.room(&[1, 2]).await;
    let link = Link::to_a_server(server.address()).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, link.address).await;
    window.see(&message("number 300")).await;
    window.script(TO_THE_TOP).await;
    window.miss(&message("number 300")).await;
    window.click(&format!("{}//button[@data-action='edit']", message("number 2"))).await;
    window.press(key::END).await;
    window.press(", as it was").await;

    link.set(State::Cut);
    window.see("#state[data-state=waiting]").await;
    write(&server, room, 301..=2400).await;
    link.set(State::Open);
    online(&window).await;
    window.see(&message("number 2400")).await;
    window.see(&message("number 2351")).await;
    assert_eq!(window.script(AT_END).await, true);

    // The page has dropped message 2 from its list, but the user can still complete the edit of this message.
    let mut two = server.join(2, 1).await;
    window.see("#editing:not([hidden])").await;
    window.click("#send").await;
    two.until(edited(2, "number 2, as it was")).await;
    window.see("#editing[hidden]").await;
    browser.close().await;
}

#[tokio::test]
async fn messages_have_no_gap_after_a_long_absence() {
    long_absence("").await;
}

/// The page reconnects with an invalid cursor. The server does not resume, as if too much had changed since the cursor.
/// The page then loads the room again.
#[tokio::test]
async fn page_reloads_the_room_when_its_cursor_is_too_old() {
    let forget = "const Real = WebSocket; \
        window.WebSocket = class extends Real { \
          constructor(url, protocols) { super(url.replace(/since=.*/, 'since=forgotten'), protocols); } \
        }";
    long_absence(forget).await;
}

/// Disconnects the page while 300 messages are written. Then scrolls up through all messages. `script` runs before the
/// page's own scripts.
async fn long_absence(script: &str) {
    let server = long_room(20).await;
    let link = Link::to_a_server(server.address()).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    window.begin_with(script).await;
    enter_by_token(&window, &server, link.address).await;
    window.see(&message("number 20")).await;
    link.set(State::Cut);
    window.see("#state[data-state=waiting]").await;
    let mut two = server.join(2, 1).await;
    for n in 21..=320 {
        two.say(&format!("number {n}")).await;
    }
    while two.until_kind("chat_message").await["message"]["message_id"] != 320 {}
    link.set(State::Open);
    online(&window).await;
    window.see(OPEN).await;
    window.see(&message("number 320")).await;
    let up = "const scroller = document.getElementById('scroller'); \
        const ids = () => [...document.querySelectorAll('#messages .message')].map(({ dataset }) => Number(dataset.id)); \
        return new Promise((resolve) => { \
          const seen = new Set(), holes = []; \
          const look = () => { \
            scroller.scrollTop = 0; \
            const now = ids(); \
            now.forEach((id, at) => { seen.add(id); if (at > 0 && id !== now[at - 1] + 1) holes.push(id); }); \
            if (now[0] === 1 || holes.length) resolve([seen.size, holes]); else setTimeout(look, 5); \
          }; \
          look(); \
        })";
    assert_eq!(window.script(up).await, json!([320, []]));
    browser.close().await;
}

#[tokio::test]
async fn page_stays_fast_with_ten_thousand_messages() {
    let server = long_room(MANY).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, server.address()).await;
    window.see(&message("number 10000")).await;
    let time = time_to_send(&window, "at once").await;
    assert!(time < 1000.0, "{time} ms");

    // The page scrolls up by 2,000 messages and still holds at most `MOST` messages.
    let up = "const scroller = document.getElementById('scroller'); \
        const first = () => Number(document.querySelector('.message').dataset.id); \
        return new Promise((resolve) => { \
          const look = () => { \
            scroller.scrollTop = 0; \
            if (first() <= 8000) resolve(first()); else setTimeout(look, 5); \
          }; \
          look(); \
        })";
    let first = window.script(up).await;
    assert!(in_page(&window).await <= MOST, "{first}");
    // The page scrolls down page by page. The list must show the messages without a gap.
    let down = "const scroller = document.getElementById('scroller'); \
        const ids = () => [...document.querySelectorAll('#messages .message')].map(({ dataset }) => Number(dataset.id)); \
        return new Promise((resolve) => { \
          const holes = []; \
          const look = () => { \
            scroller.scrollTop = scroller.scrollHeight; \
            const now = ids(); \
            now.forEach((id, at) => { if (at > 0 && id !== now[at - 1] + 1) holes.push(id); }); \
            if (now.at(-1) > 8500 || holes.length) resolve(holes); else setTimeout(look, 5); \
          }; \
          look(); \
        })";
    assert_eq!(window.script(down).await, json!([]));
    assert!(in_page(&window).await <= MOST);
    // The user sends a message while the page is scrolled far up. The page must show the message immediately.
    let time = time_to_send(&window, "from far above").await;
    assert!(time < 1000.0, "{time} ms");
    assert!(in_page(&window).await <= MOST);
    say(&window, "and on").await;
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}
