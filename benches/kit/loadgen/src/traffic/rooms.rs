//! The rooms of one worker: their messages, and the frames that arrived for each message.

use std::time::Instant;

use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedSender;
use tokio_tungstenite::tungstenite::Message;

use super::frames::hash_id;
use super::{Plan, Shape};
use crate::stats::Tally;
use crate::xmpp::Session;

// The frames that arrived for one message, as bits. The first four are required. The echo is the sender's own
// copy of the message. Over XMPP, the server's acknowledgement replaces the echo. Without stream management
// (`xmpp-lean`) there is no acknowledgement, so `ECHO` is not required.
pub(super) const ECHO: u8 = 1;
pub(super) const PEER: u8 = 2;
pub(super) const DELIVERED: u8 = 4;
pub(super) const READ: u8 = 8;
pub(super) const PEER_DELIVERED: u8 = 16;
pub(super) const PEER_READ: u8 = 32;

/// The bit for a frame on the author's socket, and the bit for the same frame on the peer's socket.
pub(super) type Bits = (u8, u8);
pub(super) const COPY: Bits = (ECHO, PEER);
pub(super) const DELIVERED_MARK: Bits = (DELIVERED, PEER_DELIVERED);
pub(super) const READ_MARK: Bits = (READ, PEER_READ);

pub(super) struct Sent {
    pub(super) due: Instant,
    pub(super) seen: u8,
    pub(super) id_hash: u64,
}

pub(super) struct Side {
    pub(super) out: UnboundedSender<Message>,
    /// The state of the XMPP stream. None: the server uses the chat protocol.
    pub(super) session: Option<Session>,
    /// This user's messages, by sequence number.
    pub(super) sent: Vec<Sent>,
    /// For each author: the next sequence number that this socket expects.
    pub(super) expected: [usize; 2],
}

pub(super) struct Room {
    pub(super) index: u32,
    pub(super) sides: [Side; 2],
    pub(super) turn: usize,
    pub(super) remaining: u32,
}

pub(super) struct State {
    pub(super) plan: Plan,
    /// A random number that identifies this run. The text of each message contains this number.
    pub(super) run: u32,
    pub(super) padding: String,
    /// The bits of the frames that must arrive for each message.
    pub(super) required: u8,
    pub(super) rooms: Vec<Room>,
    pub(super) tally: Tally,
    /// The number of messages for which a required frame is still missing.
    pub(super) open: u64,
    pub(super) start: Instant,
    pub(super) last_progress: Instant,
    pub(super) closing: bool,
}

impl State {
    pub(super) fn window(&self) -> (Instant, Instant) {
        let from = self.start + self.plan.warmup;
        (from, from + self.plan.duration)
    }

    pub(super) fn send(&mut self, room: usize, due: Instant) {
        let State { rooms, run, padding, tally, .. } = self;
        let room = &mut rooms[room];
        let author = room.turn;
        room.turn ^= 1;
        let side = &mut room.sides[author];
        let sequence = side.sent.len();
        let nonce = format!("{run:08x}.{}.{author}.{sequence}", room.index);
        let text = format!("{nonce} {}", padding.get(nonce.len() + 1..).unwrap_or_default());
        side.sent.push(Sent { due, seen: 0, id_hash: 0 });
        let frames = match &mut side.session {
            // The text is plain ASCII without quotes, so it needs no escaping.
            None => vec![Message::text(format!(r#"{{"action":"send","message":"{text}"}}"#))],
            Some(session) => session.message(&nonce, &text, sequence),
        };
        for frame in frames {
            // If the socket is closed, the run counts a disconnect and lost messages, so this error can be ignored.
            let _ = side.out.send(frame);
        }
        tally.sent += 1;
        self.open += 1;
    }

    /// Sends the next message of this room, unless the run is over or the room has its `target` of messages.
    /// Does nothing in an open loop, because the schedule sends all messages.
    pub(super) fn refill(&mut self, room: usize, now: Instant) {
        match self.plan.shape {
            Shape::Open { .. } => {}
            Shape::Closed { .. } => {
                if now < self.window().1 {
                    self.send(room, now);
                }
            }
            Shape::TopUp { .. } => {
                if self.rooms[room].remaining > 0 {
                    self.rooms[room].remaining -= 1;
                    self.send(room, now);
                }
            }
        }
    }

    /// Counts a frame of a message (the message itself or one of its marks) on a socket.
    pub(super) fn note(
        &mut self,
        room: usize,
        socket: usize,
        (own, peers): Bits,
        (author, sequence): (usize, usize),
        id: Option<&RawValue>,
    ) {
        let now = Instant::now();
        let (from, until) = self.window();
        let State { rooms, tally, required, .. } = self;
        let room_index = room;
        let room = &mut rooms[room_index];
        if sequence >= room.sides[author].sent.len() {
            tally.unreadable += 1;
            return;
        }
        let bit = if socket == author { own } else { peers };
        if own == ECHO {
            let expected = &mut room.sides[socket].expected[author];
            if sequence < *expected {
                if room.sides[author].sent[sequence].seen & bit == 0 {
                    tally.out_of_order += 1;
                }
            } else {
                *expected = sequence + 1;
            }
        }
        let sent = &mut room.sides[author].sent[sequence];
        if sent.seen & bit != 0 {
            tally.duplicated += 1;
            return;
        }
        let prerequisite = match bit {
            DELIVERED => ECHO,
            READ => ECHO | DELIVERED,
            PEER_DELIVERED => PEER,
            PEER_READ => PEER | PEER_DELIVERED,
            _ => 0,
        };
        let prerequisite = prerequisite & (*required | PEER_DELIVERED);
        if sent.seen & prerequisite != prerequisite {
            tally.early_marks += 1;
        }
        let was_open = sent.seen & *required != *required;
        sent.seen |= bit;
        if own == ECHO
            && let Some(id) = id
        {
            sent.id_hash = hash_id(id);
        }
        let is_open = sent.seen & *required != *required;
        if sent.due >= from {
            let elapsed = now.saturating_duration_since(sent.due);
            match bit {
                ECHO => tally.echo.record(elapsed),
                PEER => tally.peer.record(elapsed),
                DELIVERED => tally.delivered.record(elapsed),
                READ => tally.read.record(elapsed),
                _ => {}
            }
        }
        match bit {
            READ => tally.note_read(now.saturating_duration_since(self.start), now >= from && now < until),
            PEER_DELIVERED | PEER_READ => tally.peer_marks += 1,
            _ => {}
        }
        self.last_progress = now;
        if was_open && !is_open {
            self.open -= 1;
        }
        if bit == READ {
            self.refill(room_index, now);
        }
    }

    /// Counts the missing frames. Drops the queues, so that the tasks `write` close their sockets.
    pub(super) fn finish(&mut self) -> Tally {
        self.closing = true;
        let mut tally = std::mem::take(&mut self.tally);
        for sent in self.rooms.iter().flat_map(|room| &room.sides).flat_map(|side| &side.sent) {
            let missing = |bit: u8| u64::from(self.required & bit != 0 && sent.seen & bit == 0);
            tally.lost += u64::from(sent.seen & self.required != self.required);
            tally.lost_echo += missing(ECHO);
            tally.lost_peer += missing(PEER);
            tally.lost_delivered += missing(DELIVERED);
            tally.lost_read += missing(READ);
        }
        self.rooms.clear();
        tally
    }
}
