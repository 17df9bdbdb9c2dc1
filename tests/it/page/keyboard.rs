//! Keyboard access to the messages: Tab stops once at the list of messages, and other keys move between messages.

use super::long_rooms::long_room;
use super::{enter_by_token, message, room};
use crate::support::{Browser, Pointer, Window, key};

/// The largest number of Tab presses from a room in the list to the box for new messages.
const MOST_TABS: usize = 6;

/// Presses a key. Asserts that the element `what` then has the focus.
async fn press(window: &Window<'_>, key: &str, what: &str) {
    window.press(key).await;
    window.see(&format!("{what}:focus")).await;
}

#[tokio::test]
async fn the_log_is_one_tab_stop() {
    let server = long_room(60).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, server.address()).await;
    window.see(&message("number 60")).await;
    window.click(&room("User 2")).await;
    window.script("document.querySelector('.room').focus()").await;
    let mut tabs = 0;
    while window.script("return document.activeElement.id === 'composer'").await != true {
        tabs += 1;
        assert!(tabs <= MOST_TABS, "the composer is not reached");
        window.press(key::TAB).await;
    }
    let stops = "return document.querySelectorAll('#log [tabindex=\"0\"]').length";
    assert_eq!(window.script(stops).await, 1);
    browser.close().await;
}

#[tokio::test]
async fn arrows_move_between_messages_and_buttons() {
    let server = long_room(20).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, server.address()).await;
    window.see(&message("number 1")).await;
    window.click("#composer").await;
    press(&window, key::BACK_TAB, ".message[data-id='20']").await;
    press(&window, key::UP, ".message[data-id='19']").await;
    press(&window, key::UP, ".message[data-id='18']").await;
    // User 1 wrote message 18, so this message has buttons to edit and delete.
    press(&window, key::RIGHT, "[data-id='18'] [data-action=edit]").await;
    press(&window, key::RIGHT, "[data-id='18'] [data-action=delete]").await;
    press(&window, key::LEFT, "[data-id='18'] [data-action=edit]").await;
    press(&window, key::DOWN, ".message[data-id='19']").await;
    press(&window, key::HOME, ".message[data-id='1']").await;
    press(&window, key::END, ".message[data-id='20']").await;
    // Tab first moves through the buttons of the focused message, and then leaves the list.
    press(&window, key::TAB, "[data-id='20'] [data-action=edit]").await;
    press(&window, key::TAB, "[data-id='20'] [data-action=delete]").await;
    press(&window, key::TAB, "#composer").await;

    // A new message does not move the focus away from the focused message.
    press(&window, key::BACK_TAB, ".message[data-id='20']").await;
    press(&window, key::UP, ".message[data-id='19']").await;
    let mut two = server.join(2, 1).await;
    two.say("Another").await;
    window.see(&message("Another")).await;
    window.see(".message[data-id='19']:focus").await;
    press(&window, key::END, ".message[data-id='21']").await;
    browser.close().await;
}
