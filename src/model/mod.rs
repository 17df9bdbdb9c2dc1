//! The types that several layers share: messages, rooms, members, receipt markers and changes.

pub(crate) mod change;
pub(crate) mod cluster_time;
pub(crate) mod message;
pub(crate) mod receipts;
pub(crate) mod room;
