//! Tokens that a known key has signed for another purpose, for example refresh tokens. Also the claims that a
//! configuration can require.

use std::fs;

use mongodb::Collection;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::support::{Home, Metered, Server, eventually, now, room_of_two, room_with_one_socket};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

async fn refusal(server: &Server, claims: &Value) -> Option<u16> {
    let token = claims.as_object().unwrap().iter();
    let token = token.fold(server.token(1), |token, (claim, value)| token.with(claim, value.clone())).sign();
    server.dial(TARGET).called(claims.to_string()).token(&token).open().await.refused_or_history().await
}

#[tokio::test]
async fn token_of_another_kind_opens_no_socket_and_renews_none() {
    let (server, mut one) = room_with_one_socket(&[]).await;
    one.quiet().await;
    let mut level2 = server.dial_as(1, "firts_user=1&second_user=2&since=").open().await;
    level2.until_kind("resumed").await;
    for kind in [
        // A refresh token of the Django package SimpleJWT.
        json!({"token_type": "refresh", "jti": "0"}),
        json!({"type": "refresh"}),
        json!({"purpose": "password_reset"}),
        json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
        json!({"token_use": "id", "aud": "another application"}),
    ] {
        assert_eq!(refusal(&server, &kind).await, Some(4001), "{kind}");
        let claims = kind.as_object().unwrap().iter();
        let token = claims.fold(server.token(1), |token, (claim, value)| token.with(claim, value.clone()));
        level2.send(json!({"action": "auth", "token": token.sign()})).await;
        assert_eq!(level2.until_kind("error").await["code"], "invalid_token", "{kind}");
    }
    assert_eq!(refusal(&server, &json!({"token_type": "access"})).await, None);
}

#[tokio::test]
async fn configuration_asks_for_claims_types_and_a_short_life() {
    let server = Server::start(&[
        ("AUTH__REQUIRE__SCOPE", "chat"),
        ("AUTH__REQUIRE__LEVEL", "2"),
        ("AUTH__TYPES", "JWT, at+jwt"),
        ("AUTH__MAX_LIFETIME_SECONDS", "3600"),
    ])
    .await;
    server.room(&[1, 2]).await;
    let t = now().as_secs();
    let good = json!({"scope": "openid chat", "level": 2, "iat": t, "exp": t + 3600});
    assert_eq!(refusal(&server, &good).await, None);
    for (claim, value) in [
        ("scope", json!("openid")),
        ("scope", json!(null)),
        ("level", json!(3)),
        ("iat", json!(null)),
        ("iat", json!(t - 60)),
    ] {
        let mut bad = good.clone();
        bad[claim] = value.clone();
        assert_eq!(refusal(&server, &bad).await, Some(4001), "{claim} {value}");
    }
}

#[tokio::test]
async fn required_claims_stand_in_a_file_too() {
    let home = Home::new().await.set("AUTH__SECRET", "a secret of the tests, at least 32 bytes long");
    let write = |toml: &str| fs::write(home.path().join("settings.toml"), toml).unwrap();
    let token = ["--config", "settings.toml", "token", "--user", "1"];
    write(
        "\u{feff}[auth.require]\nscope = \"chat\"\nlevel = 2\nadult = true\n\"https://example.com/role\" = \"a\"\n",
    );
    let made = home.run(&token).await;
    let claims = jsonwebtoken::dangerous::insecure_decode_claims::<Value>(made.printed()).unwrap();
    let [scope, level, role] = ["scope", "level", "https://example.com/role"].map(|claim| &claims[claim]);
    assert_eq!((scope, level, role), (&json!("chat"), &json!("2"), &json!("a")), "{claims}");
    for (toml, fault) in [
        ("auth.require = 1", "auth.require: a section of keys, not a key itself"),
        ("[auth.require]\nscope = [\"a\"]", "auth.require.scope: takes a string, a number or a boolean"),
        ("[auth.require.a]\nb = 1", "auth.require.a.b: takes a string, a number or a boolean"),
        ("[auth.require]\nscope = \"\"", "auth.require.scope: must say which value"),
        ("[auth.require]\naud = \"x\"", "auth.require.aud: has a check of its own"),
    ] {
        write(toml);
        let refused = home.run(&token).await;
        assert!(refused.refused().contains(fault), "{toml}: {refused:#?}");
    }
}

