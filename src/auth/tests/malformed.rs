//! Tests of malformed, unsigned and changed tokens.

use proptest::prelude::*;

use super::*;

#[test]
fn repeated_claim_or_header_field_is_refused() {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signed = |header: &str, claims: &str| {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    };
    let (header, claims) = (r#"{"alg":"HS256"}"#, r#"{"user_id":1,"exp":4000000000}"#);
    assert!(verify(&auth(), &signed(header, claims)).is_ok());
    for (header, claims) in [
        (header, r#"{"user_id":1,"exp":4000000000,"user_id":2}"#),
        (header, r#"{"user_id":1,"exp":1,"exp":4000000000}"#),
        (r#"{"alg":"HS256","alg":"HS256"}"#, claims),
        (r#"{"alg":"HS256","typ":"JWT","typ":"logout+jwt"}"#, claims),
    ] {
        assert_eq!(verify(&auth(), &signed(header, claims)).unwrap_err(), "the token is malformed");
    }
}

#[test]
fn malformed_token_is_refused() {
    let good = claims(&json!({}));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let unsigned = |alg: &str| {
        let message = token(&json!({"alg": alg}), &good, &key, Algorithm::HS256);
        message.rsplit_once('.').unwrap().0.to_owned() + "."
    };
    let whole = shared(&good);
    let cases = [
        (String::new(), "the token is malformed"),
        ("a.b.c".to_owned(), "the token is malformed"),
        (unsigned("none"), "the token is malformed"),
        (unsigned("None"), "the token is malformed"),
        (unsigned("HS256"), "the token's signature is wrong"),
        (format!("{whole}="), "the token is malformed"),
        (format!("{whole}.x"), "the token is malformed"),
        (shared(&json!([1])), "the token is malformed"),
        (shared(&claims(&json!({"x": "x".repeat(16_384)}))), "the token is longer than auth.token_bytes"),
        (
            token(&json!({"alg": "HS384"}), &good, &key, Algorithm::HS384),
            "the token's algorithm is not accepted",
        ),
        (
            token(&json!({"alg": "RS256"}), &good, &key, Algorithm::HS256),
            "the token's algorithm is not accepted",
        ),
        (
            token(&json!({"alg": "HS256", "crit": ["exp"]}), &good, &key, Algorithm::HS256),
            "the token has a critical extension",
        ),
    ];
    for (token, refused) in cases {
        assert_eq!(verify(&auth(), &token).unwrap_err(), refused, "{token}");
    }
}

proptest! {
    #[test]
    fn claims_never_cause_a_panic(
        claim in "(exp|nbf|iss|aud|user_id|sub|email)",
        json in "[-0-9eE.\"\\[\\]{}:,a-z]{0,12}",
    ) {
        if let Ok(value) = serde_json::from_str::<Value>(&json) {
            let _ = verify(&auth(), &shared(&claims(&json!({claim: value}))));
        }
    }

    #[test]
    fn changed_token_is_refused(at in 0_usize..200, to in "[A-Za-z0-9_.-]") {
        let whole = shared(&claims(&json!({})));
        let at = at % whole.len();
        let changed = format!("{}{to}{}", &whole[..at], &whole[at + 1..]);
        prop_assume!(changed != whole);
        let refused = verify(&auth(), &changed).unwrap_err();
        prop_assert!(refused.len() <= 123);
    }
}
