//! Messages: the group commit, snapshots, pages, resumes and revisions.

pub(crate) mod deletions;
pub(crate) mod insert;
pub(crate) mod page;
pub(crate) mod position_at;
pub(crate) mod purged;
pub(crate) mod resume;
pub(crate) mod revisions;
pub(crate) mod sequence_cache;
pub(crate) mod snapshot;
