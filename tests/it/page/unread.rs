//! A room with unread messages opens at the first unread message. Above this message, a line shows the number of unread
//! messages.

use super::long_rooms::{AT_END, MOST, in_page, long_room_read_up_to};
use super::{enter, enter_by_token, make_room, message, room, say};
use crate::support::{Browser, Home, Pointer};

const DIVIDERS: &str = "return [...document.querySelectorAll('.divider:not([hidden])')].length";

#[tokio::test]
async fn a_room_opens_at_its_first_unread_message() {
    // User 1 has not read the last 430 messages. User 2 wrote 215 of them. User 1's own messages do not count as
    // unread.
    let server = long_room_read_up_to(20, 450).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    enter_by_token(&window, &server, server.address()).await;
    let first = message("number 21");
    window.see(&format!("{first}/*[@class='divider'][not(@hidden)][.='215 unread messages']")).await;
    window.see(&message("number 20")).await;
    let below = "return document.querySelector('.divider:not([hidden])').getBoundingClientRect().top - \
                 document.getElementById('scroller').getBoundingClientRect().top";
    let below = window.script(below).await.as_f64().unwrap();
    assert!((-1.0..60.0).contains(&below), "the first unread message is {below} px from the top");
    assert!(in_page(&window).await <= MOST);

    window.see("//*[@id='new-messages'][not(@hidden)][starts-with(., '215 new messages')]").await;
    window.click("#new-messages").await;
    window.see(&message("number 450")).await;
    assert_eq!(window.script(AT_END).await, true);
    browser.close().await;
}

#[tokio::test]
async fn the_unread_line_goes_when_the_room_is_opened_again() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let url = server.url("/");
    let (one, two) = (enter(&browser, &url, 1).await, enter(&browser, &url, 2).await);
    make_room(&one, &[3], None).await;
    one.see("//h2[@id='room-name'][.='User 3']").await;
    say(&two, "One").await;
    say(&two, "Two").await;
    one.see("//*[@class='unread'][.='2']").await;
    one.click(&room("User 2")).await;
    one.see(&format!("{}/*[@class='divider'][.='2 unread messages']", message("One"))).await;
    assert_eq!(one.script(DIVIDERS).await, 1);
    one.click(&room("User 3")).await;
    one.see("//h2[@id='room-name'][.='User 3']").await;
    one.click(&room("User 2")).await;
    one.see(&message("Two")).await;
    assert_eq!(one.script(DIVIDERS).await, 0);

    // No new message arrives, but user 1 scrolls away from a tall message. The button to the newest message must
    // appear.
    let tall = "line\\n".repeat(60);
    one.script(&format!(
        "const box = document.getElementById('composer'); box.value = '{tall}'; \
         box.dispatchEvent(new Event('input')); document.getElementById('send').click()"
    ))
    .await;
    one.see("//li[contains(@class, 'message')][@data-id='3']").await;
    one.see("#new-messages[hidden]").await;
    one.script("document.getElementById('scroller').scrollTop = 0").await;
    one.see("//*[@id='new-messages'][not(@hidden)][starts-with(., 'To the newest message')]").await;
    one.click("#new-messages").await;
    one.see("#new-messages[hidden]").await;
    assert_eq!(one.script(AT_END).await, true);
    browser.close().await;
}
