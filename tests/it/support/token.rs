//! Tokens of users, valid and forged.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The claims of a token, and the key and algorithm of its signature. By default, the algorithm is HS256.
#[derive(Clone)]
pub(crate) struct Token {
    claims: Value,
    secret: String,
    algorithm: Algorithm,
}

impl Token {
    /// Makes a token of a user that is valid for an hour. The user's id is in the default claim.
    pub(crate) fn of(secret: &str, user: impl Into<Value>) -> Self {
        let claims = json!({"user_id": user.into(), "exp": now().as_secs() + 3600});
        Self { claims, secret: secret.to_owned(), algorithm: Algorithm::HS256 }
    }

    /// Sets or replaces a claim.
    pub(crate) fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims[claim] = value.into();
        self
    }

    /// Removes a claim.
    pub(crate) fn without(mut self, claim: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(claim);
        self
    }

    pub(crate) fn secret(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    pub(crate) fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    pub(crate) fn sign(&self) -> String {
        self.sign_with(&EncodingKey::from_secret(self.secret.as_bytes()))
    }

    pub(crate) fn sign_with(&self, key: &EncodingKey) -> String {
        jsonwebtoken::encode(&Header::new(self.algorithm), &self.claims, key).unwrap()
    }

    /// Signs the token with a key, and puts the key's id into the header.
    pub(crate) fn sign_named(&self, name: &str, key: &EncodingKey) -> String {
        let header = Header { kid: Some(name.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &self.claims, key).unwrap()
    }

    /// Signs the token under any header, even with an algorithm name that the library does not know.
    pub(crate) fn sign_under(&self, header: &Value, key: &EncodingKey) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(&self.claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// Returns the token with the header `{"alg":"none"}` and an empty signature.
    pub(crate) fn unsigned(&self) -> String {
        let signed = self.sign();
        let claims = signed.split('.').nth(1).unwrap();
        // {"alg":"none","typ":"JWT"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
    }
}

/// Returns the time since 1970, by the real clock.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
