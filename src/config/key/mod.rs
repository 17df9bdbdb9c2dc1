//! The keys that verify tokens, and the algorithms that each key may verify.
//!
//! Each key has a kind (such as RSA), and Parlor uses the key only with the algorithms of this kind. Otherwise a
//! token could name the algorithm HS256, and Parlor would use a public key as a shared secret. Then everyone who
//! knows the public key could sign tokens.

pub(crate) mod jwk;

use std::fmt;
use std::path::Path;

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;

use super::error::shown;
use super::file::{FileKind, TrustedFile, plain_pem};
use super::layers::Values;
use super::ranges::MIN_SECRET_BYTES;
use super::{AuthConfig, ConfigError};
use crate::config::url;

/// The accepted lengths of an RSA key, in bits. Shorter keys are too weak (RFC 7518, 3.3). The library jsonwebtoken
/// can't verify signatures of longer keys.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// The bytes that come before the key in a `SubjectPublicKeyInfo`, the DER form of a public key. For P-256 and P-384,
/// RFC 5480 defines these bytes. The key after them is an uncompressed point, which starts with the byte 4. For
/// Ed25519, RFC 8410 defines the bytes.
const P256: &[u8] = b"\
    \x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\
    \x03\x42\x00";
const P384: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00";
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// A key that verifies tokens.
pub(crate) struct TokenKey {
    /// The key in the form that the library jsonwebtoken uses.
    pub(crate) decoding: DecodingKey,
    /// The accepted algorithms. There is at least one, and all of them fit the key's kind.
    pub(crate) algorithms: Vec<Algorithm>,
}

/// The source of the keys, according to the configuration.
pub(crate) enum KeySource {
    /// No key is configured.
    None,
    /// One key. It verifies every token, even a token that names another key.
    One(TokenKey),
    /// Several keys from a file. The `kid` in a token's header names the key.
    Set(jwk::KeySet),
    /// Several keys that must be fetched from this location.
    Remote(KeySetLocation),
}

/// A key of a set.
pub(crate) struct NamedKey {
    /// The key's `kid`, by which tokens name it.
    pub(crate) name: Option<String>,
    pub(crate) key: TokenKey,
}

/// The location from which a key set is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeySetLocation {
    /// The URL of the set.
    Set(Url),
    /// The issuer. Its discovery document contains the URL of the set.
    Discovery(String),
}

impl fmt::Display for KeySetLocation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The query of the URL is not shown, because it may contain a key.
            Self::Set(url) => to.write_str(url.as_str().split('?').next().unwrap_or_default()),
            Self::Discovery(issuer) => to.write_str(issuer),
        }
    }
}

/// A kind of key.
struct KeyKind {
    /// The name of the kind in errors.
    name: &'static str,
    /// The algorithms of this kind. If `auth.algorithms` is empty, only the first algorithm of the list is accepted.
    algorithms: &'static [Algorithm],
}

const SHARED: KeyKind =
    KeyKind { name: "a shared secret", algorithms: &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] };
const RSA: KeyKind = KeyKind {
    name: "an RSA key",
    algorithms: &[
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
    ],
};
const EC_P256: KeyKind = KeyKind { name: "a P-256 key", algorithms: &[Algorithm::ES256] };
const EC_P384: KeyKind = KeyKind { name: "a P-384 key", algorithms: &[Algorithm::ES384] };
const ED: KeyKind = KeyKind { name: "an Ed25519 key", algorithms: &[Algorithm::EdDSA] };

/// Returns the algorithm with this name (RFC 7518, 3.1; RFC 9864, 2.2). The only supported Edwards curve is Ed25519,
/// and for this curve `Ed25519` is the new name of the algorithm `EdDSA`.
pub(crate) fn algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}

impl AuthConfig {
    /// Returns whether a key is configured. If no key is configured, the server creates a secret at its start.
    pub(crate) fn has_key(&self) -> bool {
        self.given().next().is_some()
    }

