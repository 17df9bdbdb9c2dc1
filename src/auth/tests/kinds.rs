//! Tests of tokens for purposes other than access, and of required claims.

use super::*;

/// Signs a token whose header has the given `typ`. If `typ` is null, the header has no `typ`.
/// `changes` are applied to the claims.
fn typed(typ: &Value, changes: &Value) -> String {
    let mut header = json!({"alg": "HS256"});
    if !typ.is_null() {
        header["typ"] = typ.clone();
    }
    token(&header, &claims(changes), &EncodingKey::from_secret(SECRET.as_bytes()), Algorithm::HS256)
}

fn requiring(claim: &str, value: &str) -> AuthConfig {
    AuthConfig { require: [(claim.to_owned(), value.to_owned())].into(), ..auth() }
}

#[test]
fn token_with_another_purpose_is_refused() {
    const OTHER: Option<&str> = Some("the token says that it is not an access token");
    const ID: Option<&str> = Some("an ID token is accepted only with auth.audience set");
    for (changes, refused) in [
        (json!({"token_type": "access"}), None),
        (json!({"token_type": "Bearer"}), None),
        (json!({"token_type": "refresh"}), OTHER),
        (json!({"token_type": "sliding"}), OTHER),
        (json!({"token_type": 1}), OTHER),
        (json!({"tokenType": "refresh_token"}), OTHER),
        (json!({"token_use": "access"}), None),
        (json!({"token_use": "id"}), None),
        (json!({"token_use": "id", "aud": "another"}), ID),
        (json!({"token_use": "reset"}), OTHER),
        (json!({"typ": "Bearer"}), None),
        (json!({"typ": "Refresh"}), OTHER),
        (json!({"typ": "Offline"}), OTHER),
        (json!({"typ": "Logout"}), OTHER),
        (json!({"typ": "ID", "aud": ["another"]}), ID),
        (json!({"typ": "ID"}), None),
        (json!({"at_hash": "x", "aud": "another"}), ID),
        (json!({"nonce": "x", "aud": "another"}), None),
        (json!({"type": "access"}), None),
        (json!({"type": "customer"}), None),
        (json!({"type": 5}), None),
        (json!({"type": "refresh"}), OTHER),
        (json!({"type": "refreshToken"}), OTHER),
        (json!({"purpose": "password_reset"}), OTHER),
        (json!({"purpose": "email-verification"}), OTHER),
        (json!({"purpose": "presets"}), None),
        (json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}), OTHER),
        (json!({"events": "many"}), None),
        (json!({"aud": "fastapi-users:auth"}), None),
        (json!({"aud": "fastapi-users:reset"}), OTHER),
        (json!({"aud": ["x", "fastapi-users:verify"]}), OTHER),
    ] {
        assert_eq!(verify(&auth(), &shared(&claims(&changes))).err().as_deref(), refused, "{changes}");
    }
    let audience = AuthConfig { audience: Some("app:reset".into()), ..auth() };
    for good in [json!({"aud": "app:reset"}), json!({"aud": "app:reset", "token_use": "id", "at_hash": "x"})]
    {
        assert!(verify(&audience, &shared(&claims(&good))).is_ok(), "what it is for is configured: {good}");
    }
}

#[test]
fn typ_of_another_kind_of_token_is_refused() {
    for good in
        ["JWT", "jwt", "application/JWT", "at+jwt", "application/at+jwt", "JOSE", "access+jwt", "mine+jwt"]
    {
        assert!(verify(&auth(), &typed(&json!(good), &json!({}))).is_ok(), "{good}");
    }
    assert!(verify(&auth(), &typed(&Value::Null, &json!({}))).is_ok(), "it doesn't say");
    for bad in [
        "refresh",
        "refresh+jwt",
        "Application/Refresh+JWT",
        "rt+jwt",
        "logout+jwt",
        "secevent+jwt",
        "application/secevent+jwt",
        "DPOP+JWT",
        "kb+jwt",
        "dc+sd-jwt",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "client-authentication+jwt",
        "oauth-client-attestation-pop+jwt",
        "password-reset+jwt",
        "email_verification",
        "passwordReset",
        " logout+jwt ",
    ] {
        let refused = verify(&auth(), &typed(&json!(bad), &json!({}))).unwrap_err();
        assert_eq!(refused, "the token's typ is not accepted", "{bad}");
    }
}

