//! The messenger in a real browser, on the program's own server.

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

/// There is a connection.
const OPEN: &str = "#state[data-state=open]";

/// `XPath` of the messages with a text, as far as the server has confirmed them.
fn message(text: &str) -> String {
    format!(r#"//li[contains(@class,"message")][@data-id][.//*[@class="text"][.="{text}"]]"#)
}

/// The same, for one with a status.
fn message_that_is(status: &str, text: &str) -> String {
    format!(r#"{}[@data-status="{status}"]"#, message(text))
}

/// `XPath` of a room in the list, by its name.
fn room(name: &str) -> String {
    format!(r#"//button[@class="room"][*[@class="name"][.="{name}"]]"#)
}

/// `XPath` of a room in the list where a part of it reads so.
fn room_with(name: &str, part: &str, text: &str) -> String {
    format!(r#"{}[*[@class="{part}"][not(@hidden)][.="{text}"]]"#, room(name))
}

/// Opens the page as one of its people, and waits for the connection.
async fn enter<'b>(browser: &'b Browser, url: &str, user: u8) -> Window<'b> {
    let window = browser.window(&format!("{url}#{user}")).await;
    window.see(OPEN).await;
    window
}

/// Enters as user 1 with a token of one's own, through a server's own address, or that of a line to it.
async fn enter_by_token(window: &Window<'_>, server: &Server, address: SocketAddr) {
    window.goto(&format!("http://{address}/")).await;
    window.click("#use-token").await;
    sign_in(window, &server.token(1).sign()).await;
    window.see(OPEN).await;
}

/// There is no use in waiting for the next try.
async fn online(window: &Window<'_>) {
    window.script("dispatchEvent(new Event('online'))").await;
}

/// Makes a room by the dialog.
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

async fn say(window: &Window<'_>, text: &str) {
    window.fill("#composer", text).await;
    window.click("#send").await;
    window.see(&message(text)).await;
}

/// What the log reads, from its beginning.
async fn texts(window: &Window<'_>) -> Value {
    let read = "return [...document.querySelectorAll('#messages .text')].map((text) => text.textContent)";
    window.script(read).await
}

/// Lets the page note each value that an attribute takes from now on, however soon the next one comes.
async fn note(window: &Window<'_>, what: &str, attribute: &str) {
    let script = format!(
        "const noted = window.noted = []; const element = document.querySelector('{what}'); \
         const note = () => {{ const value = element.getAttribute('{attribute}'); \
                              if (value !== noted.at(-1)) noted.push(value); }}; \
         new MutationObserver(note).observe(element, {{ attributeFilter: ['{attribute}'] }})"
    );
    window.script(&script).await;
}

async fn noted(window: &Window<'_>) -> Value {
    window.script("return window.noted").await
}

/// Enters with a token of one's own.
async fn sign_in(window: &Window<'_>, token: &str) {
    window.see("#token").await.clear().await.unwrap();
    window.fill("#token", token).await;
    window.click("#enter").await;
}
