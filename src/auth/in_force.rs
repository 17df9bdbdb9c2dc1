//! Whether the key of a token is still in force: a socket ends when the key that its token is signed with is taken away.
//!
//! What an operator removes from the configuration, or from a file that it names, is removed at the reload. An issuer's key
//! counts as removed when two looks in a row miss it: behind one address there may be several servers that publish a
//! rotation at different times, and one look at a late one must not close every socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonwebtoken::{DecodingKey, DecodingKeyKind};

use super::{Checks, Rules};

/// The state of one key. It costs a socket one load of a flag.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyState(Arc<AtomicBool>);

impl KeyState {
    /// Whether the key was taken away.
    pub(crate) fn is_removed(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of the same key.
impl PartialEq for KeyState {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for KeyState {}

/// Every key that is in force.
#[derive(Default)]
pub(super) struct KeysInForce(Vec<InForce>);

struct InForce {
    key: DecodingKey,
    state: KeyState,
    /// The last look missed it.
    missed: bool,
}

/// Who took keys away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The operator: at once.
    Operator,
    /// The issuer: at the second look that misses them.
    Issuer,
}

impl KeysInForce {
    /// Gives the keys of new rules the states that they had, and takes away those that the rules lack. True if there
    /// were any.
    pub(super) fn renew(&mut self, rules: &mut Rules, by: By) -> bool {
        self.0.iter_mut().for_each(|known| known.missed = by == By::Operator || known.missed);
        let before = std::mem::take(&mut self.0);
        let (mut missing, mut kept) = (before, Vec::new());
        for check in rules.keys.each() {
            let found = missing.iter().position(|known| is_same(&known.key, &check.key.decoding));
            let found = found.map(|at| missing.swap_remove(at));
            let state = found.map_or_else(|| check.state.clone(), |known| known.state);
            check.state = state.clone();
            kept.push(InForce { key: check.key.decoding.clone(), state, missed: false });
        }
        let (removed, missed): (Vec<_>, Vec<_>) = missing.into_iter().partition(|known| known.missed);
        for known in &removed {
            known.state.0.store(true, Ordering::Relaxed);
        }
        kept.extend(missed.into_iter().map(|known| InForce { missed: true, ..known }));
        self.0 = kept;
        !removed.is_empty()
    }
}

impl Checks {
    fn each(&mut self) -> impl Iterator<Item = &mut super::Check> {
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
