//! Brings events from the change stream to the outboxes (send queues) of sockets.

pub(crate) mod change_event;
pub(crate) mod change_stream;
pub(crate) mod coalescing_queue;
pub(crate) mod frame;
pub(crate) mod heartbeat;
pub(crate) mod held_bytes;
pub(crate) mod history_watermark;
pub(crate) mod hub;
pub(crate) mod joined_rooms;
pub(crate) mod outbox;
pub(crate) mod presence_notifier;
pub(crate) mod relief;
pub(crate) mod room_change_notifier;
pub(crate) mod room_loader;
pub(crate) mod room_reader;
pub(crate) mod room_state;
pub(crate) mod sessions;
pub(crate) mod stream_errors;
pub(crate) mod text_pool;
