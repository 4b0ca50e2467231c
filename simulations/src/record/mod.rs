//! A real session's chain as a scenario: who was there, how fast, from when until when.
//!
//! Blocks carry no wall clock, so times are estimates: a slot of stream 0 lasts as long as the slowest peer
//! that it counts needs for its steps at the speed that it certified. What else passed, nobody wrote down.

mod text;

use driftless_protocol::block::{Block, Height, Item};
use driftless_protocol::charter::Charter;
use driftless_protocol::election::Sitting;
use driftless_protocol::identity::PeerKey;
use driftless_protocol::membership::ControlPage;
use driftless_protocol::time::Span;
use driftless_protocol::transition::{self, Invalid};

use crate::scenario::{Scenario, ScenarioError};
use crate::session_folder::SessionFolder;

/// A session in the words of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The scenario, which `driftless-sim run` takes.
    pub text: String,
    /// Heights of the chain.
    pub heights: Height,
    /// Peers of the scenario.
    pub peers: usize,
    /// Tokens counted.
    pub tokens: u64,
    /// How long it took, estimated.
    pub span: Span,
}

/// Why a session is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// No quorum signed a block.
    #[error("block {0} has no valid certificate")]
    NotCertified(Height),
    /// A block is not valid where it stands.
    #[error("block {height} is not valid: {reason}")]
    Invalid {
        /// Its height.
        height: Height,
        /// Why.
        reason: Invalid,
    },
    /// The session's terms are none that the simulator has.
    #[error("the simulator cannot have this session: {0}")]
    Scenario(#[from] ScenarioError),
}

/// A member from its coming to its going.
#[derive(Debug, Clone)]
struct Stay {
    key: PeerKey,
    votes: bool,
    joined: (Height, Span),
    /// When its last contribution to stream 0 was counted.
    counted: Span,
    /// Steps in 1000 seconds, whenever they were certified.
    speeds: Vec<u32>,
    /// While it was silent, from and until.
    silences: Vec<(Span, Span)>,
    end: Option<(Height, Span, End)>,
}

/// How a stay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Silent,
    Convicted,
}

/// What a chain tells of its members.
#[derive(Debug)]
struct History {
    stays: Vec<Stay>,
    control: ControlPage,
    now: Span,
}

/// Writes a session down as a scenario.
///
/// # Errors
/// A chain that is none, or terms that the simulator does not have.
pub fn record(folder: &SessionFolder) -> Result<Recorded, RecordError> {
    let charter = &folder.charter;
    let mut history = History::new(charter);
    let mut head = charter.session;
    for certified in &folder.chain {
        let block = &certified.block;
        if !Sitting::of(&history.control).certifies(charter, certified) {
            return Err(RecordError::NotCertified(block.height));
        }
        let plan = transition::follow(charter, &history.control, head, block);
        let plan = plan.map_err(|reason| RecordError::Invalid { height: block.height, reason })?;
        history.observe(block, ControlPage::clone(&plan.control));
        head = block.hash();
    }
    let text = text::write(charter, &history);
    // What the simulator does not have is said here, and not when somebody runs it.
    Scenario::parse(&text)?.plan()?;
    let (heights, peers) = (history.control.height, history.stays.len());
    let begun = charter.manifest.origin.progress().tokens;
    let tokens = history.control.counted_tokens.saturating_sub(begun);
    Ok(Recorded { text, heights, peers, tokens, span: history.now })
}

impl History {
    fn new(charter: &Charter) -> History {
        let stay = |key| Stay::new(key, true, (0, Span::ZERO));
        let stays = charter.founding_seats().into_iter().map(stay).collect();
        History { stays, control: charter.genesis_control(), now: Span::ZERO }
    }

    /// The open stay of a key.
    fn stay(&mut self, key: &PeerKey) -> Option<&mut Stay> {
        self.stays.iter_mut().rfind(|stay| stay.key == *key && stay.end.is_none())
    }

    fn observe(&mut self, block: &Block, after: ControlPage) {
        let before = std::mem::replace(&mut self.control, after);
        let closings = block.closings().filter(|closing| closing.slot.stream == 0);
        let counted: Vec<_> = closings.flat_map(|closing| &closing.counted).collect();
        let slowest = counted.iter().filter_map(|counted| time_of(counted.work.steps, counted.work.speed));
        self.now = self.now + slowest.max().unwrap_or(Span::ZERO);
        let now = self.now;
        for counted in counted {
            let member = before.members.get(usize::from(counted.member)).map(|member| member.key);
            if let Some(stay) = member.and_then(|key| self.stay(&key)) {
                stay.counted = now;
                stay.speeds.extend((counted.work.speed > 0).then_some(counted.work.speed));
            }
        }
        let keys = |control: &ControlPage| control.members.iter().map(|m| m.key).collect::<Vec<_>>();
        let (old, new) = (keys(&before), keys(&self.control));
        for key in old.iter().filter(|key| !new.contains(key)) {
            let end = self.how_it_went(block, key);
            if let Some(stay) = self.stay(key) {
                stay.end = Some((block.height, now, end));
            }
        }
        new.iter().filter(|key| !old.contains(key)).for_each(|key| self.come(*key, block.height));
    }

    fn how_it_went(&self, block: &Block, key: &PeerKey) -> End {
        let said = |item: &Item| matches!(item, Item::Leave(leave) if leave.by == *key);
        match block.items.iter().any(said) {
            true => End::Left,
            false if self.control.convicted.contains(key) => End::Convicted,
            false => End::Silent,
        }
    }

    /// A member joins: who was only silent is there again.
    fn come(&mut self, key: PeerKey, height: Height) {
        let now = self.now;
        match self.stays.iter_mut().rfind(|stay| stay.key == key) {
            Some(stay) if matches!(stay.end, Some((_, _, End::Silent))) => {
                stay.end = None;
                stay.silences.push((stay.counted, now));
            }
            _ => self.stays.push(Stay::new(key, false, (height, now))),
        }
    }
}

impl Stay {
    fn new(key: PeerKey, votes: bool, joined: (Height, Span)) -> Stay {
        let (speeds, silences) = (Vec::new(), Vec::new());
        Stay { key, votes, joined, counted: joined.1, speeds, silences, end: None }
    }

    /// The median of its certified speeds.
    fn speed(&self) -> Option<u32> {
        median(self.speeds.clone())
    }
}

fn median(mut values: Vec<u32>) -> Option<u32> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// How long so many steps take at a speed in steps per 1000 seconds, if it was measured.
fn time_of(steps: u32, speed: u32) -> Option<Span> {
    let micros = Span::seconds(1000).0.saturating_mul(u64::from(steps));
    Some(Span(micros.checked_div(u64::from(speed))?))
}
