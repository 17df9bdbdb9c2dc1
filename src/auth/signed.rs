//! Splits a token into its three parts (RFC 7515, 3.1), and verifies its signature.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::refused::TokenError;
use crate::config::algorithm;

const MALFORMED: TokenError = TokenError::new("the token is malformed");

/// A token whose signature is not verified yet.
pub(super) struct SignedToken<'a> {
    pub(super) header: Header,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// The fields of the token's header that Parlor uses.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key: Option<String>,
    pub(super) typ: Option<String>,
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> SignedToken<'a> {
    /// Splits a token and decodes its header.
    ///
    /// # Errors
    /// The token is malformed, its algorithm is unknown, or its header has a critical extension.
    pub(super) fn parse(token: &'a str) -> Result<Self, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, payload) = message.split_once('.').ok_or(MALFORMED)?;
        if payload.contains('.') {
            return Err(MALFORMED);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| MALFORMED)?;
        let RawHeader { alg, kid, typ, crit } = serde_json::from_slice(&header).map_err(|_| MALFORMED)?;
        // A token with an unknown algorithm is refused as malformed, because a malformed token causes no fetch of
        // the issuer's keys.
        let algorithm = algorithm(&alg).ok_or(MALFORMED)?;
        // RFC 7515, 4.1.11: a token with an unknown critical extension must be refused. Parlor knows no extensions.
        if crit.is_some() {
            return Err(TokenError::new("the token has a critical extension"));
        }
        Ok(Self { header: Header { algorithm, key: kid, typ }, message, payload, signature })
    }

    /// Verifies the signature and returns the claims. The caller must have checked that the key may be used with the
    /// token's algorithm.
    ///
    /// # Errors
    /// The key did not sign the token, or the claims are not a JSON object.
    pub(super) fn claims(&self, key: &DecodingKey) -> Result<Map<String, Value>, TokenError> {
        // The library checks again that the key and the algorithm belong together.
        match crypto::verify(self.signature, self.message.as_bytes(), key, self.header.algorithm) {
            Ok(true) => {}
            Ok(false) => return Err(TokenError::about_key("the token's signature is wrong")),
            Err(_) => return Err(MALFORMED),
        }
        let claims = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| MALFORMED)?;
        serde_json::from_slice(&claims).map(|Claims(claims)| claims).map_err(|_| MALFORMED)
    }
}

/// The claims of a token. A token with a repeated claim is refused: Parlor could use one of the two values, and another
/// program the other value (RFC 7519, 4).
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClaimsVisitor;
        impl<'de> Visitor<'de> for ClaimsVisitor {
            type Value = Claims;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = entries.next_entry()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("a claim occurs twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }
        deserializer.deserialize_map(ClaimsVisitor)
    }
}
