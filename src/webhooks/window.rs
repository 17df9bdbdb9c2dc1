//! The events that have been read and are not all delivered: selects the events that may be delivered now, and
//! computes the position of the hooks.
//!
//! Only undelivered events count against the window's size. A delivered event leaves its position in the stream, until
//! all events before it are delivered. The window holds up to [`POSITIONS_PER_EVENT`] times as many positions. So a
//! slow event delays only the events behind it in its own lane.

use std::collections::{HashMap, VecDeque};

use super::event::{HookKind, Lane, WebhookEvent};
use super::reader::StreamRead;
use crate::store::webhook_leases::WebhookPosition;

/// Positions in the stream that are kept for each undelivered event. Each takes about 300 bytes.
const POSITIONS_PER_EVENT: usize = 16;

/// Delivers in order within a lane. Its position moves on with the oldest event.
pub(super) struct DeliveryWindow {
    most: usize,
    /// The undelivered events.
    undelivered: usize,
    /// Number of the first slot.
    first: u64,
    slots: VecDeque<WindowSlot>,
    /// Events that wait behind one that is ready or being delivered, by lane.
    lanes: HashMap<Lane, VecDeque<u64>>,
    ready: VecDeque<u64>,
    position: WebhookPosition,
}

struct WindowSlot {
    /// None once it is delivered.
    event: Option<WebhookEvent>,
    position: Option<WebhookPosition>,
}

impl DeliveryWindow {
    /// Creates an empty window at a position.
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

    pub(super) fn is_full(&self) -> bool {
        self.undelivered >= self.most || self.slots.len() >= self.most.saturating_mul(POSITIONS_PER_EVENT)
    }

    /// Returns the position up to which everything is delivered.
    pub(super) fn position(&self) -> &WebhookPosition {
        &self.position
    }

    /// Returns the oldest undelivered event of a hook.
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
            // Once the last event is delivered, the hook's position is here.
            last.position = read.position;
            return;
        }
        self.slots.push_back(WindowSlot { event: read.event, position: read.position });
        self.advance();
    }

    /// Returns the next event to deliver, if there is one.
    pub(super) fn next(&mut self) -> Option<(u64, WebhookEvent)> {
        let number = self.ready.pop_front()?;
        let event = self.slot(number)?.event.clone()?;
        Some((number, event))
    }

    /// Marks an event as delivered.
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
