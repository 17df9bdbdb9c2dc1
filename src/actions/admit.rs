//! Admits a frame, a message that a client sent on its socket. Finds the action that the frame names. Checks the
//! sender's rate limits, and counts the frame towards these limits.

use handlers::{Code, Error, Fields};

use super::envelope::Envelope;
use super::registry::{ActionTable, RegisteredAction};
use super::session_state::SocketSession;
use crate::limits::rate::{RateExceeded, whole_ms};
use crate::telemetry::metrics::Metrics;

impl ActionTable {
    /// Counts one frame towards the user's frame rate.
    pub(super) fn spend_frame(&self, caller: &SocketSession, metrics: &Metrics) -> Result<(), Error> {
        caller.slot.spend_frame(&self.rates).map_err(|wait| {
            metrics.bound_hit("frames_per_minute");
            Error::rate_limited("too many frames", whole_ms(wait))
        })
    }

    /// Parses the frame, finds its action, and counts the frame towards the sender's rates. Writes the `action`, the
    /// `ref` and the room into `envelope`. If a check fails, `envelope` has only the parts that were read before this
    /// check. Returns the action and the frame's fields, which the action decodes later.
    pub(crate) fn admit<'f>(
        &self,
        frame: &'f str,
        caller: &SocketSession,
        envelope: &mut Envelope,
        metrics: &Metrics,
    ) -> Result<(&RegisteredAction, Fields<'f>), Error> {
        let rate = self.spend_frame(caller, metrics);
        let fields = Fields::parse(frame).map(|fields| caller.strip_unknown_fields(fields));
        let reference = match &fields {
            Ok(fields) => {
                envelope.action = fields.first_text("action");
                fields.reference().map(|reference| envelope.reference = reference)
            }
            Err(_) => Ok(()),
        };
        rate?;
        let fields =
            fields.map_err(|_| Error::new(Code::BadJson, "not a JSON object of at most 128 levels"))?;
        reference?;
        fields.once("action")?;
        let name = envelope.action.as_deref();
        if name.is_some_and(|name| name.contains('\0')) {
            return Err(Error::invalid("action: must not hold U+0000"));
        }
        let at = name.and_then(|name| self.rows.iter().position(|row| *row.name == *name));
        let found = at.and_then(|at| Some((at, self.rows.get(at)?)));
        let (at, row) = found.ok_or_else(|| Error::new(Code::UnknownAction, "no such action"))?;
        self.spend_call(frame.len(), at, caller, metrics)?;
        envelope.room = caller.room(&fields)?;
        envelope.named_room = envelope.room.filter(|_| caller.is_in_many());
        Ok((row, fields))
    }

    /// Checks the size limit and the rates of one action, and counts the call towards the user's rates. `at` is the
    /// action's index in the table.
    fn spend_call(
        &self,
        bytes: usize,
        at: usize,
        caller: &SocketSession,
        metrics: &Metrics,
    ) -> Result<(), Error> {
        let Some(row) = self.rows.get(at) else { return Ok(()) };
        if let Some(most) = row.limits.max_bytes.filter(|most| bytes > *most) {
            metrics.bound_hit("action_max_bytes");
            return Err(Error::invalid(format!("the frame has more than {most} bytes")));
        }
        caller.slot.spend_call(&self.rates, at).map_err(|over| {
            let (bound, message, wait) = match over {
                RateExceeded::Burst(wait) => {
                    ("action_burst", "too many calls of this action in a short time", wait)
                }
                RateExceeded::PerMinute(wait) => ("action_per_minute", "too many of this action", wait),
            };
            metrics.bound_hit(bound);
            Error::rate_limited(message, whole_ms(wait))
        })?;
        if !row.limits.message {
            return Ok(());
        }
        caller.spend_message(&self.rates, metrics)
    }
}
