//! Valid and forged tokens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// Claims and their signature. By default: HS256 with the server's secret, valid for an hour.
#[derive(Clone)]
pub(crate) struct Token {
    claims: Value,
    secret: String,
    algorithm: Algorithm,
}

impl Token {
    /// Makes a token of a user, by the default claim.
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

    /// Signs with a key that has a name.
    pub(crate) fn sign_named(&self, name: &str, key: &EncodingKey) -> String {
        let header = Header { kid: Some(name.to_owned()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &self.claims, key).unwrap()
    }

    /// Signs with any header. Its algorithm may have a name that the library does not know.
    pub(crate) fn sign_under(&self, header: &Value, key: &EncodingKey) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(&self.claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// Returns the claims under `{"alg":"none"}`, with an empty signature.
    pub(crate) fn unsigned(&self) -> String {
        let signed = self.sign();
        let claims = signed.split('.').nth(1).unwrap();
        // {"alg":"none","typ":"JWT"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
    }
}

/// Returns the time since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}
