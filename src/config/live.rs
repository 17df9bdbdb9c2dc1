//! The configuration that is in force: a reload replaces it.

use arc_swap::ArcSwap;

use super::Config;

/// The configuration in force. Tasks load it again for each use, so that a reload applies immediately.
pub(crate) type LiveConfig = ArcSwap<Config>;
