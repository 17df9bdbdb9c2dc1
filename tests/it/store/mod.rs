//! Tests of the database: the options of its URI, the cost of a large room, a purge by the operator, and receipt
//! markers.

mod database_uri;
mod large_room;
mod purge;
mod receipt_markers;