#[tokio::test]
async fn token_is_bounded_by_its_own_key() {
    let metered = Metered::new();
    let (server, _one) = room_with_one_socket(&[metered.setting()]).await;
    for (bytes, refused) in [(9_000, None), (13_000, Some(4001))] {
        // Base64 encodes 3 bytes as 4 characters.
        assert_eq!(refusal(&server, &json!({"groups": "x".repeat(bytes)})).await, refused, "{bytes}");
    }
    assert_eq!(metered.hits("token_bytes").await, 1);
    let mut level2 = server.dial_as(1, "firts_user=1&second_user=2&since=").open().await;
    level2.until_kind("resumed").await;
    let long = server.token(1).with("groups", "x".repeat(13_000)).sign();
    level2.send(json!({"action": "auth", "token": long})).await;
    let told = level2.until_kind("error").await;
    assert_eq!(told["message"], "the token is longer than auth.token_bytes");
    assert_eq!(metered.hits("token_bytes").await, 2);

    let small = Server::start(&[("AUTH__TOKEN_BYTES", "1024")]).await;
    small.room(&[1, 2]).await;
    assert_eq!(refusal(&small, &json!({})).await, None);
    assert_eq!(refusal(&small, &json!({"groups": "x".repeat(1_000)})).await, Some(4001));
}

#[tokio::test]
async fn exp_at_the_end_of_the_calendar_is_accepted() {
    let (server, _one) = room_with_one_socket(&[]).await;
    for exp in [json!(253_402_300_799_i64), json!(253_402_300_800_i64), json!(4.5e9)] {
        assert_eq!(refusal(&server, &json!({"exp": exp, "nbf": null})).await, None, "{exp}");
    }
    let milliseconds = now().as_secs() * 1000 + 3_600_000;
    assert_eq!(refusal(&server, &json!({"exp": milliseconds})).await, Some(4001));
}

#[tokio::test]
async fn claim_that_is_null_counts_as_missing() {
    let (server, _one) = room_with_one_socket(&[]).await;
    assert_eq!(refusal(&server, &json!({"nbf": null})).await, None);
}

#[tokio::test]
async fn unverified_address_is_not_shown_and_leaves_where_it_was() {
    let (server, one, mut two) = room_of_two(&[]).await;
    drop(one);
    let shown = async |claims: Value| {
        let token = claims.as_object().unwrap().iter();
        let token =
            token.fold(server.token(1), |token, (claim, value)| token.with(claim, value.clone())).sign();
        let mut one = server.dial(TARGET).token(&token).open().await;
        one.history().await
    };
    two.say("hello").await;
    two.until_kind("chat_message").await;
    let mut one = server.dial_as(1, "firts_user=1&second_user=2/").open().await;
    one.history().await;
    one.say("mine").await;
    one.until_kind("chat_message").await;
    let of_one = |history: &[Value]| {
        let mine = history.iter().find(|message| message["sender_id"] == 1).unwrap();
        mine["sender_email"].clone()
    };
    // An unverified address that differs from the stored address changes nothing.
    let history = shown(json!({"email": "victim@example.com", "email_verified": false})).await;
    assert_eq!(of_one(&history), "user1@example.com");
    let mut members = server.collection("members").await;
    // A verified address is stored. If a later token marks the same address as unverified, the address is removed.
    assert_eq!(
        of_one(&shown(json!({"email": "a@example.com", "email_verified": true})).await),
        "a@example.com"
    );
    until_kept(&mut members, Some("a@example.com")).await;
    // The server's copy of the members in memory may be older than the database. Until this copy is current, the server
    // may show user 1's earlier address.
    let doubted = json!({"email": "a@example.com", "email_verified": "false"});
    let at_once = of_one(&shown(doubted.clone()).await);
    assert!(at_once.is_null() || at_once == "user1@example.com", "{at_once}");
    until_kept(&mut members, None).await;
    let address = async || of_one(&shown(doubted.clone()).await).clone();
    eventually("no address is shown", address, Value::is_null).await;
    // An inbox connection also removes an unverified address.
    assert_eq!(of_one(&shown(json!({"email": "b@example.com"})).await), "b@example.com");
    until_kept(&mut members, Some("b@example.com")).await;
    let token = server.token(1).with("email", "b@example.com").with("email_verified", false).sign();
    let mut inbox = server.dial("/ws/?since=").token(&token).open().await;
    inbox.until_kind("ready").await;
    until_kept(&mut members, None).await;
}

/// Waits until the database has this address of user 1. If `email` is None, waits until the database has no address of
/// user 1.
async fn until_kept(members: &mut Collection<Document>, email: Option<&str>) {
    let stored = async || {
        let member = members.find_one(doc! { "_id.user": 1_i64 }).await.unwrap().unwrap();
        member.get_str("email").ok().map(str::to_owned)
    };
    eventually(&format!("the address is {email:?}"), stored, |stored| stored.as_deref() == email).await;
}
