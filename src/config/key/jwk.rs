//! JSON Web Key Sets (RFC 7517): several keys at once, each with the name that tokens have for it.
//!
//! A file is its owner's own, and held to every word: one bad key refuses it. What an issuer publishes may have
//! anything beside what is for us, and is picked over. Shared secrets are taken from files alone, private keys from
//! nowhere.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{EC_P256, EC_P384, ED, Key, Kind, MIN_SECRET_BYTES, NamedKey, RSA, SHARED, bits, strong};
use crate::config::error::shown;

/// What an issuer published.
pub(crate) struct Published {
    /// The keys that can check a token; one or more.
    pub(crate) keys: Vec<NamedKey>,
    /// What is wrong with others that say they could.
    pub(crate) faults: Vec<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Map<String, Value>>,
}

/// The keys of a file. No refusal shows anything of a key but its name.
pub(super) fn read_file(text: &str, accepted: &[Algorithm]) -> Result<Vec<NamedKey>, String> {
    let mut keys = Vec::new();
    for read in read(text.as_bytes(), accepted, true)? {
        keys.extend(read?);
    }
    some(keys)
}

/// The keys of a document that came from elsewhere.
///
/// # Errors
/// It is no key set, or has no key that can check a token.
pub(crate) fn read_published(text: &[u8], accepted: &[Algorithm]) -> Result<Published, String> {
    let (mut keys, mut faults) = (Vec::new(), Vec::new());
    for read in read(text, accepted, false)? {
        match read {
            Ok(key) => keys.extend(key),
            Err(fault) => faults.push(fault),
        }
    }
    Ok(Published { keys: some(keys)?, faults })
}

fn some(keys: Vec<NamedKey>) -> Result<Vec<NamedKey>, String> {
    if keys.is_empty() { Err("holds no key that could check a token".to_owned()) } else { Ok(keys) }
}

type Read = Result<Option<NamedKey>, String>;

fn read(text: &[u8], accepted: &[Algorithm], shared: bool) -> Result<Vec<Read>, String> {
    // The parser's own message may show a part of what stands there.
    let set: Set =
        serde_json::from_slice(text).map_err(|_| "is no JSON object with a list of `keys`".to_owned())?;
    let key = |(at, fields): (usize, Map<String, Value>)| {
        let name = fields.get("kid").and_then(Value::as_str).map_or_else(|| at.to_string(), shown);
        key(fields, accepted, shared).map_err(|fault| format!("key {name} {fault}"))
    };
    Ok(set.keys.into_iter().enumerate().map(key).collect())
}

/// None where the key is for something else, or of a kind that nothing here is signed with.
fn key(fields: Map<String, Value>, accepted: &[Algorithm], shared: bool) -> Read {
    if fields.contains_key("d") {
        return Err("is a private key: give the public one".to_owned());
    }
    let jwk: Jwk = serde_json::from_value(fields.into()).map_err(|_| "is malformed".to_owned())?;
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let Some(kind) = kind(&jwk.algorithm)?.filter(|_| signs && verifies) else { return Ok(None) };
    if !shared && kind.algorithms == SHARED.algorithms {
        return Err("is a shared secret, which anyone could have read there".to_owned());
    }
    let algorithms = algorithms(&kind, &jwk, accepted);
    if algorithms.is_empty() {
        return Ok(None);
    }
    let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| "is malformed".to_owned())?;
    Ok(Some(NamedKey { name: jwk.common.key_id, key: Key { decoding, algorithms } }))
}

/// What the key may be used with: what it names itself, where it does, within what is accepted.
fn algorithms(kind: &Kind, jwk: &Jwk, accepted: &[Algorithm]) -> Vec<Algorithm> {
    let own = jwk.common.key_algorithm.map(|own| own.to_string().parse::<Algorithm>().ok());
    let fits = |algorithm: &&Algorithm| own.is_none_or(|own| own == Some(**algorithm));
    let fitting = kind.algorithms.iter().filter(fits);
    match accepted {
        [] => fitting.take(1).copied().collect(),
        accepted => fitting.filter(|algorithm| accepted.contains(algorithm)).copied().collect(),
    }
}

/// The kind of a key that is strong enough; none where it is of another.
fn kind(parameters: &AlgorithmParameters) -> Result<Option<Kind>, String> {
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "is not base64url".to_owned());
    let sized = |part: &str, size: usize| {
        let fault = "has a coordinate of the wrong length";
        if bytes(part)?.len() == size { Ok(()) } else { Err(fault.to_owned()) }
    };
    Ok(match parameters {
        AlgorithmParameters::RSA(rsa) => {
            strong(bits(&bytes(&rsa.n)?))?;
            Some(RSA)
        }
        AlgorithmParameters::EllipticCurve(point) => {
            let (kind, size) = match point.curve {
                EllipticCurve::P256 => (EC_P256, 32),
                EllipticCurve::P384 => (EC_P384, 48),
                _ => return Ok(None),
            };
            sized(&point.x, size)?;
            sized(&point.y, size)?;
            Some(kind)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            sized(&pair.x, 32)?;
            Some(ED)
        }
        AlgorithmParameters::OctetKey(secret) => {
            if bytes(&secret.value)?.len() < MIN_SECRET_BYTES {
                return Err(format!("has fewer than {MIN_SECRET_BYTES} bytes"));
            }
            Some(SHARED)
        }
        _ => None,
    })
}
