//! `[limits]`: the limits of clients, sockets and actions.

use std::time::Duration;

use super::ConfigError;
use super::layers::Values;
use super::ranges::{FRAME_BYTES, NumberRange, PER_MINUTE, WAIT_MS};

/// Even the longest text, and the change stream's event for it, are far below MongoDB's maximum of 16 MiB for a
/// document.
const TEXT_CHARS: NumberRange = 1..=100_000;
/// With the value 1, a message can have one fragment before its last fragment.
const MESSAGE_FRAGMENTS: NumberRange = 1..=65_536;
/// The maximum is higher than the number of file descriptors and ports of one machine.
const SOCKETS: NumberRange = 1..=1_000_000;
const BLOCKED_CHECKS: NumberRange = 1..=1_000;
const ADDRESSES: NumberRange = 1..=10_000_000;
/// Each bulk read has its own database connection.
const BULK_READS: NumberRange = 1..=10_000;
/// With a value below the minimum, the first frame of a user with many rooms would use up the user's documents of a
/// minute.
const DOCUMENTS: NumberRange = 1_000..=1_000_000_000;
const SEND_QUEUE: NumberRange = 1..=100_000;
/// The minimum is enough for one event with the longest text.
const QUEUE_BYTES: NumberRange = 65_536..=1 << 30;
/// The minimum is enough for one message with the longest text and the data of its room.
const PAGE_BYTES: NumberRange = 65_536..=1 << 26;
const TEXT_BYTES: NumberRange = 0..=1 << 30;
const ROOMS_CACHED: NumberRange = 1..=100_000_000;
/// MongoDB accepts at most 100,000 writes in one command.
const BATCH: NumberRange = 1..=100_000;
const WRITE_QUEUE: NumberRange = 1..=10_000_000;
const UNFOLDED_MARKS: NumberRange = 1..=10_000_000;

/// `[limits]`
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// The longest text, in code points.
    pub text_chars: usize,
    /// The largest frame from a client, in bytes.
    pub frame_bytes: usize,
    /// The most fragments of a WebSocket message. The last fragment does not count.
    pub message_fragments: u32,
    /// The most frames of a user in a minute.
    pub frames_per_minute: u32,
    /// The most rooms that a user may create in a minute by connecting (`rooms.direct = "on_connect"`).
    pub rooms_per_minute: u32,
    /// The most changes of a user's e-mail address in a minute.
    pub addresses_per_minute: u32,
    /// The most messages of a user in a minute.
    pub messages_per_minute: u32,
    /// The most connects of a user in a minute.
    pub connects_per_minute: u32,
    /// The most database documents that a user's connects and pages of rooms may read in a minute.
    pub documents_per_minute: u32,
    /// The most bulk reads (first frames of inbox connections, resumes, long pages) that run concurrently.
    pub bulk_reads: usize,
    /// The most bulk reads of one user that run concurrently.
    pub bulk_reads_per_user: usize,
    /// The longest time that a bulk read waits until it may run.
    pub bulk_wait: Duration,
    /// The most open sockets of a user on this server.
    pub sockets_per_user: usize,
    /// The most open sockets on this server.
    pub sockets: usize,
    /// The most refused connects of an address, or of a user, in a minute. At this number, the address or user is
    /// blocked for a minute.
    pub refusals_per_minute: u32,
    /// The most tokens of clients with blocked addresses that are checked concurrently.
    pub blocked_checks: usize,
    /// The most addresses and users whose refused connects are counted.
    pub refused_addresses: u32,
    /// The most frames that may wait to be written to one socket.
    pub send_queue: usize,
    /// The most bytes that may wait to be written to one socket.
    pub send_queue_bytes: usize,
    /// The most bytes that may wait to be written to all sockets of a user.
    pub user_bytes: usize,
    /// The most bytes that may wait to be written to all sockets of this server.
    pub server_bytes: usize,
    /// The largest page, in bytes of JSON. Also the largest first frame that resumes or lists rooms.
    pub page_bytes: usize,
    /// The longest time of one write to a socket.
    pub write: Duration,
    /// The longest time of one action, unless the action has its own limit.
    pub handler: Duration,
    /// The largest event that a function may send, in bytes.
    pub event_bytes: usize,
    /// The most rooms whose last message number is kept in memory.
    pub rooms_cached: usize,
    /// The most members of rooms that are kept in memory. With these members, a resume finds the online users
    /// without a database read.
    pub members_cached: u64,
    /// The most bit sets that are kept in memory. Each bit set records which of 64 successive messages are deleted.
    pub deletions_cached: u64,
    /// The most bytes of texts of unread messages that are kept in memory, for all rooms together. In addition, each
    /// open room has 16 KiB of its own.
    pub unread_text_bytes: usize,
    /// The most messages in one write to the database.
    pub batch: usize,
    /// The most messages and receipt markers that may wait to be written to the database.
    pub write_queue: usize,
    /// The most receipt markers that are in the collection `marks` but not yet added to the members' documents. At this
    /// number, the server writes no further markers.
    pub unfolded_marks: usize,
}

