//! The tokens that the server accepts or refuses: signature, algorithm, times, and the configured claims.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;

use crate::support::{Server, Token, now, room_with_one_socket};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// Creates a key pair. Returns the private key, and the public key as PEM text.
fn key_pair() -> (EncodingKey, String) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(public.as_ref())
    );
    (EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref()), pem)
}

async fn assert_let_in(server: &Server, case: &str, token: &str) {
    let mut one = server.dial(TARGET).called(case).token(token).open().await;
    one.history().await;
}

async fn assert_refused(server: &Server, case: &str, token: &str) {
    assert_eq!(server.dial(TARGET).called(case).token(token).refused().await, 4001, "{case}");
}

#[tokio::test]
async fn a_token_that_fails_any_check_is_4001() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let token = server.token(1);
    let good = token.sign();
    let parts: Vec<_> = good.split('.').collect();
    let other = server.token(2).sign();
    let claims_of_other = other.split('.').nth(1).unwrap();
    for (case, forged) in [
        ("not a token", "not-a-token".to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("another's claims", format!("{}.{claims_of_other}.{}", parts[0], parts[2])),
        ("another secret", token.clone().secret("another secret that is long enough, too").sign()),
        ("an empty secret", token.clone().secret("").sign()),
        ("alg none", token.unsigned()),
        ("an algorithm that isn't listed", token.clone().algorithm(Algorithm::HS512).sign()),
        ("no exp", token.clone().without("exp").sign()),
        ("exp is no number", token.clone().with("exp", "tomorrow").sign()),
        ("expired beyond the leeway", token.clone().with("exp", now().as_secs() - 7).sign()),
        ("not yet, beyond the leeway", token.clone().with("nbf", now().as_secs() + 60).sign()),
        ("no user", token.clone().without("user_id").sign()),
        ("a user of null", token.clone().with("user_id", json!(null)).sign()),
        ("a user of no kind", token.clone().with("user_id", json!({"id": 1})).sign()),
        ("half a user", token.clone().with("user_id", 1.5).sign()),
        ("an empty user", token.clone().with("user_id", "").sign()),
        ("a user with a control character", token.clone().with("user_id", "a\nb").sign()),
        ("too long a user", token.clone().with("user_id", "x".repeat(129)).sign()),
    ] {
        assert_refused(&server, case, &forged).await;
    }
    assert_eq!(server.dial(TARGET).refused().await, 4001, "no token at all");
}

#[tokio::test]
async fn five_seconds_of_leeway_are_given() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let seconds = now().as_secs();
    assert_let_in(&server, "expired", &server.token(1).with("exp", seconds - 2).sign()).await;
    assert_let_in(&server, "not yet", &server.token(1).with("nbf", seconds + 3).sign()).await;
}

#[tokio::test]
async fn the_user_is_the_configured_claim_else_sub() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let token = server.token(1);
    assert_let_in(&server, "sub", &token.clone().without("user_id").with("sub", "1").sign()).await;
    assert_let_in(&server, "user_id first", &token.clone().with("sub", "2").sign()).await;

    let server = Server::start(&[("AUTH__USER_CLAIM", "sub")]).await;
    server.room(&[1, 2]).await;
    assert_let_in(&server, "by sub", &token.clone().with("user_id", 2).with("sub", "1").sign()).await;

    let server = Server::start(&[("AUTH__USER_CLAIM", "uid")]).await;
    server.room(&[1, 2]).await;
    let uid = token.clone().without("user_id").with("uid", 1);
    assert_let_in(&server, "by uid", &uid.clone().with("user_id", 2).with("sub", "2").sign()).await;
    assert_let_in(&server, "uid is missing", &uid.clone().without("uid").with("sub", "1").sign()).await;
    assert_refused(&server, "user_id is another claim here", &token.sign()).await;
}

#[tokio::test]
async fn the_configured_address_claim_is_read() {
    let server = Server::start(&[("AUTH__EMAIL_CLAIM", "mail")]).await;
    server.room_of(vec![json!({"user_id": 1}), json!({"user_id": 2})]).await;
    let token = server.token(1).with("mail", "one@example.com").with("email", "another").sign();
    let mut one = server.dial(TARGET).token(&token).open().await;
    one.history().await;
    one.say_alone(1, 1, "hi").await;
    let mut again = server.dial(TARGET).token(&token).open().await;
    assert_eq!(again.history().await[0]["sender_email"], "one@example.com");
}

