//! Fuzzes the verification of tokens. A token is an arbitrary text, or has an arbitrary header and arbitrary claims
//! with a valid signature.

use std::sync::LazyLock;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};

use super::{CONFIG, SECRET};
use crate::auth::{Caller, MAX_EMAIL_BYTES, TokenError, Verifier};

static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(&CONFIG.auth).expect("there is a secret"));

/// Verifies a token. If the input has a line break, the first line is the token's header and the following text is its
/// claims. The target then signs the header and the claims. An input without a line break is the token itself.
pub fn tokens(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let token = match text.split_once('\n') {
        Some((header, claims)) => signed(header, claims),
        None => text.to_owned(),
    };
    match verified(&token) {
        Ok(Caller { user, email, doubted_email, expires_at, .. }) => {
            assert_eq!(user.to_string().parse(), Ok(user));
            assert!(email.is_none() || doubted_email.is_none());
            assert!(email.or(doubted_email).is_none_or(|email| (1..=MAX_EMAIL_BYTES).contains(&email.len())));
            assert!(expires_at > SystemTime::now());
        }
        // The text becomes the reason of a close frame, which has at most 123 bytes.
        Err(refused) => assert!((1..=123).contains(&refused.as_str().len()), "{refused}"),
    }
}

pub(super) fn verified(token: &str) -> Result<Caller, TokenError> {
    verifier().verify(token)
}

pub(super) fn verifier() -> &'static Verifier {
    &VERIFIER
}

fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}
