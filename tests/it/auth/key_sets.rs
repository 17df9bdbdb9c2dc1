//! Key sets (JWKS): several keys at the same time, read from a file.

use std::os::unix::fs::PermissionsExt;

use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use crate::support::{Home, Server, Signer, Token};

const TARGET: &str = "/ws/chat/?firts_user=1&second_user=2/";

/// A shared secret of 32 bytes: first in base64url, then as bytes.
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
async fn key_checks_only_tokens_that_name_it() {
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

/// Returns keys that can't be used, each with the expected error. No error may contain a part of the key.
fn bad_keys(good: &Value) -> Vec<(Value, &'static str)> {
    let with = |field: &str, value: Value| {
        let mut key = good.clone();
        key["kid"] = json!("bad");
        key[field] = value;
        key
    };
    let without = |field: &str| {
        let mut key = with("kid", json!("bad"));
        key.as_object_mut().unwrap().remove(field);
        key
    };
    vec![
        (json!(null), "key 0 is no JSON object"),
        (json!("hunter2"), "key 0 is no JSON object"),
        (with("use", json!("enc")), "key \"bad\" has the `use` \"enc\""),
        (with("key_ops", json!(["sign"])), "key \"bad\" has no `verify` among its `key_ops`"),
        (with("d", json!("hunter2")), "key \"bad\" is a private key"),
        (with("x", json!("aHVudGVyMg")), "key \"bad\" has a coordinate of the wrong length"),
        (with("x", json!("?")), "key \"bad\" is not base64url"),
        (with("x", json!(5)), "key \"bad\" has a `x` that is no string"),
        (without("x"), "key \"bad\" has no `x`"),
        (without("kty"), "key \"bad\" has no `kty`"),
        (without("crv"), "key \"bad\" has no `crv`"),
        (with("kid", json!(7)), "key 0 has a `kid` that is no string"),
        (with("kty", json!("AKP")), "key \"bad\" has the `kty` \"AKP\", which isn't supported"),
        (with("crv", json!("Ed448")), "key \"bad\" has the `crv` \"Ed448\", which isn't supported"),
        (with("alg", json!("ES512")), "key \"bad\" has the `alg` \"ES512\", which isn't supported"),
        (with("alg", json!("HS256")), "key \"bad\" has the `alg` \"HS256\", which isn't supported"),
        (with("alg", json!("ECDH-ES")), "key \"bad\" has the `alg` \"ECDH-ES\""),
        (json!({"kty": "oct", "kid": "bad", "k": "aHVudGVyMg"}), "key \"bad\" has fewer than 32 bytes"),
        (json!({"kty": "RSA", "n": "wAAAAAAAAAA", "e": "AQAB"}), "key 0 is an RSA key of 64 bits"),
    ]
}

#[tokio::test]
async fn set_without_a_good_key_refuses_to_start_and_says_why() {
    let home = Home::new().await;
    let nothing = [vec![]].map(|keys| (keys, "holds no key that could check a token"));
    let bad = bad_keys(&Signer::new("good").public).into_iter().map(|(key, fault)| (vec![key], fault));
    for (keys, fault) in nothing.into_iter().chain(bad) {
        let file = file(&keys);
        let path = file.path().to_str().unwrap();
        let refused = home.run_with(&[("AUTH__JWKS", path)], &["token", "--user", "1"]).await;
        let told = refused.refused();
        let why = if keys.is_empty() { fault.to_owned() } else { format!("could check a token: {fault}") };
        assert!(told.contains("auth.jwks: holds no key") && told.contains(&why), "{told}");
        assert!(told.contains("(PARLOR__AUTH__JWKS)"), "{told}");
        assert!(!told.contains("hunter2") && !told.contains("aHVudGVyMg"), "{told}");
    }
}

#[tokio::test]
async fn key_set_keeps_its_other_keys_when_one_is_bad() {
    let (one, other) = (Signer::new("one"), Signer::new("other"));
    let bad = bad_keys(&one.public);
    let keys = bad.iter().map(|(key, _)| key.clone());
    let keys: Vec<_> = [one.public.clone()].into_iter().chain(keys).chain([other.public.clone()]).collect();
    let server = server(&keys, "").await;
    for signer in [&one, &other] {
        let token = Token::of("", 1).algorithm(Algorithm::EdDSA).sign_named(&signer.name, &signer.key);
        assert_eq!(refusal(&server, &token).await, None, "{}", signer.name);
    }

    let home = Home::new().await;
    let file = file(&keys);
    let checked = home.run_with(&[("AUTH__JWKS", file.path().to_str().unwrap())], &["check"]).await;
    for (_, fault) in bad.iter().filter(|(_, fault)| !fault.starts_with("key 0")) {
        let warning = format!("WARN   auth.jwks: {fault}");
        assert!(checked.printed().contains(&warning), "{fault}: {checked:#?}");
    }
    assert!(!checked.out.contains("hunter2") && !checked.out.contains("aHVudGVyMg"), "{checked:#?}");
}

#[tokio::test]
async fn set_is_read_with_a_bom_padding_and_plain_base64() {
    let mut signer = Signer::new("one");
    // Creates new keys until the key contains a character that differs between base64url and plain base64.
    while !signer.public["x"].as_str().unwrap().contains(['-', '_']) {
        signer = Signer::new("one");
    }
    let plain = signer.public["x"].as_str().unwrap().replace('-', "+").replace('_', "/") + "=";
    signer.public["x"] = json!(plain);
    signer.public["alg"] = json!("Ed25519");
    let secret = format!("{}=", SHARED.0);
    let shared = json!({"kty": "oct", "kid": "shared", "k": secret});
    let set = format!("\u{feff}{}", json!({"keys": [signer.public, shared]}));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, set).unwrap();
    let path = file.path().to_str().unwrap();
    let server = Server::start(&[("AUTH__SECRET", ""), ("AUTH__JWKS", path)]).await;
    server.room(&[1, 2]).await;
    let token = Token::of("", 1);
    let ed = token.clone().algorithm(Algorithm::EdDSA).sign_named("one", &signer.key);
    assert_eq!(refusal(&server, &ed).await, None);
    let hs = token.sign_named("shared", &EncodingKey::from_secret(SHARED.1));
    assert_eq!(refusal(&server, &hs).await, None);
}

#[tokio::test]
async fn file_that_others_can_change_or_read_is_refused() {
    let home = Home::new().await;
    let signer = Signer::new("one");
    for (keys, mode, fault) in [
        (vec![signer.public.clone()], 0o666, "can be changed by other users (mode 0666)"),
        (vec![signer.public.clone()], 0o664, "can be changed by other users (mode 0664)"),
        (
            vec![signer.public.clone(), shared("s")],
            0o644,
            "holds a secret that every user can read (mode 0644)",
        ),
    ] {
        let file = file(&keys);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let path = file.path().to_str().unwrap();
        let refused = home.run_with(&[("AUTH__JWKS", path)], &["check"]).await;
        let told = refused.refused();
        assert!(told.contains(fault) && told.contains("run `chmod 6"), "{told}");
    }
    let settings = home.path().join("settings.toml");
    std::fs::write(&settings, "").unwrap();
    std::fs::set_permissions(&settings, std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = home.run(&["--config", "settings.toml", "check"]).await;
    assert!(refused.refused().contains("settings.toml: can be changed by other users"), "{refused:#?}");
}

#[tokio::test]
async fn place_of_keys_that_leads_nowhere_refuses_to_start() {
    let home = Home::new().await;
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