#[tokio::test]
async fn issuer_and_audience_are_checked_where_configured() {
    let server = Server::start(&[("AUTH__ISSUER", "the app"), ("AUTH__AUDIENCE", "parlor")]).await;
    server.room(&[1, 2]).await;
    let token = server.token(1).with("iss", "the app").with("aud", "parlor");
    assert_let_in(&server, "both", &token.sign()).await;
    let many = token.clone().with("aud", json!(["parlor", "billing"]));
    assert_let_in(&server, "one of several audiences", &many.sign()).await;
    for (case, token) in [
        ("no iss", token.clone().without("iss")),
        ("another iss", token.clone().with("iss", "an app")),
        ("no aud", token.clone().without("aud")),
        ("another aud", token.clone().with("aud", "billing")),
        ("other auds", token.clone().with("aud", json!(["billing"]))),
    ] {
        assert_refused(&server, case, &token.sign()).await;
    }
}

#[tokio::test]
async fn issuer_and_audience_may_be_anything_where_not_configured() {
    let (server, _one) = room_with_one_socket(&[]).await;
    let token = server.token(1).with("iss", "anyone").with("aud", json!(["any", "thing"]));
    assert_let_in(&server, "both", &token.sign()).await;
}

#[tokio::test]
async fn algorithms_are_accepted_only_when_listed() {
    let server = Server::start(&[("AUTH__ALGORITHMS", "HS384,HS512")]).await;
    server.room(&[1, 2]).await;
    let token = server.token(1);
    assert_let_in(&server, "HS384", &token.clone().algorithm(Algorithm::HS384).sign()).await;
    assert_let_in(&server, "HS512", &token.clone().algorithm(Algorithm::HS512).sign()).await;
    assert_refused(&server, "HS256", &token.sign()).await;
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_secret() {
    let (key, public) = key_pair();
    let server = Server::start(&[("AUTH__SECRET", ""), ("AUTH__PUBLIC_KEY", &public)]).await;
    server.room(&[1, 2]).await;
    let token = Token::of(&public, 1);
    assert_let_in(&server, "EdDSA", &token.clone().algorithm(Algorithm::EdDSA).sign_with(&key)).await;
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let forged = token.clone().algorithm(algorithm);
        assert_refused(&server, "the key as a secret", &forged.sign()).await;
        assert_refused(&server, "trimmed", &forged.secret(public.trim()).sign()).await;
    }
    assert_refused(&server, "alg none", &token.unsigned()).await;
}

#[tokio::test]
async fn ed25519_is_another_name_of_eddsa_and_of_nothing_else() {
    let (key, public) = key_pair();
    let windows = format!("\u{feff}{}", public.replace('\n', "\\r\\n"));
    let token = Token::of(&public, 1).algorithm(Algorithm::EdDSA);
    let under = |alg: &str| json!({"alg": alg, "typ": "JWT"});
    for (algorithms, pem) in [("", &*public), ("Ed25519", &*windows), ("EdDSA", &*public)] {
        let settings = [("AUTH__SECRET", ""), ("AUTH__PUBLIC_KEY", pem), ("AUTH__ALGORITHMS", algorithms)];
        let server = Server::start(&settings).await;
        server.room(&[1, 2]).await;
        for alg in ["Ed25519", "EdDSA"] {
            assert_let_in(&server, alg, &token.sign_under(&under(alg), &key)).await;
        }
        for alg in ["ed25519", "Ed448", "ES256", "HS256", "none", ""] {
            assert_refused(&server, alg, &token.sign_under(&under(alg), &key)).await;
        }
        let secret = EncodingKey::from_secret(public.as_bytes());
        let forged = token.clone().algorithm(Algorithm::HS256).sign_under(&under("Ed25519"), &secret);
        assert_refused(&server, "the key as a secret", &forged).await;
    }
    let (server, _one) = room_with_one_socket(&[]).await;
    let forged = server.token(1).sign_under(&under("Ed25519"), &EncodingKey::from_secret(b"any"));
    assert_refused(&server, "a secret has no such algorithm", &forged).await;
}
