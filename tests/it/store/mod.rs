//! The database: its options, its indexes' cost, and its stored receipts.

mod database_uri;
mod large_room;
mod purge;
mod receipt_markers;
