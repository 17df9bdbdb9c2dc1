//! Reads the received frames, and finds the message that each frame is about.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::rooms::{COPY, DELIVERED_MARK, READ_MARK, Room, State};
use crate::stats::Tally;
use crate::xmpp::Event;

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Option<Body<'a>>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

/// Parses the first word of a message's text: `run.room.author.sequence`. The run is hexadecimal, the
/// author is 0 or 1.
fn parse_nonce(text: &str) -> Option<(u32, u32, usize, usize)> {
    let mut parts = text.split(' ').next()?.split('.');
    let run = u32::from_str_radix(parts.next()?, 16).ok()?;
    let room = parts.next()?.parse().ok()?;
    let author = parts.next()?.parse().ok().filter(|side| *side < 2)?;
    Some((run, room, author, parts.next()?.parse().ok()?))
}

pub(super) fn hash_id(id: &RawValue) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.get().hash(&mut hasher);
    hasher.finish()
}

/// Returns the author (0 or 1) and the sequence number of the message that a frame is about.
fn locate(room: &Room, run: u32, body: &Body, tally: &mut Tally) -> Option<(usize, usize)> {
    let Some(text) = body.text.as_deref() else {
        // The frame is a mark without the text. Find the message by its id.
        let wanted = hash_id(body.message_id?);
        let found = room.sides.iter().enumerate().find_map(|(author, side)| {
            Some((author, side.sent.iter().rposition(|sent| sent.id_hash == wanted)?))
        });
        tally.foreign += u64::from(found.is_none());
        return found;
    };
    match parse_nonce(text) {
        Some((of_run, of_room, author, sequence)) if of_run == run => {
            tally.misrouted += u64::from(of_room != room.index);
            (of_room == room.index).then_some((author, sequence))
        }
        _ => {
            tally.foreign += 1;
            None
        }
    }
}

impl State {
    pub(super) fn on_frame(&mut self, room: usize, socket: usize, text: &str) {
        self.tally.frames += 1;
        match self.rooms[room].sides[socket].session {
            None => self.on_chat_frame(room, socket, text),
            Some(_) => self.on_stanza(room, socket, text),
        }
    }

    fn on_stanza(&mut self, room: usize, socket: usize, text: &str) {
        let side = &mut self.rooms[room].sides[socket];
        let Some((event, replies)) = side.session.as_mut().and_then(|session| session.read(text)) else {
            self.tally.unreadable += 1;
            return;
        };
        for reply in replies {
            let _ = side.out.send(reply);
        }
        let (bits, id) = match event {
            Event::Message(id) => (COPY, id),
            Event::Received(id) => (DELIVERED_MARK, id),
            Event::Displayed(id) => (READ_MARK, id),
            Event::Acknowledged(up_to) => {
                let mut next = || self.rooms[room].sides[socket].session.as_mut()?.next_acknowledged(up_to);
                let sequences: Vec<usize> = std::iter::from_fn(&mut next).collect();
                for sequence in sequences {
                    self.note(room, socket, COPY, (socket, sequence), None);
                }
                return;
            }
            Event::Other(kind) => return self.count_other(&kind),
        };
        let State { rooms, tally, run, .. } = self;
        let body = Body { text: Some(id.into()), message_id: None };
        if let Some(message) = locate(&rooms[room], *run, &body, tally) {
            self.note(room, socket, bits, message, None);
        }
    }

    fn on_chat_frame(&mut self, room: usize, socket: usize, text: &str) {
        let Ok(frame) = serde_json::from_str::<Frame>(text) else {
            match serde_json::from_str::<Kind>(text) {
                Ok(other) => self.count_other(&other.kind),
                Err(_) => self.tally.unreadable += 1,
            }
            return;
        };
        let bits = match &*frame.kind {
            "chat_message" => COPY,
            "mark_message_as_delivered" => DELIVERED_MARK,
            "mark_message_as_read" => READ_MARK,
            other => return self.count_other(other),
        };
        let Some(body) = frame.message else {
            self.tally.unreadable += 1;
            return;
        };
        let State { rooms, tally, run, .. } = self;
        if let Some(message) = locate(&rooms[room], *run, &body, tally) {
            self.note(room, socket, bits, message, body.message_id);
        }
    }

    fn count_other(&mut self, kind: &str) {
        *self.tally.other_frames.entry(kind.to_owned()).or_default() += 1;
    }
}
