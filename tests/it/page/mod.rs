//! Tests of the messenger (the web page that is part of Parlor) in a real browser.

mod accessibility;
mod api_pages;
mod conversation;
mod ended_connections;
mod keyboard;
mod later_connections;
mod links;
mod long_rooms;
mod members_panel;
mod narrow_screen;
mod other_origin;
mod page_files;
mod refused_token;
mod room_list;
mod unread;

use std::net::SocketAddr;

use serde_json::Value;

use crate::support::{Browser, Server, Window};

const SECRET: &str = "a secret of the tests, at least 32 bytes long";

/// A selector that matches while the page has a connection.
const OPEN: &str = "#state[data-state=open]";

/// Returns the `XPath` of messages with this text that the server has confirmed.
fn message(text: &str) -> String {
    format!(r#"//li[contains(@class,"message")][@data-id][.//*[@class="text"][.="{text}"]]"#)
}

/// Returns the `XPath` of confirmed messages with this text and this status.
fn message_that_is(status: &str, text: &str) -> String {
    format!(r#"{}[@data-status="{status}"]"#, message(text))
}

/// Returns the `XPath` of the room with this name in the list.
fn room(name: &str) -> String {
    format!(r#"//button[@class="room"][*[@class="name"][.="{name}"]]"#)
}

/// Returns the `XPath` of the room with this name. It matches only while the room's element with the CSS class `part`
/// shows `text`.
fn room_with(name: &str, part: &str, text: &str) -> String {
    format!(r#"{}[*[@class="{part}"][not(@hidden)][.="{text}"]]"#, room(name))
}

/// Opens the page as one of its example users, and waits for the connection.
async fn enter<'b>(browser: &'b Browser, url: &str, user: u8) -> Window<'b> {
    let window = browser.window(&format!("{url}#{user}")).await;
    window.see(OPEN).await;
    window
}

/// Signs in as user 1 with a token. `address` is the server's own address, or the address of a [`Link`] to the server.
async fn enter_by_token(window: &Window<'_>, server: &Server, address: SocketAddr) {
    window.goto(&format!("http://{address}/")).await;
    window.click("#use-token").await;
    sign_in(window, &server.token(1).sign()).await;
    window.see(OPEN).await;
}

/// Ends the page's pause before its next try to connect.
async fn online(window: &Window<'_>) {
    window.script("dispatchEvent(new Event('online'))").await;
}

/// Makes a room with these users and this name in the page's dialog.
async fn make_room(window: &Window<'_>, people: &[u8], name: Option<&str>) {
    window.click("#add-room").await;
    for person in people {
        window.click(&format!("//label[@class='person'][*[@class='name'][.='User {person}']]")).await;
    }
    if let Some(name) = name {
        window.fill("#new-room-name", name).await;
    }
    window.click("#new-room-make").await;
}

/// Sends a message in the page, and waits until the server has confirmed it.
async fn say(window: &Window<'_>, text: &str) {
    window.fill("#composer", text).await;
    window.click("#send").await;
    window.see(&message(text)).await;
}

/// Returns the texts of all messages on the page, oldest first.
async fn texts(window: &Window<'_>) -> Value {
    let read = "return [...document.querySelectorAll('#messages .text')].map((text) => text.textContent)";
    window.script(read).await
}

/// Makes the page record each value of an attribute of the element `what` from now on. So the test also sees values
/// that last only for a moment.
async fn note(window: &Window<'_>, what: &str, attribute: &str) {
    let script = format!(
        "const noted = window.noted = []; const element = document.querySelector('{what}'); \
         const note = () => {{ const value = element.getAttribute('{attribute}'); \
                              if (value !== noted.at(-1)) noted.push(value); }}; \
         new MutationObserver(note).observe(element, {{ attributeFilter: ['{attribute}'] }})"
    );
    window.script(&script).await;
}

/// Returns the values that [`note`] has recorded.
async fn noted(window: &Window<'_>) -> Value {
    window.script("return window.noted").await
}

/// Enters a token into the form, and submits the form.
async fn sign_in(window: &Window<'_>, token: &str) {
    window.see("#token").await.clear().await.unwrap();
    window.fill("#token", token).await;
    window.click("#enter").await;
}
