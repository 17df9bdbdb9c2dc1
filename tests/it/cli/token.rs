//! `parlor token`: the tokens that it prints, and the options that it refuses.

use serde_json::json;

use super::SECRET;
use crate::support::{Home, chat};

#[tokio::test]
async fn a_token_is_good_for_its_user_and_time() {
    let home = Home::new().await;
    let server = home.serve().await;
    let email = "someone@example.com";
    let token = home.run(&["token", "--user", "1", "--email", email, "--ttl", "90m"]).await;
    let mut one = server.dial("firts_user=1&second_user=2/", token.printed()).open().await;
    one.history().await;
    one.say("Hello").await;
    one.expect(chat(1, 1, "Hello")).await;
    let mut again = server.dial("firts_user=1&second_user=2/", token.printed()).open().await;
    assert_eq!(again.history().await[0]["sender_email"], email);

    let claims = claims(token.printed());
    assert_eq!((&claims["user_id"], &claims["email"]), (&json!(1), &json!(email)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 90 * 60);

    let text = self::claims(home.run(&["token", "--user", "auth0|7"]).await.printed());
    assert_eq!(text["user_id"], "auth0|7");
    assert_eq!(text["exp"].as_i64().unwrap() - text["iat"].as_i64().unwrap(), 24 * 60 * 60);
    assert_eq!(text.get("email"), None);

    // A token that was signed with another secret is refused.
    let forged = home.run_with(&[("AUTH__SECRET", SECRET)], &["token", "--user", "1"]).await;
    assert_eq!(server.dial("firts_user=1&second_user=2/", forged.printed()).refused().await, 4001);
    server.stop().await;
}

/// Returns the claims of a token. Does not check the signature.
fn claims(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).expect("a token has three parts");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

#[tokio::test]
async fn ttl_of_a_token_may_have_several_units() {
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    for (ttl, seconds) in [
        ("1s", 1),
        ("090s", 90),
        ("15m", 15 * 60),
        ("5 m", 5 * 60),
        ("1.5h", 90 * 60),
        ("1d2h", 26 * 60 * 60),
        ("1d 12h", 36 * 60 * 60),
        ("2 weeks", 14 * 24 * 60 * 60),
        ("69000000h", 69_000_000 * 60 * 60),
    ] {
        let claims = claims(home.run(&["token", "--user", "1", "--ttl", ttl]).await.printed());
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), seconds, "{ttl}");
    }
}

#[tokio::test]
async fn a_token_of_no_sense_is_refused() {
    let home = Home::new().await.set("AUTH__SECRET", SECRET);
    for ttl in [
        "",
        "5",
        "5x",
        "x",
        "h",
        "-1s",
        "1h ago",
        "0s",
        "999ms",
        "1mo",
        "1y",
        "P1D",
        "1d,",
        "1h1d",
        "٣d",
        "99999999999999999999s",
        "213503982334601d",
        "9999999999999h",
        "1€",
    ] {
        let refused = home.run(&["token", "--user", "1", &format!("--ttl={ttl}")]).await;
        assert_eq!(refused.status.code(), Some(2), "{ttl}: {refused:#?}");
        let told = refused.err.lines().next().unwrap_or_default();
        assert!(told.starts_with("error: ") && told.contains("--ttl"), "{ttl}: {refused:#?}");
        assert!(refused.out.is_empty() && !refused.err.contains("panicked"), "{ttl}: {refused:#?}");
    }
    for ttl in ["7304484d", "253402300799s"] {
        let refused = home.run(&["token", "--user", "1", "--ttl", ttl]).await;
        assert!(refused.refused().contains("the token can't be created"), "{ttl}: {refused:#?}");
    }
    for user in ["", "a\nb", &"x".repeat(129)] {
        let refused = home.run(&["token", "--user", user]).await;
        assert_eq!(refused.status.code(), Some(2), "{user:?}: {refused:#?}");
    }
}
