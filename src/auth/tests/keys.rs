//! Tests that public keys of each kind (RSA, elliptic curves, Ed25519) verify tokens. The tests generate
//! the keys, so the repository contains no private key.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::algorithm;

fn public(pem: &str) -> AuthConfig {
    AuthConfig { secret: None, public_key: Some(pem.to_owned()), ..auth() }
}

fn pem(tag: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n", lines.join("\n"))
}

fn spki(key: &impl AsDer<PublicKeyX509Der<'static>>) -> String {
    pem("PUBLIC KEY", key.as_der().unwrap().as_ref())
}

fn rsa() -> (EncodingKey, String) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let private = pem("PRIVATE KEY", private.as_ref());
    (EncodingKey::from_rsa_pem(private.as_bytes()).unwrap(), spki(pair.public_key()))
}

fn ec(curve: &'static EcdsaSigningAlgorithm) -> (EncodingKey, String) {
    let pair = EcdsaKeyPair::generate(curve).unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    (EncodingKey::from_ec_der(private.as_ref()), spki(pair.public_key()))
}

fn ed() -> (EncodingKey, String) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = pair.to_pkcs8().unwrap();
    (EncodingKey::from_ed_der(private.as_ref()), spki(pair.public_key()))
}

#[test]
fn key_verifies_only_the_algorithms_of_its_kind() {
    let keys = [
        (rsa(), &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (ec(&ECDSA_P256_SHA256_FIXED_SIGNING), &["ES256"]),
        (ec(&ECDSA_P384_SHA384_FIXED_SIGNING), &["ES384"]),
        (ed(), &["EdDSA", "Ed25519"]),
    ];
    let good = claims(&json!({}));
    for ((private, public_pem), names) in &keys {
        let named = |name: &str| algorithm(name).unwrap();
        let make = |name: &str| token(&json!({"alg": name}), &good, private, named(name));
        let bare = public(public_pem);
        for name in *names {
            let chosen = AuthConfig { algorithms: vec![named(name)], ..bare.clone() };
            assert!(verify(&chosen, &make(name)).is_ok(), "{name}");
            // If no algorithm is configured, only the first algorithm of the key's kind is accepted.
            assert_eq!(verify(&bare, &make(name)).is_ok(), named(name) == named(names[0]), "{name}");
        }
        let misfit = if names.contains(&"RS256") { Algorithm::ES256 } else { Algorithm::RS256 };
        for misfit in [misfit, Algorithm::HS256] {
            let mixed = AuthConfig { algorithms: vec![named(names[0]), misfit], ..bare.clone() };
            assert_eq!(Verifier::new(&mixed).err().unwrap().key(), Some("auth.algorithms"));
        }
        // An attacker signs a token with the public key as a shared secret. The token must be refused.
        let fake = EncodingKey::from_secret(public_pem.as_bytes());
        let fake = token(&json!({"alg": "HS256"}), &good, &fake, Algorithm::HS256);
        assert_eq!(verify(&bare, &fake).unwrap_err(), "the token's algorithm is not accepted");
        // `sign` fails for a public key, because only the private key can sign tokens.
        assert!(sign(&bare, &UserId::Int(1), None, Duration::from_mins(1)).is_err());
        // A PEM text with another form of line breaks, or with a byte order mark, gives the same key.
        // The path of a file with this text gives the same key too.
        for (from, to) in [
            ("\n", "\\n"),
            ("\n", "\\r\\n"),
            ("\n", "\r\n"),
            ("\n", "\r"),
            ("-----BEGIN", "\u{feff}-----BEGIN"),
        ] {
            let written = public_pem.replace(from, to);
            assert!(verify(&public(&written), &make(names[0])).is_ok(), "{written:?}");
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(&file, written).unwrap();
            assert!(verify(&public(file.path().to_str().unwrap()), &make(names[0])).is_ok());
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, public_pem).unwrap();
        assert!(verify(&public(file.path().to_str().unwrap()), &make(names[0])).is_ok());
    }
    let other = token(&json!({"alg": "EdDSA"}), &good, &ed().0, Algorithm::EdDSA);
    assert_eq!(verify(&public(&keys[3].0.1), &other).unwrap_err(), "the token's signature is wrong");
}

#[test]
fn unusable_public_key_is_refused() {
    let private: Pkcs8V1Der<'_> = RsaKeyPair::generate(KeySize::Rsa2048).unwrap().as_der().unwrap();
    let private = pem("PRIVATE KEY", private.as_ref());
    let p256 = ec(&ECDSA_P256_SHA256_FIXED_SIGNING).1;
    // Makes a secp256k1 key from the P-256 key, because Parlor must refuse this curve. The identifier of secp256k1 is 3
    // bytes shorter, so the two lengths before it are 3 less.
    let mut k1 = STANDARD.decode(p256.lines().filter(|l| !l.starts_with('-')).collect::<String>()).unwrap();
    k1.splice(13..23, [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a]);
    k1[1] -= 3;
    k1[3] -= 3;
    let cases = [
        (private, "is a private key"),
        (pem("CERTIFICATE", b"x"), "is a certificate"),
        (format!("{p256}{p256}"), "one public key"),
        (pem("PUBLIC KEY", &k1), "holds no RSA, P-256"),
        (pem("PUBLIC KEY", b"x"), "holds no RSA, P-256"),
        ("-----BEGIN PUBLIC KEY-----".to_owned(), "holds no RSA, P-256"),
        (SECRET.to_owned(), "neither PEM nor the path"),
        ("/".to_owned(), "neither PEM nor the path"),
    ];
    for (given, fault) in cases {
        let error = Verifier::new(&public(&given)).err().unwrap();
        assert_eq!(error.key(), Some("auth.public_key"));
        assert!(error.to_string().contains(fault) && !error.to_string().contains(SECRET), "{error}");
    }
}
