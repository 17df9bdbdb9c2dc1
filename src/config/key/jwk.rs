//! Reads JSON Web Key Sets (RFC 7517). A set has several keys. A token's header names the key that signed the token
//! by the key's `kid`.
//!
//! A key that can't be used is skipped, and a warning names the key. The remaining keys are used, because one bad
//! entry must not make all tokens invalid. Shared secrets are only accepted from files. Private keys are never
//! accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    EC_P256, EC_P384, ED, KeyKind, MIN_SECRET_BYTES, NamedKey, RSA, SHARED, TokenKey, algorithm, bits, strong,
};
use crate::config::error::shown;
use crate::config::file::without_bom;

/// The prefixes of algorithms that encrypt (RFC 7518, 4.1).
const ENCRYPTING: &[&str] = &["RSA-OAEP", "RSA1_5", "ECDH-ES", "A128", "A192", "A256", "PBES2", "dir"];

/// The most skipped keys that an error names.
const NAMED: usize = 3;

/// The content of a key set.
pub(crate) struct KeySet {
    /// The keys that can verify a token. There is at least one.
    pub(crate) keys: Vec<NamedKey>,
    /// The keys that are meant for verifying tokens but can't be used, each with the reason.
    pub(crate) faults: Vec<String>,
    /// The keys for purposes other than verifying tokens, each with its purpose.
    pub(crate) others: Vec<String>,
    /// Whether one of the keys is a shared secret.
    pub(crate) has_secret: bool,
}

#[derive(Deserialize)]
struct RawKeySet {
    keys: Vec<Value>,
}

/// The reason why a key is skipped.
enum PassedOver {
    Unusable(String),
    ForSomethingElse(String),
}

impl From<String> for PassedOver {
    fn from(fault: String) -> Self {
        Self::Unusable(fault)
    }
}

impl From<&str> for PassedOver {
    fn from(fault: &str) -> Self {
        Self::Unusable(fault.to_owned())
    }
}

/// Reads a key set. `accepted` are the algorithms of `auth.algorithms`. If `shared` is true, the set may contain
/// shared secrets. `shared` is true only for a set in a local file: a set that is fetched from a URL can be read by
/// other users.
///
/// # Errors
/// The text is not a key set, or no key in it can verify a token. The error shows only the names of keys.
pub(crate) fn read(text: &[u8], accepted: &[Algorithm], shared: bool) -> Result<KeySet, String> {
    // The parser's own message is not shown, because it may contain a part of the text.
    let set: RawKeySet = serde_json::from_slice(without_bom(text))
        .map_err(|_| "is no JSON object with a list of `keys`".to_owned())?;
    let (mut faults, mut others) = (Vec::new(), Vec::new());
    let mut read = KeySet { keys: Vec::new(), faults: Vec::new(), others: Vec::new(), has_secret: false };
    for (at, entry) in set.keys.iter().enumerate() {
        let name = entry.get("kid").and_then(Value::as_str).map_or_else(|| at.to_string(), shown);
        let fields = entry.as_object().ok_or_else(|| PassedOver::from("is no JSON object"));
        match fields.and_then(|fields| key(fields, accepted, shared)) {
            Ok((key, is_secret)) => {
                read.has_secret |= is_secret;
                read.keys.push(key);
            }
            Err(PassedOver::Unusable(fault)) => faults.push(format!("key {name} {fault}")),
            Err(PassedOver::ForSomethingElse(fault)) => others.push(format!("key {name} {fault}")),
        }
    }
    if read.keys.is_empty() {
        let why: Vec<_> = faults.iter().chain(&others).take(NAMED).map(String::as_str).collect();
        let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
        return Err(format!("holds no key that could check a token{why}"));
    }
    Ok(KeySet { faults, others, ..read })
}

