//! Tests of valid and invalid tokens.

pub(crate) mod keys;
pub(crate) mod kinds;
pub(crate) mod malformed;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, crypto};
use serde_json::{Value, json};

use super::*;
use crate::config::{Config, Secret};

const SECRET: &str = "a secret for tests, and no other use";

fn auth() -> AuthConfig {
    let mut auth = Config::load(None, []).unwrap().auth;
    auth.secret = Some(Secret::new(SECRET));
    auth
}

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

/// Signs any header and any claims. The tests also need malformed tokens, which a JWT library would
/// not create.
fn token(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn shared(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    token(&json!({"alg": "HS256", "typ": "JWT"}), claims, &key, Algorithm::HS256)
}

fn verify(auth: &AuthConfig, token: &str) -> Result<Caller, String> {
    Verifier::new(auth).unwrap().verify(token).map_err(|refused| refused.to_string())
}

/// Returns valid claims, with the claims of `changes` added or replaced. The value `null` removes a
/// claim.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({"user_id": 1, "exp": now() + 60});
    for (claim, value) in changes.as_object().unwrap() {
        claims[claim] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[test]
fn signed_token_names_its_caller() {
    let auth = AuthConfig { issuer: Some("app".into()), audience: Some("chat".into()), ..auth() };
    for user in ["7", "007", "auth0|x", "0"] {
        let user: UserId = user.parse().unwrap();
        for email in [None, Some("a@example.com")] {
            let token = sign(&auth, &user, email, Duration::from_mins(1)).unwrap();
            let caller = verify(&auth, &token).unwrap();
            assert_eq!((caller.user, caller.email.as_deref()), (user.clone(), email));
            let left = caller.expires_at.duration_since(SystemTime::now()).unwrap();
            assert!(left > Duration::from_mins(1) && left <= Duration::from_secs(65), "{left:?}");
        }
    }
}

#[test]
fn signing_honours_the_configuration() {
    let user = UserId::Int(7);
    let minute = Duration::from_mins(1);
    let mut auth = AuthConfig { user_claim: "uid".into(), email_claim: "mail".into(), ..auth() };
    auth.algorithms = vec![Algorithm::HS512, Algorithm::HS256];
    let token = sign(&auth, &user, Some("a@b"), minute).unwrap();
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().alg, Algorithm::HS512);
    assert_eq!(verify(&auth, &token).unwrap().email.as_deref(), Some("a@b"));

    for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(MAX_EXP), Duration::MAX] {
        assert!(sign(&auth, &user, None, ttl).is_err(), "{ttl:?}");
    }
    assert!(sign(&AuthConfig { secret: None, ..auth }, &user, None, minute).is_err());
}

#[test]
fn claims_are_checked() {
    let plain = auth();
    let issuer = AuthConfig { issuer: Some("app".into()), ..auth() };
    let audience = AuthConfig { audience: Some("chat".into()), ..auth() };
    let (t, max) = (now(), MAX_EXP);
    let cases = [
        (&plain, json!({}), None),
        (&plain, json!({"iss": "any", "aud": "any"}), None),
        (&plain, json!({"aud": ["a", "b"]}), None),
        (&plain, json!({"exp": null}), Some("the token has no exp")),
        (&plain, json!({"exp": t - 3}), None),
        (&plain, json!({"exp": t - 5}), Some("the token has expired")),
        (&plain, json!({"exp": t - 60}), Some("the token has expired")),
        (&plain, json!({"exp": 0}), Some("the token has expired")),
        (&plain, json!({"exp": -1}), Some("the token has expired")),
        (&plain, json!({"exp": i64::MIN}), Some("the token has expired")),
        (&plain, json!({"exp": -1e300}), Some("the token has expired")),
        (&plain, json!({"exp": "9999999999"}), Some("the token's exp or nbf is not a time")),
        (&plain, json!({"exp": true}), Some("the token's exp or nbf is not a time")),
        (&plain, json!({"exp": 4e9 + 0.5}), None),
        (&plain, json!({"exp": 4e9}), None),
        (&plain, json!({"exp": 1e300}), Some("the token's exp is not a time in seconds")),
        (&plain, json!({"exp": u64::MAX}), Some("the token's exp is not a time in seconds")),
        (&plain, json!({"exp": t * 1000}), Some("the token's exp is not a time in seconds")),
        (&plain, json!({"exp": max}), None),
        (&plain, json!({"exp": max + 1}), None),
        (&plain, json!({"exp": 253_402_300_799_i64}), None),
        (&plain, json!({"exp": 253_402_300_800_i64}), None),
        (&plain, json!({"exp": 253_402_300_800_f64}), None),
        (&plain, json!({"nbf": t + 2}), None),
        (&plain, json!({"nbf": t + 60}), Some("the token is not in force yet")),
        (&plain, json!({"nbf": t * 1000}), Some("the token is not in force yet")),
        (&plain, json!({"nbf": u64::MAX}), Some("the token is not in force yet")),
        (&plain, json!({"nbf": 1e300}), Some("the token is not in force yet")),
        (&plain, json!({"nbf": 1.7e9}), None),
        (&plain, json!({"nbf": -1}), None),
        (&plain, json!({"nbf": -1e300}), None),
        (&plain, json!({"nbf": "soon"}), Some("the token's exp or nbf is not a time")),
        (&plain, json!({"iat": -1}), None),
        (&plain, json!({"iat": 1e300}), None),
        (&plain, json!({"iat": "then"}), None),
        (&issuer, json!({}), Some("the token has no iss")),
        (&issuer, json!({"iss": "app"}), None),
        (&issuer, json!({"iss": "other"}), Some("the token's iss is not the expected one")),
        (&audience, json!({}), Some("the token has no aud")),
        (&audience, json!({"aud": 5}), Some("the token has no aud")),
        (&audience, json!({"aud": "chat"}), None),
        (&audience, json!({"aud": ["x", "chat"]}), None),
        (&audience, json!({"aud": ["x"]}), Some("the token's aud is not the expected one")),
        (&audience, json!({"aud": "x"}), Some("the token's aud is not the expected one")),
    ];
    for (auth, changes, refused) in cases {
        let outcome = verify(auth, &shared(&claims(&changes)));
        assert_eq!(outcome.err().as_deref(), refused, "{changes}");
    }
}

