//! The sign-in form after the server refused a token: it keeps the token, selects it, and shows the reason.

use serde_json::json;

use super::{OPEN, sign_in};
use crate::support::{Browser, Pointer, Server};

#[tokio::test]
async fn a_refused_token_stays_in_its_form() {
    let server = Server::start(&[("PAGE__ENABLED", "on")]).await;
    server.room(&[1, 2]).await;
    let browser = Browser::open(Pointer::Mouse).await;
    let window = browser.window(&format!("http://{}/", server.address())).await;
    window.click("#use-token").await;
    let mut shown = server.token(1).secret("another secret, of which the server knows nothing").sign();
    for _ in 0..2 {
        sign_in(&window, &shown).await;
        window.see("//*[@id='token-problem'][@role='alert'][contains(., 'signature')]").await;
        window.see("#token[aria-invalid=true][aria-describedby=token-problem]:focus").await;
        window.see("#sign-in:not([hidden])").await;
        window.see("#messenger[hidden]").await;
        let field = "const { value, selectionStart, selectionEnd } = document.getElementById('token'); \
                     return [value, selectionStart, selectionEnd]";
        assert_eq!(window.script(field).await, json!([shown, 0, shown.len()]));
        shown = server.token(2).secret("a third secret, of which the server knows nothing").sign();
    }
    // Typed text replaces the refused token, and the reason disappears.
    window.press(&server.token(1).sign()).await;
    window.see("#token[aria-invalid=false]").await;
    window.see("#token-problem:empty").await;
    window.click("#enter").await;
    window.see(OPEN).await;
    window.see("#messenger:not([hidden])").await;
    assert_eq!(window.script("return document.getElementById('token').value").await, "");
    browser.close().await;
}
