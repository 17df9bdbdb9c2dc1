//! Two users chat in the messenger: they send, read, edit and delete messages, by mouse and by keyboard.

use serde_json::json;

use super::{OPEN, message, message_that_is, note, noted, room_with, say};
use crate::support::{Browser, Home, Pointer, Window, key};

/// Messages with these texts must never run as code in the other user's browser.
const MARKUP: &str = "<img src=x onerror=alert(1)>";
const SCRIPT: &str = "<script>alert(2)</script>";

#[tokio::test]
async fn two_people_chat() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;

    let one = browser.window(&server.url("/")).await;
    one.click("#choose-1").await;
    one.see(OPEN).await;
    assert_eq!(one.text("#room-name").await, "User 2");
    one.see("#empty:not([hidden])").await;
    say(&one, "Shall we have lunch?").await;
    // User 2 is not connected yet, so the message has the status `send`.
    one.see(&message_that_is("send", "Shall we have lunch?")).await;
    note(&one, ".own", "data-status").await;

    let two = browser.window(&server.url("/")).await;
    two.click("#choose-2").await;
    two.see(&format!(r#"{}[contains(@class,"theirs")]"#, message("Shall we have lunch?"))).await;
    one.see(r#"//*[@class="readers"][not(@hidden)][.="Read by User 2"]"#).await;
    one.see(&message_that_is("read", "Shall we have lunch?")).await;
    one.see(r#".own[data-status=read] .status[aria-label="Read"]"#).await;
    let noted = noted(&one).await;
    assert!(noted == json!(["delivered", "read"]) || noted == json!(["read"]), "{noted}");

    say(&two, "Yes, at noon").await;
    one.see(&format!(r#"{}[contains(@class,"theirs")]"#, message("Yes, at noon"))).await;
    two.see(&message_that_is("read", "Yes, at noon")).await;

    // Typed text is shown as text, never as HTML, in every part of the page.
    for text in [MARKUP, SCRIPT] {
        say(&one, text).await;
        two.see(&message(text)).await;
        one.click(&format!("{}//button[@data-action='edit']", message(text))).await;
        assert_eq!(one.text("#editing-text").await, text);
        one.click("#cancel-edit").await;
        two.see(&room_with("User 1", "preview", text)).await;
    }
    for window in [&one, &two] {
        let planted = "return document.querySelectorAll('#messenger img[src=x], #messenger script').length";
        assert_eq!(window.script(planted).await, 0);
        assert!(!window.has_alert().await);
    }

    one.click(&format!("{}//button[@data-action='edit']", message("Shall we have lunch?"))).await;
    one.press(key::END).await;
    one.press(" And coffee?").await;
    one.click("#send").await;
    let after = message("Shall we have lunch? And coffee?");
    for window in [&one, &two] {
        window.see(&format!("{after}//*[@class='edited'][not(@hidden)]")).await;
        window.miss(&message("Shall we have lunch?")).await;
    }

    // A delete needs two clicks. After the first click, the user can still keep the message by the button `keep`.
    let delete = |button: &str| format!("{}//button[@data-action='{button}']", message("Yes, at noon"));
    two.click(&delete("delete")).await;
    two.click(&delete("keep")).await;
    two.click(&delete("delete")).await;
    two.click(&delete("confirm-delete")).await;
    for window in [&one, &two] {
        window.miss(&message("Yes, at noon")).await;
    }

    // After a reload, both pages still show everything.
    for window in [&one, &two] {
        window.reload().await;
        window.see(OPEN).await;
        window.see(&format!("{after}[@data-status='read']//*[@class='edited'][not(@hidden)]")).await;
        window.see(&message(MARKUP)).await;
        window.see(&message(SCRIPT)).await;
        window.miss(&message("Yes, at noon")).await;
        assert!(!window.has_alert().await);
    }

    // Until now the browser's log is empty. Now the test injects content, which the page's content security policy must
    // refuse.
    assert_eq!(browser.log().await, [""; 0]);
    one.script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(3)>')").await;
    one.script("document.body.append(Object.assign(document.createElement('script'), {text: 'alert(4)'}))")
        .await;
    let log = browser.log().await.join("\n");
    assert!(log.contains("Content Security Policy") && log.contains("script-src"), "{log}");
    assert!(!one.has_alert().await);

    browser.close().await;
    let log = server.stop().await;
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn the_keyboard_alone_will_do() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&server.url("/")).await;
    window.see("#choose-1").await;
    until_focus_is(&window, key::TAB, "#choose-1").await;
    window.press(key::ENTER).await;
    window.see(OPEN).await;
    window.see("#composer:focus").await;

    window.press("Good mornin").await;
    window.press(key::ENTER).await;
    window.see(&message("Good mornin")).await;

    // Arrow up edits the user's last message. Escape ends the edit.
    window.press(key::UP).await;
    window.see("#editing:not([hidden])").await;
    window.press(" to nobody").await;
    window.press(key::ESCAPE).await;
    window.see("#editing[hidden]").await;
    window.press(key::UP).await;
    window.press("g").await;
    window.press(key::ENTER).await;
    window.see(&message("Good morning")).await;
    window.miss(&message("Good mornin")).await;

    until_focus_is(&window, key::BACK_TAB, ".message").await;
    until_focus_is(&window, key::TAB, "[data-action=delete]").await;
    window.press(key::ENTER).await;
    window.see("[data-action=keep]:focus").await;
    window.press(key::ESCAPE).await;
    window.see("[data-action=delete]:focus").await;
    window.press(key::ENTER).await;
    until_focus_is(&window, key::BACK_TAB, "[data-action=confirm-delete]").await;
    window.press(key::ENTER).await;
    window.miss(&message("Good morning")).await;
    window.see("#composer:focus").await;

    // Shift and Enter start a new line in the same message.
    window.press("one\u{E008}\u{E007}\u{E000}two\u{E007}").await;
    window.see(&message("one\ntwo")).await;
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn focus_stays_in_the_composer_after_send_is_clicked() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&server.url("/")).await;
    window.click("#choose-1").await;
    window.see(OPEN).await;
    window.click("#composer").await;
    for text in ["first", "second"] {
        // `press` types into the element that has the focus. So the box for new messages must have the focus after each
        // send.
        window.press(text).await;
        window.click("#send").await;
        window.see(&message(text)).await;
        window.see("#composer:focus").await;
    }
    browser.close().await;
}

/// Presses the key until the element `what` has the focus, at most 12 times.
async fn until_focus_is(window: &Window<'_>, key: &str, what: &str) {
    for _ in 0..12 {
        if window.script(&format!("return document.activeElement.matches('{what}')")).await == true {
            return;
        }
        window.press(key).await;
    }
    panic!("the focus does not come to {what}");
}
