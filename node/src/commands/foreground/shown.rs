//! A session in words.

use driftless_protocol::event::{Event, Waiting};

use crate::node::SessionStatus;
use crate::output::bytes;
use crate::report::{ending_word, waiting_for};

/// Training waits for a certificate in every slot: a person is told only of what takes long, and
/// of the end of what they were told of.
#[derive(Debug, Default)]
pub(super) struct Waits {
    told: bool,
}

impl Waits {
    /// Whether an event is of no interest to a person.
    pub fn is_routine(&mut self, event: &Event) -> bool {
        match event {
            Event::Waiting(Waiting::No) => !std::mem::take(&mut self.told),
            Event::Waiting(Waiting::Certificate | Waiting::Turn) => true,
            Event::Waiting(_) => {
                self.told = true;
                false
            }
            _ => false,
        }
    }
}

/// What a session is doing, in a word or a few.
pub(super) fn state_word(status: &SessionStatus) -> String {
    let core = &status.status;
    match (&core.halted, status.ended, core.waiting) {
        (_, Some(ending), _) => ending_word(ending).into(),
        (Some(reason), ..) => format!("halted: {reason}"),
        _ if status.disk.is_some() => "not voting: the disk cannot be written".into(),
        (_, _, Waiting::No) => "training".into(),
        (_, _, waiting) => format!("waiting: {}", waiting_for(waiting)),
    }
}

/// The line of progress.
pub(super) fn summary_of(status: &SessionStatus) -> String {
    let loss = status.loss.map_or(String::new(), |loss| format!("loss {loss:.3}, "));
    format!(
        "{loss}{:.1} steps/s, {:.0} tokens/s, height {}, {} peers, {} sent, {} received, {}",
        status.steps_per_second,
        status.tokens_per_second,
        status.status.height,
        status.connected,
        bytes(status.bytes_sent),
        bytes(status.bytes_received),
        state_word(status),
    )
}
