//! axe-core, a checker of accessibility, finds no violation in any part of the messenger. axe-core checks the layouts
//! for a desktop and for a phone, in light and in dark colours.

use std::fs;

use serde_json::json;

use super::{OPEN, enter, make_room, message, room, say, sign_in};
use crate::support::{Browser, Home, Pointer, Window, node_packages};

/// The accessibility checker, as an npm package.
const AXE: &str = "axe-core@4.14.1";

/// A script that returns all violations that axe-core finds on the current page.
const CHECK: &str = "return axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => \
                     nodes.map(({ target, failureSummary }) => `${id} ${target} ${failureSummary}`)))";

async fn check(window: &Window<'_>, part: &str) {
    let packages = node_packages(&[AXE]).await;
    let axe = fs::read_to_string(packages.join("node_modules/axe-core/axe.min.js")).unwrap();
    window.script(&axe).await;
    assert_eq!(window.script(CHECK).await, json!([]), "{part}");
}

#[tokio::test]
async fn a_desktop_in_light_has_no_violation() {
    parts_have_no_violation(Screen { phone: false, dark: false }).await;
}

#[tokio::test]
async fn a_desktop_in_dark_has_no_violation() {
    parts_have_no_violation(Screen { phone: false, dark: true }).await;
}

#[tokio::test]
async fn a_phone_in_light_has_no_violation() {
    parts_have_no_violation(Screen { phone: true, dark: false }).await;
}

#[tokio::test]
async fn a_phone_in_dark_has_no_violation() {
    parts_have_no_violation(Screen { phone: true, dark: true }).await;
}

struct Screen {
    phone: bool,
    dark: bool,
}

impl Screen {
    async fn window<'b>(&self, browser: &'b Browser, url: &str) -> Window<'b> {
        let window = browser.window("about:blank").await;
        if self.phone {
            window.phone(390).await;
        }
        if self.dark {
            window.dark().await;
        }
        window.goto(url).await;
        window
    }
}

async fn parts_have_no_violation(screen: Screen) {
    let home = Home::new().await;
    let server = home.serve().await;
    let browser = Browser::open(if screen.phone { Pointer::Finger } else { Pointer::Mouse }).await;
    let url = server.url("/");

    let form = screen.window(&browser, &url).await;
    form.see("#choose-1").await;
    check(&form, "the chooser").await;
    form.click("#use-token").await;
    sign_in(&form, "a.b.c").await;
    form.see("#token-problem[data-code='4001']").await;
    check(&form, "a refused token").await;
    let nobody = screen.window(&browser, &format!("{url}#9")).await;
    nobody.see("#no-rooms:not([hidden])").await;
    check(&nobody, "no rooms").await;

    let two = enter(&browser, &url, 2).await;
    make_room(&two, &[1, 3, 4], Some("Lunch")).await;
    two.see("//h2[@id='room-name'][.='Lunch']").await;
    for text in ["See https://example.com/menu", "Or ask lunch@example.com", "🎉"] {
        say(&two, text).await;
    }
    let one = screen.window(&browser, &format!("{url}#1")).await;
    one.see(OPEN).await;
    one.see(&room("Lunch")).await;
    check(&one, "the list").await;
    one.click(&room("Lunch")).await;
    one.see("//*[@class='divider'][not(@hidden)][.='3 unread messages']").await;
    say(&one, "I am in: www.example.org").await;
    one.see(&message("🎉")).await;
    check(&one, "a group").await;
    one.click("#show-members").await;
    one.see("#members[open]").await;
    check(&one, "the members").await;
    one.click("#members-close").await;
    if screen.phone {
        one.click("#back").await;
    }
    one.click("#add-room").await;
    one.see("#new-room[open]").await;
    check(&one, "a new room").await;
    browser.close().await;
    server.stop().await;
}