impl LimitsConfig {
    pub(super) fn read(values: &mut Values) -> Result<Self, ConfigError> {
        Ok(Self {
            text_chars: values.number("limits.text_chars", TEXT_CHARS)?,
            frame_bytes: values.number("limits.frame_bytes", FRAME_BYTES)?,
            message_fragments: values.number("limits.message_fragments", MESSAGE_FRAGMENTS)?,
            frames_per_minute: values.number("limits.frames_per_minute", PER_MINUTE)?,
            rooms_per_minute: values.number("limits.rooms_per_minute", PER_MINUTE)?,
            addresses_per_minute: values.number("limits.addresses_per_minute", PER_MINUTE)?,
            messages_per_minute: values.number("limits.messages_per_minute", PER_MINUTE)?,
            connects_per_minute: values.number("limits.connects_per_minute", PER_MINUTE)?,
            documents_per_minute: values.number("limits.documents_per_minute", DOCUMENTS)?,
            bulk_reads: values.number("limits.bulk_reads", BULK_READS)?,
            bulk_reads_per_user: values.number("limits.bulk_reads_per_user", BULK_READS)?,
            bulk_wait: values.millis("limits.bulk_wait_ms", WAIT_MS)?,
            sockets_per_user: values.number("limits.sockets_per_user", SOCKETS)?,
            sockets: values.number("limits.sockets", SOCKETS)?,
            refusals_per_minute: values.number("limits.refusals_per_minute", PER_MINUTE)?,
            blocked_checks: values.number("limits.blocked_checks", BLOCKED_CHECKS)?,
            refused_addresses: values.number("limits.refused_addresses", ADDRESSES)?,
            send_queue: values.number("limits.send_queue", SEND_QUEUE)?,
            send_queue_bytes: values.number("limits.send_queue_bytes", QUEUE_BYTES)?,
            user_bytes: values.number("limits.user_bytes", QUEUE_BYTES)?,
            server_bytes: values.number("limits.server_bytes", QUEUE_BYTES)?,
            page_bytes: values.number("limits.page_bytes", PAGE_BYTES)?,
            write: values.millis("limits.write_ms", WAIT_MS)?,
            handler: values.millis("limits.handler_ms", WAIT_MS)?,
            event_bytes: values.number("limits.event_bytes", FRAME_BYTES)?,
            rooms_cached: values.number("limits.rooms_cached", ROOMS_CACHED)?,
            members_cached: values.number("limits.members_cached", ROOMS_CACHED)?,
            deletions_cached: values.number("limits.deletions_cached", ROOMS_CACHED)?,
            unread_text_bytes: values.number("limits.unread_text_bytes", TEXT_BYTES)?,
            batch: values.number("limits.batch", BATCH)?,
            write_queue: values.number("limits.write_queue", WRITE_QUEUE)?,
            unfolded_marks: values.number("limits.unfolded_marks", UNFOLDED_MARKS)?,
        })
    }
}
