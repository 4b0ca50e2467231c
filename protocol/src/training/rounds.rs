//! Methods whose slots start at outer parameters of their own (CO2).
//!
//! A peer that sent its contribution begins the next slot at once, if it is open: what it sent is not in
//! theta any more. Where a slot closed without what was sent for it, that is put back into theta.

use crate::block::Slot;
use crate::state::State;

use super::{Change, Training};

impl Training {
    /// Whether slots of one stream overlap, each from its own parameters on.
    pub(super) fn has_rounds(&self) -> bool {
        self.charter.manifest.method.window() > 1
    }

    /// The slot of a stream that this peer contributes to next, if it is open.
    ///
    /// Who begins anew where two are open begins with the next to close: with the one after it, it would be
    /// a round ahead of all others, for good.
    pub(super) fn open_slot(&self, index: usize, state: &State) -> Option<Slot> {
        let next = state.control.closed[index];
        let window = if self.adrift { 1 } else { self.charter.manifest.method.window() };
        let mut open = next..next.saturating_add(window);
        let takes = |ordinal: &u32| self.drawn.contains(ordinal) && !self.has_sent(index, *ordinal);
        open.find(takes).map(|ordinal| Slot { stream: index as u16, ordinal })
    }

    fn has_sent(&self, index: usize, ordinal: u32) -> bool {
        self.streams[index].in_flight.iter().any(|flight| flight.ordinal == ordinal)
    }

    /// Whether others are drawn for what is open of a stream, and this peer is not.
    pub(super) fn is_undrawn(&self, index: usize, state: &State) -> bool {
        let next = state.control.closed[index];
        let mut open = next..next.saturating_add(self.charter.manifest.method.window());
        self.open_slot(index, state).is_none()
            && open.any(|ordinal| state.control.has_draw(ordinal) && !self.has_sent(index, ordinal))
    }

    /// Takes theta to where the slot starts that is contributed to next.
    pub(super) fn begin_rounds(&mut self, state: &State) {
        for index in 0..self.streams.len() {
            let Some(slot) = self.open_slot(index, state).filter(|_| self.has_rounds()) else { continue };
            let base = state.base(&self.charter.manifest.method, slot).clone();
            let stream = &mut self.streams[index];
            if std::mem::take(&mut stream.sent) {
                stream.changes.clear();
                stream.changes.push_back(Change::Begin { outer: base.clone() });
            } else if stream.base != base {
                stream.changes.push_back(Change::Rebase { base: stream.base.clone(), now: base.clone() });
            }
            stream.base = base;
            let uncounted = std::mem::take(&mut stream.uncounted);
            let put_back = |ordinal| Change::PutBack { slot: Slot { ordinal, ..slot } };
            stream.changes.extend(uncounted.into_iter().map(put_back));
        }
    }
}
