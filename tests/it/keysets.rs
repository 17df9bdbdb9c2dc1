//! Several keys at once, from a file.

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::support::{Home, Server, Signer, Token};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// 32 bytes in base64url, and as they are.
const SHARED: (&str, &[u8]) =
    ("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U", b"secretsecretsecretsecretsecretse");

fn file(keys: &[Value]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "keys": keys }).to_string()).unwrap();
    file
}

async fn server(keys: &[Value], algorithms: &str) -> Server {
    let file = file(keys);
    let path = file.path().to_str().unwrap();
    let settings = [("AUTH__SECRET", ""), ("AUTH__JWKS", path), ("AUTH__ALGORITHMS", algorithms)];
    let server = Server::start(&settings).await;
    server.room(&[1, 2]).await;
    server
}

async fn refusal(server: &Server, token: &str) -> Option<u16> {
    server.dial(TARGET).token(token).open().await.refused_or_history().await
}

fn shared(name: &str) -> Value {
    json!({"kty": "oct", "kid": name, "k": SHARED.0})
}

#[tokio::test]
async fn each_key_checks_the_tokens_that_name_it() {
    let (one, other) = (Signer::new("one"), Signer::new("other"));
    let server = server(&[one.public.clone(), other.public.clone(), shared("shared")], "").await;
    let token = Token::of("", 1).algorithm(Algorithm::EdDSA);
    let plain = token.clone().algorithm(Algorithm::HS256);
    let secret = EncodingKey::from_secret(SHARED.1);
    for (case, good) in [
        ("one", token.sign_named("one", &one.key)),
        ("other", token.sign_named("other", &other.key)),
        ("shared", plain.sign_named("shared", &secret)),
        ("the only one of its algorithm", plain.sign_with(&secret)),
    ] {
        assert_eq!(refusal(&server, &good).await, None, "{case}");
    }
    let public = EncodingKey::from_secret(one.public["x"].as_str().unwrap().as_bytes());
    for (case, bad) in [
        ("another's name", token.sign_named("other", &one.key)),
        ("no such name", token.sign_named("third", &one.key)),
        ("one of two, and it doesn't say which", token.sign_with(&one.key)),
        ("a public key as a secret", plain.sign_named("one", &public)),
        ("the secret under a public key's name", plain.sign_named("one", &secret)),
        (
            "an algorithm that isn't the key's",
            plain.clone().algorithm(Algorithm::HS512).sign_named("shared", &secret),
        ),
        ("no signature", plain.unsigned()),
    ] {
        assert_eq!(refusal(&server, &bad).await, Some(4001), "{case}");
    }
}

#[tokio::test]
async fn algorithms_that_are_listed_hold_for_all_keys() {
    let one = Signer::new("one");
    let server = server(&[one.public.clone(), shared("shared")], "HS512").await;
    let token = Token::of("", 1);
    let secret = EncodingKey::from_secret(SHARED.1);
    let hs = |algorithm| token.clone().algorithm(algorithm).sign_named("shared", &secret);
    assert_eq!(refusal(&server, &hs(Algorithm::HS512)).await, None);
    assert_eq!(refusal(&server, &hs(Algorithm::HS256)).await, Some(4001));
    let ed = token.clone().algorithm(Algorithm::EdDSA).sign_named("one", &one.key);
    assert_eq!(refusal(&server, &ed).await, Some(4001));
}

#[tokio::test]
async fn a_bad_set_refuses_to_start_and_says_which_key() {
    let home = Home::new().await;
    let good = Signer::new("good").public;
    let with = |field: &str, value: &str| {
        let mut key = good.clone();
        key["kid"] = json!("bad");
        key[field] = json!(value);
        key
    };
    for (keys, fault) in [
        (vec![], "holds no key that could check a token"),
        (vec![with("use", "enc")], "holds no key that could check a token"),
        (vec![good.clone(), with("d", "hunter2")], "key \"bad\" is a private key"),
        (vec![good.clone(), with("x", "aHVudGVyMg")], "key \"bad\" has a coordinate of the wrong length"),
        (vec![good.clone(), with("x", "?")], "key \"bad\" is not base64url"),
        (vec![json!({"kty": "oct", "kid": "bad", "k": "aHVudGVyMg"})], "key \"bad\" has fewer than 32 bytes"),
        (vec![json!({"kty": "RSA", "n": "wAAAAAAAAAA", "e": "AQAB"})], "key 0 is an RSA key of 64 bits"),
    ] {
        let file = file(&keys);
        let path = file.path().to_str().unwrap();
        let refused = home.run_with(&[("AUTH__JWKS", path)], &["check"]).await;
        let told = refused.refused();
        assert!(
            told.contains(&format!("auth.jwks: {fault}")) && told.contains("(PARLOR__AUTH__JWKS)"),
            "{told}"
        );
        assert!(!told.contains("hunter2") && !told.contains("aHVudGVyMg"), "{told}");
    }
    for (settings, fault) in [
        (&[("AUTH__JWKS", "/no/such.json")][..], "auth.jwks: can't be read"),
        (
            &[("AUTH__JWKS", "http://example.com/keys")],
            "auth.jwks: \"http://example.com/keys\" must be https",
        ),
        (
            &[("AUTH__JWKS", "ftp://example.com/keys")],
            "auth.jwks: \"ftp://example.com/keys\" must be an https URL",
        ),
        (
            &[("AUTH__DISCOVERY", "http://example.com")],
            "auth.discovery: \"http://example.com\" must be https",
        ),
        (&[("AUTH__DISCOVERY", "example.com")], "auth.discovery: \"example.com\" is no URL"),
        (
            &[("AUTH__JWKS", "https://a.example/k"), ("AUTH__DISCOVERY", "https://a.example")],
            "auth.discovery: given beside auth.jwks: give one of them",
        ),
    ] {
        let refused = home.run_with(settings, &["check"]).await;
        assert!(refused.refused().contains(fault), "{refused:#?}");
    }
}
