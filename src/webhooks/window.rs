//! The delivery window: the events of one source that were read from the change stream and are not delivered yet. The
//! window decides which of these events may be delivered now. It also computes the source's position, which the
//! database stores. Every event up to this position was delivered.
//!
//! A lane is a room or a user. A slow event delays only the later events of its own lane. Later events of other lanes
//! may be delivered before the slow event. The window keeps the stream positions of these later events until all
//! earlier events are delivered. `hooks.window` is the maximum number of undelivered events. The maximum number of kept
//! positions is [`POSITIONS_PER_EVENT`] times as high.

use std::collections::{HashMap, VecDeque};

use super::event::{HookKind, Lane, WebhookEvent};
use super::reader::StreamRead;
use crate::store::webhook_leases::WebhookPosition;

/// The maximum number of kept positions for each event that `hooks.window` allows. A position takes about 300 bytes.
const POSITIONS_PER_EVENT: usize = 16;

/// The delivery window. Returns an event of a lane only after the lane's previous event is delivered.
pub(super) struct DeliveryWindow {
    most: usize,
    /// The number of undelivered events.
    undelivered: usize,
    /// The number of the first slot. Slots are numbered in the order of the stream, starting at 0.
    first: u64,
    slots: VecDeque<WindowSlot>,
    /// For each lane, the slot numbers of the events that wait for an earlier event of the lane. A lane is in the map
    /// while one of its events is ready or is being delivered.
    lanes: HashMap<Lane, VecDeque<u64>>,
    ready: VecDeque<u64>,
    position: WebhookPosition,
}

struct WindowSlot {
    /// None once the event is delivered.
    event: Option<WebhookEvent>,
    position: Option<WebhookPosition>,
}

impl DeliveryWindow {
    /// Creates an empty window at a position. `most` is the maximum number of undelivered events.
    pub(super) fn new(most: usize, position: WebhookPosition) -> Self {
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

    /// Returns whether the window is full. While the window is full, the caller must not add another read from the
    /// stream.
    pub(super) fn is_full(&self) -> bool {
        self.undelivered >= self.most || self.slots.len() >= self.most.saturating_mul(POSITIONS_PER_EVENT)
    }

    /// Returns the position up to which every event was delivered.
    pub(super) fn position(&self) -> &WebhookPosition {
        &self.position
    }

    /// Returns the oldest undelivered event of a hook.
    pub(super) fn oldest(&self, kind: HookKind) -> Option<&WebhookEvent> {
        self.slots.iter().filter_map(|slot| slot.event.as_ref()).find(|event| event.kind == kind)
    }

    /// Adds a read from the stream at the end of the window.
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
            // A read without an event gets no slot. The position of the read is kept in the last slot, and becomes
            // valid when the event of this slot is delivered.
            last.position = read.position;
            return;
        }
        self.slots.push_back(WindowSlot { event: read.event, position: read.position });
        self.advance();
    }

    /// Returns the event to deliver next, with its slot number. None if every undelivered event is being delivered or
    /// waits for an earlier event of its lane.
    pub(super) fn next(&mut self) -> Option<(u64, WebhookEvent)> {
        let number = self.ready.pop_front()?;
        let event = self.slot(number)?.event.clone()?;
        Some((number, event))
    }

    /// Marks an event as delivered. The next event of its lane becomes ready.
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
