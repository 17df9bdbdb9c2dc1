//! The events that have been read and aren't all told: which of them may be told now, and how far the hooks have come.
//!
//! What counts against its size are events that aren't told. An event that is told leaves only its place in the stream,
//! until all before it are told: of these there may be [`POSITIONS_PER_EVENT`] times as many. So one event that takes long holds up
//! those behind it in its own lane, and not everybody's.

use std::collections::{HashMap, VecDeque};

use super::event::{HookKind, Lane, WebhookEvent};
use super::reader::StreamRead;
use crate::store::webhook_leases::Position;

/// Places in the stream that are kept for each event that may wait. Each takes some 300 bytes.
const POSITIONS_PER_EVENT: usize = 16;

/// Told one after the other within a lane, and moved on from the oldest.
pub(super) struct DeliveryWindow {
    most: usize,
    /// Events that aren't told.
    undelivered: usize,
    /// Number of the first slot.
    first: u64,
    slots: VecDeque<WindowSlot>,
    /// What waits behind an event that is being told, or is ready, by lane.
    lanes: HashMap<Lane, VecDeque<u64>>,
    ready: VecDeque<u64>,
    position: Position,
}

struct WindowSlot {
    /// None once it is told.
    event: Option<WebhookEvent>,
    position: Option<Position>,
}

impl DeliveryWindow {
    /// An empty one, of a hook that stands there.
    pub(super) fn new(most: usize, position: Position) -> Self {
        Self {
            most,
            undelivered: 0,
            first: 0,
            slots: VecDeque::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            position,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.undelivered >= self.most || self.slots.len() >= self.most.saturating_mul(POSITIONS_PER_EVENT)
    }

    /// Everything up to there is told.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    /// The oldest event of a hook that isn't.
    pub(super) fn oldest(&self, kind: HookKind) -> Option<&WebhookEvent> {
        self.slots.iter().filter_map(|slot| slot.event.as_ref()).find(|event| event.kind == kind)
    }

    pub(super) fn push(&mut self, read: StreamRead) {
        if let Some(event) = &read.event {
            self.undelivered += 1;
            let number = self.first + self.slots.len() as u64;
            if let Some(waiting) = self.lanes.get_mut(&event.lane()) {
                waiting.push_back(number);
            } else {
                self.lanes.insert(event.lane(), VecDeque::new());
                self.ready.push_back(number);
            }
        } else if let Some(last) = self.slots.back_mut() {
            // Once the last event is told the hook stands here at once.
            last.position = read.position;
            return;
        }
        self.slots.push_back(WindowSlot { event: read.event, position: read.position });
        self.advance();
    }

    /// The next event to be told, where one may be.
    pub(super) fn next(&mut self) -> Option<(u64, WebhookEvent)> {
        let number = self.ready.pop_front()?;
        let event = self.slot(number)?.event.clone()?;
        Some((number, event))
    }

    /// An event was told.
    pub(super) fn mark_delivered(&mut self, number: u64) {
        let Some(event) = self.slot(number).and_then(|slot| slot.event.take()) else { return };
        self.undelivered -= 1;
        let lane = event.lane();
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(next) => self.ready.push_back(next),
            None => {
                self.lanes.remove(&lane);
            }
        }
        self.advance();
    }

    fn slot(&mut self, number: u64) -> Option<&mut WindowSlot> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(at)
    }

    fn advance(&mut self) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.event.is_none()) {
            self.first += 1;
            if let Some(position) = slot.position {
                self.position = position;
            }
        }
    }
}
