//! All parts of the messenger fit on the narrow screen of a phone.

use serde_json::json;

use super::{OPEN, message, room, say};
use crate::support::{Browser, Home, Pointer, Window};

#[tokio::test]
async fn a_phone_shows_all_of_it() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Finger).await;
    let window = browser.window(&server.url("/")).await;
    window.phone(360).await;
    window.see("#choose-1").await;
    fits(&window, "the chooser").await;
    window.click("#use-token").await;
    window.see("#sign-in:not([hidden])").await;
    fits(&window, "the form").await;

    window.goto(&server.url("/#1")).await;
    window.reload().await;
    window.see(OPEN).await;
    window.see(&room("User 2")).await;
    fits(&window, "the list").await;
    window.click("#add-room").await;
    window.see("#new-room[open]").await;
    fits(&window, "a new room").await;
    window.click("#new-room-cancel").await;
    window.click(&room("User 2")).await;
    window.see("#empty:not([hidden])").await;
    fits(&window, "the empty room").await;
    let words = "many words ".repeat(30);
    let words = words.trim_end();
    let word = "W".repeat(400);
    say(&window, words).await;
    say(&window, &word).await;
    fits(&window, "long messages").await;
    let button = |action: &str| format!("{}//button[@data-action='{action}']", message(words));
    window.click(&button("edit")).await;
    window.see("#editing:not([hidden])").await;
    fits(&window, "an edit").await;
    window.click("#cancel-edit").await;
    window.click(&button("delete")).await;
    window.see(&button("confirm-delete")).await;
    fits(&window, "the question before a delete").await;

    let too_long = "const box = document.getElementById('composer'); \
                    box.value = 'x'.repeat(4097); box.dispatchEvent(new Event('input'))";
    window.script(too_long).await;
    assert_eq!(window.text("#counter").await, "1 too many");
    fits(&window, "a text that is too long").await;
    assert!(window.see("#send").await.attr("disabled").await.unwrap().is_some());

    // A phone shows either the list or the room. The page's back button and the phone's back button both lead to the
    // list.
    window.click("#back").await;
    window.click(&room("User 2")).await;
    window.script("history.back()").await;
    window.click(&room("User 2")).await;
    assert_eq!(window.text("#room-name").await, "User 2");
    browser.close().await;
}

/// Asserts that no element is wider than the screen, and that no element scrolls sideways.
async fn fits(window: &Window<'_>, what: &str) {
    let sideways = "const sideways = [...document.querySelectorAll('body *')].filter((element) => \
                      ['auto', 'scroll'].includes(getComputedStyle(element).overflowX) \
                      && element.scrollWidth > element.clientWidth); \
                    const names = sideways.map((element) => element.id || element.className); \
                    return [innerWidth, document.documentElement.scrollWidth, names]";
    assert_eq!(window.script(sideways).await, json!([360, 360, []]), "{what}");
}
