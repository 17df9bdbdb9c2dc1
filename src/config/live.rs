//! The current configuration, which a reload replaces.

use arc_swap::ArcSwap;

use super::Config;

/// The current configuration. Tasks load the configuration again for each use, so that a reload takes
/// effect immediately.
pub(crate) type LiveConfig = ArcSwap<Config>;
