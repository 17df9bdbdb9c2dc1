//! The panel that lists a group's members, and the page of a user without rooms.

use serde_json::{Value, json};

use super::{OPEN, enter, make_room, room};
use crate::support::{Browser, Home, Pointer, Window, key};

/// Returns the name, the role and the presence of each member in the panel.
async fn members(window: &Window<'_>) -> Value {
    let read = "return [...document.querySelectorAll('.member')].map((member) => \
                ['name', 'role', 'where'].map((part) => member.querySelector(`.${part}`).textContent))";
    window.script(read).await
}

#[tokio::test]
async fn the_members_panel_lists_roles_and_presence() {
    let home = Home::new().await.set("PRESENCE__GRACE_MS", "50");
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let url = server.url("/");
    let (one, two) = (enter(&browser, &url, 1).await, enter(&browser, &url, 2).await);
    one.see("#show-members[hidden]").await; // a direct room has no members panel
    make_room(&one, &[2, 3], Some("Lunch")).await;
    one.see("//*[@id='presence'][.='3 members, you and 1 online']").await;
    one.click("#show-members").await;
    one.see("#members[open]").await;
    one.see("#members-close:focus").await;
    assert_eq!(one.text("#members-title").await, "3 members");
    let expected = json!([
        ["User 1 (you)", "admin", "online"],
        ["User 2", "member", "online"],
        ["User 3", "member", "offline"],
    ]);
    assert_eq!(members(&one).await, expected);

    // While the panel is open, it shows changes of a member's presence.
    two.goto("about:blank").await;
    one.see("//*[@class='member'][*[.='User 2']]/*[@class='where'][starts-with(., 'last seen at')]").await;
    one.see("//*[@id='presence'][.='3 members, only you online']").await;

    // While the panel is open, Tab keeps the focus in the panel. After the panel is closed, the button that opened it
    // has the focus.
    for _ in 0..3 {
        one.press(key::TAB).await;
        let inside = "const { activeElement } = document; return activeElement === document.body || \
                      document.getElementById('members').contains(activeElement)";
        assert_eq!(one.script(inside).await, true);
    }
    one.script("document.getElementById('members-close').focus()").await;
    one.press(key::ESCAPE).await;
    one.see("#members:not([open])").await;
    one.see("#show-members:focus").await;
    one.click("#show-members").await;
    one.click("#members-close").await;
    one.see("#members:not([open])").await;

    // The group's picture consists of the pictures of two members.
    let pair =
        "return [...document.querySelectorAll('#room-avatar > .avatar')].map((one) => one.textContent)";
    assert_eq!(one.script(pair).await, json!(["2", "3"]));
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
async fn a_user_without_rooms_can_make_one() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&server.url("/#9")).await;
    window.see(OPEN).await;
    window.see("#no-rooms:not([hidden])").await;
    window.see("#choose-a-room[hidden]").await;
    // The text for a user without rooms is vertically in the middle of the list.
    let place = "const box = (id) => document.getElementById(id).getBoundingClientRect(); \
                 const [rooms, none] = [box('rooms'), box('no-rooms')]; \
                 return (none.top + none.bottom) / 2 / (rooms.top + rooms.bottom)";
    let place = window.script(place).await.as_f64().unwrap();
    assert!((0.4..0.6).contains(&place), "{place}");
    window.click("#first-room").await;
    window.click("//label[@class='person'][*[@class='name'][.='User 1']]").await;
    window.click("#new-room-make").await;
    window.see(&room("User 1")).await;
    window.see("#no-rooms[hidden]").await;
    browser.close().await;
}
