//! Messages in the database: writes in batches, snapshots, pages, resumes, and revisions (edits and deletions).

pub(crate) mod deletions;
pub(crate) mod draft;
pub(crate) mod insert;
mod last_number;
pub(crate) mod page;
pub(crate) mod position_at;
pub(crate) mod purged;
pub(crate) mod renderer;
pub(crate) mod resume;
pub(crate) mod revisions;
pub(crate) mod sequence_cache;
pub(crate) mod snapshot;
