//! The messenger's list of rooms: new rooms, last messages, unread counts, presence, and notifications for a hidden
//! page.

use serde_json::json;

use super::{enter, make_room, message, message_that_is, room, room_with, say};
use crate::support::{Browser, Home, Pointer, Window};

const GROUP: &str = "Lunch & <b>more</b>";

async fn title(window: &Window<'_>, title: &str) {
    window.see(&format!("/html[head/title[.='{title}']]")).await;
}

#[tokio::test]
async fn a_new_group_is_read_by_one_after_the_other() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let url = server.url("/");
    let (one, two) = (enter(&browser, &url, 1).await, enter(&browser, &url, 2).await);
    two.see("#room-name").await;
    make_room(&one, &[2, 3], Some(GROUP)).await;
    one.see(&format!("//h2[@id='room-name'][.='{GROUP}']")).await;
    one.see("//*[@id='presence'][.='3 members, you and 1 online']").await;
    two.see(&room_with(GROUP, "preview", "No messages yet")).await;

    say(&one, "Who is in?").await;
    one.see(&room_with(GROUP, "preview", "You: Who is in?")).await;
    // User 2 has another room open. So user 2's list shows the group's last message and unread count.
    two.see(&room_with(GROUP, "preview", "User 1: Who is in?")).await;
    two.see(&room_with(GROUP, "unread", "1")).await;
    title(&two, "(1) User 2 · Parlor").await;
    two.click(&room(GROUP)).await;
    two.see(&format!("{}//*[@class='author'][.='User 1']", message("Who is in?"))).await;
    two.see(&format!("{}[*[@class='unread'][@hidden]]", room(GROUP))).await;
    title(&two, "User 2 · Parlor").await;
    say(&two, "I am").await;

    // Not all members have read the message. The page names the readers below the message and in the tooltip of its
    // status.
    one.see(&format!("{}//*[@class='readers'][not(@hidden)][.='Read by User 2']", message("Who is in?")))
        .await;
    one.see(".own .status[title='Read by User 2']").await;
    one.see(".own:not([data-status=read])").await;
    let three = enter(&browser, &url, 3).await;
    three.see(&message("I am")).await;
    one.see(&message_that_is("read", "Who is in?")).await;
    one.see(".own .status[title='Read by User 2, User 3']").await;

    // An admin can delete messages of others; a member can't.
    let delete = |text: &str| format!("{}//button[@data-action='delete']", message(text));
    let others = two.see(&delete("Who is in?")).await;
    assert!(!others.is_displayed().await.unwrap());
    one.click(&delete("I am")).await;
    one.click(&format!("{}//button[@data-action='confirm-delete']", message("I am"))).await;
    two.miss(&message("I am")).await;
    two.see(&room_with(GROUP, "preview", "User 1: Who is in?")).await;

    // Two users have one direct room. The second request opens the existing room.
    make_room(&one, &[2], None).await;
    one.see("//h2[@id='room-name'][.='User 2']").await;
    assert_eq!(one.script("return document.querySelectorAll('.room').length").await, 2);
    one.reload().await;
    one.see("//h2[@id='room-name'][.='User 2']").await;
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn presence_and_typing_are_shown() {
    let home = Home::new().await.set("PRESENCE__GRACE_MS", "50");
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let url = server.url("/");
    let one = enter(&browser, &url, 1).await;
    one.see("//*[@id='presence'][.='offline' or starts-with(., 'last seen')]").await;
    one.see(&format!("{}[*[@class='dot'][@hidden]]", room("User 2"))).await;
    let two = enter(&browser, &url, 2).await;
    one.see(&format!("{}[*[@class='dot'][not(@hidden)]]", room("User 2"))).await;
    one.see("//*[@id='presence'][.='online']").await;

    two.fill("#composer", "Hm").await;
    one.see("//*[@id='typing'][.='User 2 is typing…']").await;
    two.click("#send").await;
    one.see(&message("Hm")).await;
    one.see("#typing:empty").await;
    // User 2 types again right after the sent message. The page must show `typing` again.
    two.fill("#composer", "And").await;
    one.see("//*[@id='typing'][.='User 2 is typing…']").await;

    two.goto("about:blank").await;
    one.see("//*[@id='presence'][starts-with(., 'last seen at')]").await;
    one.see(&format!("{}[*[@class='dot'][@hidden]]", room("User 2"))).await;
    browser.close().await;
}

/// Scripts for the page. `WATCHED` permits notifications without asking the user, and records them. `HIDE` makes the
/// page hidden, and `SHOW` makes it visible again.
const WATCHED: &str = "window.told = []; \
    window.Notification = class { \
      static permission = 'default'; \
      static async requestPermission() { return Notification.permission = 'granted'; } \
      constructor(title, { body }) { told.push([title, body]); window.last = this; } \
      close() {} \
    }";
const HIDE: &str = "Object.defineProperty(document, 'hidden', { value: true, configurable: true }); \
                    document.dispatchEvent(new Event('visibilitychange'))";
const SHOW: &str = "delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))";

#[tokio::test]
async fn hidden_page_notifies_once_notifications_are_allowed() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let url = server.url("/");
    let (one, two) = (enter(&browser, &url, 1).await, enter(&browser, &url, 2).await);
    one.script(WATCHED).await;
    one.script(HIDE).await;
    say(&two, "Unasked").await;
    one.see(&message("Unasked")).await;
    assert_eq!(one.script("return told").await, json!([]));
    // The page is hidden, so the message does not become read.
    one.see(&room_with("User 2", "unread", "1")).await;
    two.see(&message_that_is("delivered", "Unasked")).await;

    one.script(SHOW).await;
    two.see(&message_that_is("read", "Unasked")).await;
    one.click("#notify").await;
    one.see("#notify[hidden]").await;
    say(&two, "In sight").await;
    one.see(&message("In sight")).await;
    assert_eq!(one.script("return told").await, json!([]));
    one.script(HIDE).await;
    say(&two, "<b>Out</b> of sight").await;
    one.see(&message("<b>Out</b> of sight")).await;
    assert_eq!(one.script("return told").await, json!([["User 2", "<b>Out</b> of sight"]]));
    browser.close().await;
}