#[test]
fn exp_after_the_year_9999_counts_as_its_end() {
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    for exp in [json!(MAX_EXP), json!(253_402_300_799_i64), json!(253_402_300_800_i64), json!(9.9e11)] {
        let caller = verify(&auth(), &shared(&claims(&json!({"exp": exp})))).unwrap();
        assert_eq!(caller.expires_at, last, "{exp}");
    }
}

#[test]
fn null_claim_counts_as_missing() {
    let token = |claim: &str| {
        let mut claims = json!({"user_id": 1, "exp": now() + 60});
        claims[claim] = Value::Null;
        shared(&claims)
    };
    for claim in ["nbf", "iat", "iss", "aud", "sub", "email", "email_verified", "token_type", "typ"] {
        assert_eq!(verify(&auth(), &token(claim)).map(|caller| caller.user), Ok(UserId::Int(1)), "{claim}");
    }
    assert_eq!(verify(&auth(), &token("exp")).unwrap_err(), "the token has no exp");
    let issuer = AuthConfig { issuer: Some("app".into()), ..auth() };
    assert_eq!(verify(&issuer, &token("iss")).unwrap_err(), "the token has no iss");
}

#[test]
fn doubted_address_is_neither_kept_nor_shown() {
    let mail = AuthConfig { email_claim: "mail".into(), ..auth() };
    for (claim, verified, doubted) in [
        ("email_verified", json!(false), true),
        ("email_verified", json!("false"), true),
        ("email_verified", json!("False"), true),
        ("email_verified", json!(0), true),
        ("email_verified", json!("0"), true),
        ("mail_verified", json!(false), true),
        ("email_verified", json!(true), false),
        ("email_verified", json!("true"), false),
        ("email_verified", json!(1), false),
        ("phone_number_verified", json!(false), false),
    ] {
        let token = shared(&claims(&json!({"mail": "a@example.com", claim: verified})));
        let caller = verify(&mail, &token).unwrap();
        let expected = Some("a@example.com".to_owned());
        let expected = if doubted { (None, expected) } else { (expected, None) };
        assert_eq!((caller.email, caller.doubted_email), expected, "{claim} {verified}");
    }
}

#[test]
fn user_is_an_integer_or_a_string() {
    let int = |n| Some(UserId::Int(n));
    let cases = [
        (json!({"user_id": 7}), int(7)),
        (json!({"user_id": "7"}), int(7)),
        (json!({"user_id": "auth0|x"}), Some("auth0|x".parse().unwrap())),
        (json!({"user_id": null, "sub": "9"}), int(9)),
        (json!({"user_id": 7, "sub": "9"}), int(7)),
        (json!({"user_id": null}), None),
        (json!({"user_id": 1.5, "sub": "9"}), None),
        (json!({"user_id": ""}), None),
        (json!({"user_id": "a\nb"}), None),
        (json!({"user_id": [7]}), None),
        (json!({"user_id": {"id": 7}}), None),
        (json!({"user_id": true}), None),
        (json!({"user_id": "x".repeat(129)}), None),
    ];
    for (changes, user) in cases {
        let caller = verify(&auth(), &shared(&claims(&changes)));
        assert_eq!(caller.ok().map(|caller| caller.user), user, "{changes}");
    }
    // An explicit null counts as a missing claim.
    let null = shared(&json!({"user_id": null, "sub": 9, "exp": now() + 60}));
    assert_eq!(verify(&auth(), &null).unwrap().user, UserId::Int(9));
}

#[test]
fn invalid_address_counts_as_missing() {
    let long = "x".repeat(MAX_EMAIL_BYTES);
    for (email, known) in [
        (json!("a@example.com"), true),
        (json!(long), true),
        (json!(format!("{long}x")), false),
        (json!(""), false),
        (json!("a@b\r\nX: y"), false),
        (json!(5), false),
        (json!(["a@b"]), false),
    ] {
        let caller = verify(&auth(), &shared(&claims(&json!({"email": email})))).unwrap();
        assert_eq!(caller.email.is_some(), known, "{email}");
    }
}