    /// Returns the configuration keys that are set and give signing keys. Only one of these configuration keys may
    /// be set.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("auth.secret", self.secret.is_some()),
            ("auth.public_key", self.public_key.is_some()),
            ("auth.jwks", self.jwks.is_some()),
            ("auth.discovery", self.discovery.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key)
    }

    /// Reads the configured key or key set, or returns the location from which a key set must be fetched.
    ///
    /// # Errors
    /// Two sources of keys are configured, or a key is invalid. The error says what is wrong.
    pub(crate) fn keys(&self) -> Result<KeySource, ConfigError> {
        let mut given = self.given();
        if let (Some(one), Some(other)) = (given.next(), given.next()) {
            return Err(ConfigError::new(other, format!("given beside {one}: give one of them")));
        }
        let location = |key: &str, url: &str| {
            safe(url).map_err(|fault| ConfigError::new(key, format!("{} {fault}", shown(url))))
        };
        if let Some(issuer) = &self.discovery {
            location("auth.discovery", issuer)?;
            return Ok(KeySource::Remote(KeySetLocation::Discovery(issuer.clone())));
        }
        if let Some(given) = &self.jwks {
            if given.contains("://") {
                return Ok(KeySource::Remote(KeySetLocation::Set(location("auth.jwks", given)?)));
            }
            let set = self.read_set(Path::new(given));
            return set.map(KeySource::Set).map_err(|fault| ConfigError::new("auth.jwks", fault));
        }
        Ok(self.key()?.map_or(KeySource::None, KeySource::One))
    }

    fn read_set(&self, path: &Path) -> Result<jwk::KeySet, String> {
        let file = TrustedFile::read(path, FileKind::Public)?;
        let set = jwk::read(file.bytes(), &self.algorithms, true)?;
        if set.has_secret {
            file.check(FileKind::Secret)?;
        }
        Ok(set)
    }

    /// Returns the configured key with its algorithms. Returns none if no key is configured.
    ///
    /// # Errors
    /// The key is invalid or too weak, or `auth.algorithms` has an algorithm that doesn't fit the key.
    pub(crate) fn key(&self) -> Result<Option<TokenKey>, ConfigError> {
        let (decoding, kind) = match (&self.secret, &self.public_key) {
            (Some(secret), _) => {
                let secret = secret.expose().as_bytes();
                if secret.len() < MIN_SECRET_BYTES {
                    let fault = format!("has fewer than {MIN_SECRET_BYTES} bytes");
                    return Err(ConfigError::new("auth.secret", fault));
                }
                (Some(DecodingKey::from_secret(secret)), SHARED)
            }
            (None, Some(given)) => {
                let (key, kind) =
                    public(given).map_err(|fault| ConfigError::new("auth.public_key", fault))?;
                (Some(key), kind)
            }
            // No key is configured, so the server will create a shared secret at its start. `auth.algorithms` is
            // checked now against the kind of this secret.
            (None, None) => (None, SHARED),
        };
        let algorithms = self.fitting(&kind)?;
        Ok(decoding.map(|decoding| TokenKey { decoding, algorithms }))
    }

    fn fitting(&self, kind: &KeyKind) -> Result<Vec<Algorithm>, ConfigError> {
        if self.algorithms.is_empty() {
            return Ok(kind.algorithms.iter().take(1).copied().collect());
        }
        match self.algorithms.iter().find(|algorithm| !kind.algorithms.contains(algorithm)) {
            None => Ok(self.algorithms.clone()),
            Some(misfit) => {
                let fault = format!("{misfit:?} doesn't fit {}, which is {:?}'s", kind.name, kind.algorithms);
                Err(ConfigError::new("auth.algorithms", fault))
            }
        }
    }

    pub(super) fn read_algorithms(values: &mut Values) -> Result<Vec<Algorithm>, ConfigError> {
        let names = values.list("auth.algorithms")?;
        let parsed = names.iter().map(|name| match algorithm(name) {
            Some(algorithm) => Ok(algorithm),
            None if name.eq_ignore_ascii_case("none") => {
                Err("none is refused: it would accept anyone's token".to_owned())
            }
            None => Err(format!("{} is no algorithm that is known here", shown(name))),
        });
        parsed.collect::<Result<_, _>>().map_err(|fault| values.fault("auth.algorithms", fault))
    }
}

