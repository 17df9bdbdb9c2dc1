//! What is there from zero on. An alert asks by how much a counter rose, and to it one that appears with its first fault
//! has not risen: that fault would go unseen.

/// Where faults are counted.
pub(super) const FAULTS: &[&str] = &[
    "certificate",
    "connect",
    "email",
    "erasure",
    "export",
    "feed",
    "feed_history_lost",
    "feed_undecodable",
    "fold",
    "heartbeat",
    "history",
    "hook_history_lost",
    "hook_undecodable",
    "hooks",
    "idempotency",
    "inbox",
    "keys",
    "leftovers",
    "open_room",
    "presence",
    "receipts",
    "sweep",
    "writer",
];

/// The bounds that can be hit.
pub(super) const BOUNDS: &[&str] = &[
    "action_burst",
    "action_max_bytes",
    "action_max_in_flight",
    "action_per_minute",
    "api_body_bytes",
    "event_bytes",
    "exports",
    "fetch_bytes",
    "fetch_ms",
    "frame_bytes",
    "frames_per_minute",
    "handler_ms",
    "hooks_window",
    "idempotency_under_way",
    "messages_per_minute",
    "outbound_breaker_failures",
    "outbound_max_in_flight",
    "outbound_max_response_bytes",
    "outbound_timeout_ms",
    "refetch_ms",
    "refs",
    "refusals_per_minute",
    "refused_addresses",
    "resume",
    "room_members",
    "rooms_per_minute",
    "send_queue",
    "sockets",
    "sockets_per_user",
    "unfolded_marks",
    "waiting_changes",
    "write_ms",
    "write_queue",
];

/// How reading the configuration again can end.
pub(super) const RELOADS: &[&str] = &["ok", "refused"];
