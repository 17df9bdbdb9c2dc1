//! Web and email addresses in messages become links. Other text does not.

use serde_json::{Value, json};

use super::{OPEN, enter, message, say};
use crate::support::{Browser, Home, Pointer, Window};

/// Texts of messages, each with its expected links. A link is given as its text and its address.
const LINKS: &[(&str, &[(&str, &str)])] = &[
    (
        "See https://example.com/a?b=1&c=2.",
        &[("https://example.com/a?b=1&c=2", "https://example.com/a?b=1&c=2")],
    ),
    ("(www.example.com)!", &[("www.example.com", "https://www.example.com/")]),
    ("http://localhost:8001/docs/", &[("http://localhost:8001/docs/", "http://localhost:8001/docs/")]),
    (
        "https://a.com/x_(y), https://b.com",
        &[("https://a.com/x_(y)", "https://a.com/x_(y)"), ("https://b.com", "https://b.com/")],
    ),
    ("Ask anna@example.com, please", &[("anna@example.com", "mailto:anna@example.com")]),
    ("javascript:alert(1) JavaScript://a.com/%0aalert(1)", &[]),
    ("data:text/html,x file:///etc/passwd ftp://a.com", &[]),
    ("README.md main.rs example.com", &[]),
    ("<img src=x onerror=alert(1)> https://a.com", &[("https://a.com", "https://a.com/")]),
];

/// Returns the links of the last message, each with its text, address, target and relation (`rel`).
async fn links(window: &Window<'_>) -> Value {
    let read = "return [...document.querySelectorAll('#messages li:last-child .text a')] \
                .map((link) => [link.textContent, link.href, link.target, link.rel])";
    window.script(read).await
}

#[tokio::test]
async fn addresses_become_links() {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = enter(&browser, &server.url("/"), 1).await;
    window.see("#room-name").await;
    for (text, expected) in LINKS {
        say(&window, text).await;
        let whole =
            |(text, href): &(&str, &str)| json!([text, href, "_blank", "noopener noreferrer nofollow"]);
        let expected: Vec<_> = expected.iter().map(whole).collect();
        assert_eq!(links(&window).await, json!(expected), "{text}");
        let shown = "return document.querySelector('#messages li:last-child .text').textContent";
        assert_eq!(window.script(shown).await, *text);
    }
    assert!(!window.has_alert().await);

    // An edit changes the links, too.
    let last = LINKS.last().unwrap().0;
    window.click(&format!("{}//button[@data-action='edit']", message(last))).await;
    window.see("#composer").await.clear().await.unwrap();
    window.fill("#composer", "Now www.example.org").await;
    window.click("#send").await;
    window.see(&message("Now www.example.org")).await;
    let expected = ["www.example.org", "https://www.example.org/", "_blank", "noopener noreferrer nofollow"];
    assert_eq!(links(&window).await, json!([expected]));

    window.reload().await;
    window.see(OPEN).await;
    window.see(&message("Now www.example.org")).await;
    assert_eq!(links(&window).await, json!([expected]));
    assert_eq!(browser.log().await, [""; 0]);
    browser.close().await;
}