/// Reads a public key and its kind, from PEM or a PEM file. Errors never show the given text, because it may be a
/// secret that the operator has set as `auth.public_key` by mistake.
fn public(given: &str) -> Result<(DecodingKey, KeyKind), String> {
    const BEGIN: &str = "-----BEGIN ";
    let file;
    let pem = if given.contains(BEGIN) {
        plain_pem(given)
    } else {
        let read = TrustedFile::read(Path::new(given), FileKind::Public).and_then(TrustedFile::into_text);
        file = read.map_err(|fault| format!("is neither PEM nor the path of a file: {fault}"))?;
        plain_pem(&file)
    };
    if pem.contains("PRIVATE KEY-----") {
        return Err("is a private key: give the public one, as from `openssl pkey -pubout`".to_owned());
    }
    if pem.contains("-----BEGIN CERTIFICATE-----") {
        return Err("is a certificate: give its key, as from `openssl x509 -pubkey -noout`".to_owned());
    }
    if pem.matches(BEGIN).count() != 1 {
        return Err("must be PEM with one public key in it, or the path of such a file".to_owned());
    }
    let der = der(&pem).unwrap_or_default();
    // An uncompressed point is the byte 4 and two coordinates.
    let point =
        |rest: &&[u8], coordinate: usize| rest.len() == 1 + 2 * coordinate && rest.first() == Some(&4);
    if let Some(key) = der.strip_prefix(P256).filter(|rest| point(rest, 32)) {
        return Ok((DecodingKey::from_ec_der(key), EC_P256));
    }
    if let Some(key) = der.strip_prefix(P384).filter(|rest| point(rest, 48)) {
        return Ok((DecodingKey::from_ec_der(key), EC_P384));
    }
    if let Some(key) = der.strip_prefix(ED25519).filter(|rest| rest.len() == 32) {
        return Ok((DecodingKey::from_ed_der(key), ED));
    }
    rsa(&pem)
}

fn rsa(pem: &str) -> Result<(DecodingKey, KeyKind), String> {
    let unknown = |_| "holds no RSA, P-256, P-384 or Ed25519 public key".to_owned();
    let key = DecodingKey::from_rsa_pem(pem.as_bytes()).map_err(unknown)?;
    let der = key.try_get_as_bytes().map_err(unknown)?;
    let (n, _) = (DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key)(der).map_err(unknown)?;
    strong(bits(&n))?;
    Ok((key, RSA))
}

fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() - zeros) * 8 - first
}

fn strong(bits: usize) -> Result<(), String> {
    if RSA_BITS.contains(&bits) {
        return Ok(());
    }
    let (least, most) = RSA_BITS.into_inner();
    Err(format!("is an RSA key of {bits} bits; {least} to {most} are accepted"))
}

/// Decodes the base64 in a PEM text. The library jsonwebtoken decodes base64 only in its function for shared secrets,
/// so `from_base64_secret` is used here for a public key.
fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, body) = pem.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = body.split_once("-----END PUBLIC KEY-----")?;
    let base64: String = body.split_ascii_whitespace().collect();
    let bytes = DecodingKey::from_base64_secret(&base64).ok()?;
    bytes.try_get_as_bytes().ok().map(<[u8]>::to_vec)
}

/// Parses the URL of an issuer or a key set. Accepts `http` only for this machine: without https, another machine in
/// the network could replace the keys.
///
/// # Errors
/// The URL can't be used. The text says what is wrong with it.
pub(crate) fn safe(url: &str) -> Result<Url, String> {
    let url: Url = url.parse().map_err(|error| format!("is no URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no login in it: it is logged".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if url::is_loopback(&url) => Ok(url),
        "http" => Err("must be https: keys that come in the open are anyone's".to_owned()),
        _ => Err("must be an https URL".to_owned()),
    }
}