#[test]
fn configured_types_are_the_only_ones() {
    let auth = AuthConfig { types: vec!["application/AT+JWT".into(), "refresh".into()], ..auth() };
    for good in ["at+jwt", "application/at+jwt", "At+Jwt", "refresh", "Application/refresh"] {
        assert!(verify(&auth, &typed(&json!(good), &json!({}))).is_ok(), "{good}");
    }
    for bad in [json!("JWT"), json!(null), json!(""), json!("at")] {
        let refused = verify(&auth, &typed(&bad, &json!({}))).unwrap_err();
        assert_eq!(refused, "the token's typ is not accepted", "{bad}");
    }
    let own = sign(&auth, &UserId::Int(1), None, Duration::from_mins(1)).unwrap();
    assert!(verify(&auth, &own).is_ok(), "it makes what it accepts");
}

#[test]
fn required_claim_must_be_or_contain_the_value() {
    for (expected, value, good) in [
        ("chat", json!("chat"), true),
        ("chat", json!("read chat write"), true),
        ("chat", json!("chatter"), false),
        ("chat", json!("Chat"), false),
        ("chat", json!(["read", "chat"]), true),
        ("chat", json!(["read chat"]), false),
        ("chat", json!([["chat"]]), false),
        ("chat", json!([]), false),
        ("chat", json!({"chat": true}), false),
        ("chat", json!(null), false),
        ("two words", json!("two words"), true),
        ("true", json!(true), true),
        ("true", json!("true"), true),
        ("true", json!(false), false),
        ("2", json!(2), true),
        ("2", json!([1, 2]), true),
        ("2.5", json!(2.5), true),
        ("2", json!(2.5), false),
        ("9007199254740993", json!(9_007_199_254_740_992_i64), false),
    ] {
        let outcome = verify(&requiring("c", expected), &shared(&claims(&json!({"c": value}))));
        let refused = (!good).then_some("the token lacks a claim that is required");
        assert_eq!(outcome.err().as_deref(), refused, "{expected} {value}");
    }
    assert!(verify(&requiring("c", "chat"), &shared(&claims(&json!({})))).is_err());
    // A token with `token_type` `refresh` is refused by default. If `auth.require` demands this
    // value, the token is accepted.
    let refresh = claims(&json!({"token_type": "refresh"}));
    assert!(verify(&requiring("token_type", "refresh"), &shared(&refresh)).is_ok());
    let own = sign(&requiring("c", "chat"), &UserId::Int(1), None, Duration::from_mins(1)).unwrap();
    assert!(verify(&requiring("c", "chat"), &own).is_ok(), "it makes what it accepts");
}

#[test]
fn token_that_lives_too_long_is_refused() {
    let auth = AuthConfig { max_lifetime: Some(Duration::from_hours(1)), ..auth() };
    let t = now();
    for (changes, refused) in [
        (json!({"iat": t, "exp": t + 3600}), None),
        (json!({"iat": t - 3000, "exp": t + 600}), None),
        (json!({"iat": t, "exp": t + 3601}), Some("the token lives longer than is accepted")),
        (json!({"iat": t, "exp": 253_402_300_800_i64}), Some("the token lives longer than is accepted")),
        (json!({"iat": -1e300, "exp": t + 60}), Some("the token lives longer than is accepted")),
        (json!({"exp": t + 60}), Some("the token has no iat")),
        (json!({"iat": "now", "exp": t + 60}), Some("the token's iat is not a time")),
        (json!({"iat": t + 3600, "exp": t + 7200}), Some("the token's iat is in the future")),
        (json!({"iat": t + 3, "exp": t + 600}), None),
    ] {
        assert_eq!(verify(&auth, &shared(&claims(&changes))).err().as_deref(), refused, "{changes}");
    }
    let user = UserId::Int(1);
    assert!(verify(&auth, &sign(&auth, &user, None, Duration::from_hours(1)).unwrap()).is_ok());
    assert!(sign(&auth, &user, None, Duration::from_secs(3_601)).is_err());
}
