//! `[limits]`: the limits of clients, sockets and actions.

use std::time::Duration;

use super::ConfigError;
use super::layers::Values;
use super::ranges::{FRAME_BYTES, NumberRange, PER_MINUTE, WAIT_MS};

/// The longest text fits well into MongoDB's 16 MiB per document, and so does its change event.
const TEXT_CHARS: NumberRange = 1..=100_000;
/// One means that a message may not be fragmented.
const MESSAGE_FRAGMENTS: NumberRange = 1..=65_536;
/// More than there are descriptors and ports.
const SOCKETS: NumberRange = 1..=1_000_000;
const BLOCKED_CHECKS: NumberRange = 1..=1_000;
const ADDRESSES: NumberRange = 1..=10_000_000;
/// Each has a database connection.
const BULK_READS: NumberRange = 1..=10_000;
/// With less, one first frame of a large account would use up a minute's budget.
const DOCUMENTS: NumberRange = 1_000..=1_000_000_000;
const SEND_QUEUE: NumberRange = 1..=100_000;
/// The least that holds one event with the longest text.
const QUEUE_BYTES: NumberRange = 65_536..=1 << 30;
/// The least that holds one message with the longest text, and the data of its room.
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
    /// The most fragments of a message.
    pub message_fragments: u32,
    /// Frames of a user per minute.
    pub frames_per_minute: u32,
    /// Rooms that a user may create by connecting, per minute.
    pub rooms_per_minute: u32,
    /// Changes of a user's e-mail address per minute.
    pub addresses_per_minute: u32,
    /// Messages of a user per minute.
    pub messages_per_minute: u32,
    /// Connects of a user per minute.
    pub connects_per_minute: u32,
    /// Documents that a user's connects and pages of rooms may read, per minute.
    pub documents_per_minute: u32,
    /// The most bulk reads at the same time.
    pub bulk_reads: usize,
    /// The most bulk reads of one user at the same time.
    pub bulk_reads_per_user: usize,
    /// How long a bulk read waits for its turn.
    pub bulk_wait: Duration,
    /// The most sockets of a user.
    pub sockets_per_user: usize,
    /// The most sockets of this server.
    pub sockets: usize,
    /// Refused connects of an address per minute.
    pub refusals_per_minute: u32,
    /// The most tokens from blocked addresses that are checked at the same time.
    pub blocked_checks: usize,
    /// The most addresses and users whose refused connects are remembered.
    pub refused_addresses: u32,
    /// The most frames that may wait for a socket.
    pub send_queue: usize,
    /// The most bytes that may wait for a socket.
    pub send_queue_bytes: usize,
    /// The most bytes that may wait for all sockets of a user.
    pub user_bytes: usize,
    /// The most bytes that may wait for all sockets.
    pub server_bytes: usize,
    /// The largest first frame and the largest page, in bytes of JSON.
    pub page_bytes: usize,
    /// How long a write to a socket may take.
    pub write: Duration,
    /// How long an action may run.
    pub handler: Duration,
    /// The largest ephemeral event, in bytes.
    pub event_bytes: usize,
    /// The most rooms whose last message number is cached.
    pub rooms_cached: usize,
    /// The most room members that are cached for presence.
    pub members_cached: u64,
    /// The most words of 64 message numbers that are cached for deleted messages.
    pub deletions_cached: u64,
    /// The most bytes of texts that rooms hold until they are read, beyond their own.
    pub unread_text_bytes: usize,
    /// The most messages in one write to the database.
    pub batch: usize,
    /// The most messages and receipt markers that may wait for the database.
    pub write_queue: usize,
    /// The most receipt markers that may wait to be folded into members' documents. Beyond it no more are written.
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
