//! The messenger after its connection ended: because the server restarted, or because the server refused the token.
//! After a refusal, the next user who signs in sees no data of the previous user.

use std::time::Duration;

use serde_json::{Value, json};

use super::{OPEN, SECRET, enter, enter_by_token, message, note, noted, online, room, say, sign_in, texts};
use crate::support::{Browser, Home, Pointer, Server, free_port, key};

const OTHER_SECRET: &str = "another secret, of which the server knows nothing";

#[tokio::test]
async fn messages_are_complete_and_single_after_a_restart() {
    let port = free_port();
    let home = Home::new().await.set("LISTEN", &format!("127.0.0.1:{port}"));
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let url = server.url("/");
    let (one, two) = (enter(&browser, &url, 1).await, enter(&browser, &url, 2).await);
    let token = home.run(&["token", "--user", "2"]).await.printed().to_owned();
    say(&one, "Before").await;
    say(&one, "To be edited").await;
    say(&one, "To be deleted").await;
    two.see(&message("To be deleted")).await;

    note(&one, "#why", "data-code").await;
    server.stop().await;
    one.see("#banner:not([hidden])").await;
    one.see("#state[data-state=waiting], #state[data-state=connecting]").await;
    one.see("#why[data-code='1006']").await;
    let codes = noted(&one).await;
    assert_eq!(codes, json!(["1012", "1006"]), "a deploy, and then nobody there");
    assert!(!one.text("#why").await.contains("1006"), "people need no code");
    one.see("#why[title='Close code 1006']").await;
    let mut expected = vec!["Before", "To be edited!"];
    for text in ["One", "Two", "Three"] {
        one.fill("#composer", text).await;
        one.press(key::ENTER).await;
        one.see(&format!("//li[contains(@class,'pending')][.//*[@class='text'][.='{text}']]")).await;
        expected.push(text);
    }
    one.see(".pending[data-status=queued] .reason:not(:empty)").await;

    // Other sockets change the room before the pages reconnect. The pages must also receive these changes.
    let server = home.serve().await;
    let author = home.run(&["token", "--user", "1"]).await.printed().to_owned();
    let mut elsewhere = server.dial("firts_user=1&second_user=2/", &author).open().await;
    elsewhere.history().await;
    elsewhere.send(json!({"action": "edit", "message_id": 2, "text": "To be edited!"})).await;
    elsewhere.send(json!({"action": "delete", "message_id": 3})).await;
    elsewhere.until_kind("message_deleted").await;
    let mut second = server.dial("firts_user=2&second_user=1/", &token).open().await;
    second.history().await;
    second.say("Meanwhile").await;
    second.until_kind("chat_message").await;

    for window in [&one, &two] {
        online(window).await;
        window.see(OPEN).await;
        window.see("#banner[hidden]").await;
    }
    for text in &expected {
        two.see(&message(text)).await;
        one.see(&message(text)).await;
    }
    one.miss("//li[contains(@class,'pending')]").await;
    expected.insert(2, "Meanwhile");
    // A page may reconnect and send its pending messages before "Meanwhile" is stored. So the test compares sorted
    // texts.
    let sorted = |texts: Value| {
        let mut texts: Vec<String> = serde_json::from_value(texts).unwrap();
        texts.sort_unstable();
        texts
    };
    let all = sorted(json!(expected));
    for window in [&one, &two] {
        window.see(&message("Meanwhile")).await;
        assert_eq!(sorted(texts(window).await), all);
    }
    assert_eq!(texts(&one).await, texts(&two).await);

    // Messages still arrive after the restart.
    say(&two, "After").await;
    one.see(&message("After")).await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_by_itself() {
    let port = free_port();
    let home = Home::new().await.set("LISTEN", &format!("127.0.0.1:{port}"));
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = enter(&browser, &server.url("/"), 1).await;
    server.stop().await;
    window.see("#state[data-state=waiting]").await;
    window.see("//*[@id='countdown'][starts-with(., 'Next try in')]").await;
    let server = home.serve().await;
    // The page tries to connect at least every 30 s.
    window.see_within(Duration::from_mins(1), OPEN).await;
    say(&window, "Found").await;
    browser.close().await;
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_shows_its_code() {
    let home = Home::new().await.set("LISTEN", "0.0.0.0:0").set("AUTH__SECRET", SECRET);
    let server = home.serve().await;
    home.run(&["room", "--members", "1,2"]).await.printed();
    let good = home.run(&["token", "--user", "1"]).await;
    let forged = home.run_with(&[("AUTH__SECRET", OTHER_SECRET)], &["token", "--user", "1"]).await;

    let browser = Browser::open(Pointer::Mouse).await;
    // This server listens on all addresses. The messenger of such a server gives no tokens, so the user must enter a
    // token.
    let window = browser.window(&server.url("/#1")).await;
    window.see("#sign-in:not([hidden])").await;
    sign_in(&window, forged.printed()).await;
    window.see("#token-problem[data-code='4001'][title='Close code 4001']").await;
    sign_in(&window, "no token at all").await;
    window.see("//*[@id='token-problem'][starts-with(., 'This is not a token')]").await;
    sign_in(&window, good.printed()).await;
    window.see(OPEN).await;
    window.see("#banner[hidden]").await;
    assert!(!window.see("#add-room").await.is_displayed().await.unwrap(), "rooms are the application's");
    say(&window, "It fits").await;
    browser.close().await;
}

#[tokio::test]
async fn the_next_user_finds_nothing_of_the_one_before() {
    let server = Server::start(&[("PAGE__ENABLED", "on"), ("LIMITS__TEXT_CHARS", "10")]).await;
    server.room(&[1, 2]).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window("about:blank").await;
    let keep = "const Real = WebSocket; \
        window.WebSocket = class extends Real { \
          constructor(url, protocols) { super(url, protocols); window.last = this; } \
        }";
    window.begin_with(keep).await;
    enter_by_token(&window, &server, server.address()).await;
    window.fill("#composer", "more than ten letters").await;
    window.click("#send").await;
    window.see(".pending[data-status=failed]").await;
    window.fill("#composer", "a draft").await;
    let refuse = "last.dispatchEvent(new CloseEvent('close', { code: 4003 }))";
    let typed = "return document.getElementById('composer').value";

    // The same user may sign in again with a new token. The page then still has this user's unsent texts.
    window.script(refuse).await;
    window.click("#try-again").await;
    sign_in(&window, &server.token(1).sign()).await;
    window.see(".pending[data-status=failed]").await;
    assert_eq!(window.script(typed).await, "a draft");

    window.script("location.hash = ''").await;
    window.see("#messenger[data-pane=rooms]").await;
    window.script(refuse).await;
    window.click("#try-again").await;
    sign_in(&window, &server.token(2).secret(OTHER_SECRET).sign()).await;
    window.see("#token-problem[data-code='4001']").await;
    window.miss(&room("User 2")).await;
    sign_in(&window, &server.token(2).sign()).await;
    window.see("//h2[@id='room-name'][.='User 1']").await;
    window.miss("//li[contains(@class,'pending')]").await;
    assert_eq!(window.script(typed).await, "");
    browser.close().await;
}