/// Reads one key. The second value says whether the key is a shared secret.
fn key(
    fields: &Map<String, Value>,
    accepted: &[Algorithm],
    shared: bool,
) -> Result<(NamedKey, bool), PassedOver> {
    if fields.contains_key("d") {
        return Err("is a private key: give the public one".into());
    }
    if let Some(purpose) = text(fields, "use")?.filter(|purpose| *purpose != "sig") {
        return Err(PassedOver::ForSomethingElse(format!("has the `use` {}", shown(purpose))));
    }
    let verifies = match fields.get("key_ops") {
        None | Some(Value::Null) => true,
        Some(Value::Array(all)) => all.iter().any(|operation| operation == "verify"),
        Some(other) => other == "verify",
    };
    if !verifies {
        return Err(PassedOver::ForSomethingElse("has no `verify` among its `key_ops`".to_owned()));
    }
    let own = text(fields, "alg")?;
    if let Some(alg) = own.filter(|alg| ENCRYPTING.iter().any(|start| alg.starts_with(start))) {
        return Err(PassedOver::ForSomethingElse(format!("has the `alg` {}", shown(alg))));
    }
    let name = text(fields, "kid")?.map(str::to_owned);
    let (decoding, kind) = material(fields, shared)?;
    let own = match own {
        None => None,
        Some(alg) => {
            let fits = |algorithm: &Algorithm| kind.algorithms.contains(algorithm);
            let fault = || format!("has the `alg` {}, which isn't supported with {}", shown(alg), kind.name);
            Some(algorithm(alg).filter(fits).ok_or_else(fault)?)
        }
    };
    let algorithms = algorithms(&kind, own, accepted);
    if algorithms.is_empty() {
        let fault = format!("is {}, for no algorithm that auth.algorithms accepts", kind.name);
        return Err(PassedOver::ForSomethingElse(fault));
    }
    let is_secret = kind.algorithms == SHARED.algorithms;
    Ok((NamedKey { name, key: TokenKey { decoding, algorithms } }, is_secret))
}

/// Returns the algorithms that this key may verify. If the key names its algorithm, only this algorithm is possible.
/// If the configuration names no algorithms, only the first possible algorithm is returned.
fn algorithms(kind: &KeyKind, own: Option<Algorithm>, accepted: &[Algorithm]) -> Vec<Algorithm> {
    let fitting =
        kind.algorithms.iter().filter(|algorithm| own.is_none_or(|own| own == **algorithm)).copied();
    match accepted {
        [] => fitting.take(1).collect(),
        accepted => fitting.filter(|algorithm| accepted.contains(algorithm)).collect(),
    }
}

/// Returns the decoded key and its kind. Refuses keys that are too weak or not supported.
fn material(fields: &Map<String, Value>, shared: bool) -> Result<(DecodingKey, KeyKind), PassedOver> {
    let kty = text(fields, "kty")?.ok_or("has no `kty`")?;
    let crv = text(fields, "crv")?;
    Ok(match (kty, crv) {
        ("RSA", _) => {
            let (n, e) = (bytes(fields, "n")?, bytes(fields, "e")?);
            strong(bits(&n))?;
            (DecodingKey::from_rsa_raw_components(&n, &e), RSA)
        }
        ("EC", Some("P-256")) => (point(fields, 32)?, EC_P256),
        ("EC", Some("P-384")) => (point(fields, 48)?, EC_P384),
        ("OKP", Some("Ed25519")) => (DecodingKey::from_ed_der(&sized(fields, "x", 32)?), ED),
        ("oct", _) if !shared => return Err("is a shared secret, which anyone could have read there".into()),
        ("oct", _) => {
            let secret = bytes(fields, "k")?;
            if secret.len() < MIN_SECRET_BYTES {
                return Err(format!("has fewer than {MIN_SECRET_BYTES} bytes").into());
            }
            (DecodingKey::from_secret(&secret), SHARED)
        }
        ("EC" | "OKP", None) => return Err("has no `crv`".into()),
        ("EC" | "OKP", Some(crv)) => {
            return Err(format!("has the `crv` {}, which isn't supported", shown(crv)).into());
        }
        (kty, _) => return Err(format!("has the `kty` {}, which isn't supported", shown(kty)).into()),
    })
}

/// Returns the key of a point on an elliptic curve. The key's fields `x` and `y` are the coordinates of the point.
fn point(fields: &Map<String, Value>, size: usize) -> Result<DecodingKey, String> {
    let (x, y) = (sized(fields, "x", size)?, sized(fields, "y", size)?);
    Ok(DecodingKey::from_ec_der(&[&[4], &*x, &*y].concat()))
}

fn sized(fields: &Map<String, Value>, name: &str, size: usize) -> Result<Vec<u8>, String> {
    let bytes = bytes(fields, name)?;
    if bytes.len() == size { Ok(bytes) } else { Err("has a coordinate of the wrong length".to_owned()) }
}

/// Decodes a field in base64url. Also accepts padding and plain base64, because some issuers write their keys in
/// this form.
fn bytes(fields: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = text(fields, name)?.ok_or_else(|| format!("has no `{name}`"))?;
    let plain = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(plain).map_err(|_| "is not base64url".to_owned())
}

/// Returns the text of a field, or none if the key doesn't have the field.
fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("has a `{name}` that is no string")),
    }
}
