//! Signs requests. With the signature, a receiver (a server of the application) can check that a request comes from
//! Parlor, is complete, and is recent. The header is `Parlor-Signature: t=<seconds>,v1=<hex>`. `t` is the Unix time,
//! and `v1` is the HMAC-SHA256 of `<seconds>.<body>` with the shared secret.
//!
//! A receiver should refuse requests that are older than a few minutes. Otherwise an attacker could send a recorded
//! request again.

use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

use crate::config::Secret;

/// The name of the header that contains the signature.
pub const SIGNATURE: &str = "parlor-signature";

/// Signs the requests of one receiver with its shared secret.
pub(super) struct Signer(hmac::Key);

impl fmt::Debug for Signer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Signer(..)")
    }
}

impl Signer {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// Returns the header's value for a body that is sent now.
    pub(super) fn sign(&self, body: &[u8]) -> String {
        // If the clock of this machine shows a time before 1970, the header gets the time 0. Receivers then refuse the
        // request as too old.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.sign_at(now.as_secs(), body)
    }

    fn sign_at(&self, seconds: u64, body: &[u8]) -> String {
        let mut signed = hmac::Context::with_key(&self.0);
        signed.update(format!("{seconds}.").as_bytes());
        signed.update(body);
        let mut header = format!("t={seconds},v1=");
        for byte in signed.sign().as_ref() {
            // Writing to a String can't fail.
            let _ = write!(header, "{byte:02x}");
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_the_same_as_that_of_openssl() {
        let signer = Signer::new(&Secret::new("a secret of 32 bytes or even more"));
        // printf '1700000000.{"a":"\xc3\xa9"}' | openssl dgst -sha256 -hmac 'a secret of 32 bytes or even more'
        assert_eq!(
            signer.sign_at(1_700_000_000, r#"{"a":"é"}"#.as_bytes()),
            "t=1700000000,v1=d41724abee81d11d516c22277b482d03fc5ff33af54b937fcb24b56141d319ec"
        );
        let shown = format!("{signer:?}");
        assert_eq!(shown, "Signer(..)");
    }
}
