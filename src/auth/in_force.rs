//! Records which signing keys are in use. When a key is removed, the server closes the sockets whose tokens this key
//! signed.
//!
//! A key from the configuration, or from a configured file, counts as removed when a reload no longer finds it. An
//! issuer is the service that signs the users' tokens. An issuer's key counts as removed when two fetches in a row no
//! longer find it. The reason: an issuer may have several servers behind one address, and one of these servers may
//! still publish an old key set. One answer with an old key set must not close every socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::ArcSwap;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use super::{TokenRules, VerificationKeys};

/// The reason why a token that was accepted is no longer accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenEnd {
    /// The key that signed the token was removed.
    KeyRemoved,
    /// A reload has changed the rules for claims, and the token was checked by the old rules.
    RulesChanged,
}

const IN_USE: u8 = 0;
const REMOVED: u8 = 1;
const OUTDATED: u8 = 2;

/// The state of one key: in use, removed, or used by outdated rules. Clones share the state.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyState(Arc<AtomicU8>);

/// The state of the key that signed a socket's current token. The socket checks this state often. Therefore a check is
/// cheap: it only reads one number.
#[derive(Default)]
pub(crate) struct CurrentKey(ArcSwap<AtomicU8>);

impl CurrentKey {
    /// Starts with the key of the socket's first token.
    pub(crate) fn new(key: KeyState) -> Self {
        Self(ArcSwap::new(key.0))
    }

    /// Stores the key of a token that replaces the socket's earlier token.
    pub(crate) fn replace(&self, key: KeyState) {
        self.0.store(key.0);
    }

    /// Returns why the token is no longer accepted. None if it is still accepted.
    pub(crate) fn end(&self) -> Option<TokenEnd> {
        match self.0.load().load(Ordering::Relaxed) {
            IN_USE => None,
            OUTDATED => Some(TokenEnd::RulesChanged),
            _ => Some(TokenEnd::KeyRemoved),
        }
    }
}

/// Two states are equal if they belong to the same key.
impl PartialEq for KeyState {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for KeyState {}

/// All keys that are in use. If only the last fetch of an issuer's keys did not find a key, this key is still in use.
#[derive(Default)]
pub(super) struct KeysInForce(Vec<KnownKey>);

struct KnownKey {
    key: DecodingKey,
    state: KeyState,
    /// Whether the last fetch did not find the key.
    missed: bool,
}

/// The cause of a replacement of the keys: the operator or the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyRemover {
    /// A reload of the configuration. A key that the new configuration lacks is removed immediately.
    Operator,
    /// A fetch of the issuer's keys. A key is removed when two fetches in a row lack it.
    Issuer,
}

impl KeysInForce {
    /// Marks all tokens so far as outdated, because the new rules refuse some of them. The server does not store the
    /// tokens of its sockets, so it can't tell which tokens the new rules still accept. Returns whether there was a key.
    pub(super) fn outdate(&mut self) -> bool {
        for known in &mut self.0 {
            known.state.0.store(OUTDATED, Ordering::Relaxed);
            known.state = KeyState::default();
        }
        !self.0.is_empty()
    }

    /// Gives each key of the new rules the state that the key had before. Marks the keys that the new rules lack as
    /// removed. If the issuer replaces the keys, marks a missing key only if the previous fetch lacked the key too.
    /// Returns whether a key was removed.
    pub(super) fn replace(&mut self, rules: &mut TokenRules, by: KeyRemover) -> bool {
        self.0.iter_mut().for_each(|known| known.missed = by == KeyRemover::Operator || known.missed);
        let before = std::mem::take(&mut self.0);
        let (mut missing, mut kept) = (before, Vec::new());
        for check in rules.keys.each() {
            let found = missing.iter().position(|known| is_same(&known.key, &check.key.decoding));
            let found = found.map(|at| missing.swap_remove(at));
            let state = found.map_or_else(|| check.state.clone(), |known| known.state);
            check.state = state.clone();
            kept.push(KnownKey { key: check.key.decoding.clone(), state, missed: false });
        }
        let (removed, missed): (Vec<_>, Vec<_>) = missing.into_iter().partition(|known| known.missed);
        for known in &removed {
            known.state.0.store(REMOVED, Ordering::Relaxed);
        }
        kept.extend(missed.into_iter().map(|known| KnownKey { missed: true, ..known }));
        self.0 = kept;
        !removed.is_empty()
    }
}

impl VerificationKeys {
    fn each(&mut self) -> impl Iterator<Item = &mut super::VerificationKey> {
        let (one, several) = match self {
            Self::One(check) => (Some(&mut **check), &mut [][..]),
            Self::Several(checks) => (None, &mut checks[..]),
        };
        one.into_iter().chain(several.iter_mut().map(|(_, check)| check))
    }
}

fn is_same(one: &DecodingKey, other: &DecodingKey) -> bool {
    one.family() == other.family()
        && match (one.kind(), other.kind()) {
            (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(other)) => one == other,
            (
                DecodingKeyKind::RsaModulusExponent { n, e },
                DecodingKeyKind::RsaModulusExponent { n: other_n, e: other_e },
            ) => n == other_n && e == other_e,
            _ => false,
        }
}
