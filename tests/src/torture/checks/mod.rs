//! The folders in the end: one chain everywhere, nothing that was certified is lost, nothing was
//! signed or counted twice, and the states are those that were certified.
//!
//! | file | idea |
//! |---|---|
//! | `chains` | the chains as they lie in the folders, compared |
//! | `replay` | the whole chain, applied again from genesis |
//! | `signed` | whatever is signed anywhere, each thing once |

mod chains;
mod replay;
mod signed;

use driftless::offline::Offline;
use driftless::store::SessionFolder;
use driftless::verify::verify;
use driftless_protocol::Hash;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::torture::Stage;
use chains::Chain;
use signed::Signed;

/// What was found to be right.
#[derive(Debug, Default)]
pub struct Findings {
    /// How long the session ran, in seconds.
    pub seconds: f64,
    /// The height of the shortest chain, and of the longest.
    pub heights: (u64, u64),
    /// Heights that peers reported; all of them are in the chains.
    pub certificates: usize,
    /// Announcements that peers reported.
    pub announced: usize,
    /// Contributions that the chain counts.
    pub counted: usize,
    /// Signed statements that were compared, each seen once or more.
    pub statements: usize,
    /// Blocks that a folder does not have, because a snapshot was taken over them.
    pub jumped_over: usize,
    /// The height up to which all states were computed again from genesis.
    pub replayed: u64,
    /// The state's digest at the height of the shortest chain.
    pub digest: Hash,
    /// What the model is worth.
    pub loss: Option<Loss>,
}

/// What a model is worth.
#[derive(Debug, Clone, Copy)]
pub struct Loss {
    /// Validation loss in nats per byte.
    pub loss: f64,
    /// Of the state at this height.
    pub height: u64,
    /// After so many counted tokens.
    pub tokens: u64,
}

impl Findings {
    /// As an object.
    pub fn object(&self) -> Value {
        json!({
            "seconds": self.seconds, "height": self.heights.0, "longest": self.heights.1,
            "digest": self.digest, "certificates": self.certificates, "announced": self.announced,
            "counted": self.counted, "statements": self.statements, "jumped_over": self.jumped_over,
            "replayed": self.replayed,
            "validation_loss": self.loss.map(|loss| loss.loss),
            "evaluated_height": self.loss.map(|loss| loss.height),
            "tokens": self.loss.map(|loss| loss.tokens),
        })
    }
}

/// Checks everything that a stopped session left.
pub fn check(stage: &Stage<'_>) -> Result<Findings, Failure> {
    let charter = &stage.session.charter;
    let folders = stage.session.folders.iter().map(|folder| folder.session(charter.session));
    let folders: Vec<SessionFolder> = folders.collect();
    let read = |folder: &SessionFolder| Chain::read(folder, charter.session);
    let chains: Vec<Chain> = folders.iter().map(read).collect::<Result<_, _>>()?;
    let aside: Vec<Chain> = stage.set_aside.iter().map(read).collect::<Result<_, _>>()?;

    let all = || chains.iter().chain(&aside);
    all().try_for_each(|chain| chain.is_certified(charter))?;
    chains::are_one(all())?;
    chains::hold_all(&chains, &stage.cast.ledger.certificates)?;
    folders.iter().zip(&chains).try_for_each(|(folder, chain)| state(folder, chain))?;
    folders.iter().try_for_each(verified)?;

    let mut signed = Signed::new(charter.clone());
    all().try_for_each(|chain| signed.certificates(chain))?;
    let replayed = replay::run(charter, &folders, &chains, &mut signed)?;
    signed.compare(&stage.session.folders, &stage.cast.ledger)?;
    // Opening a store may tidy it up, so this is the last.
    folders.iter().chain(&stage.set_aside).try_for_each(|folder| signed.journal(folder))?;

    let ends = || chains.iter().map(Chain::last);
    let shortest = ends().min().unwrap_or(0);
    Ok(Findings {
        heights: (shortest, ends().max().unwrap_or(0)),
        certificates: stage.cast.ledger.certificates.len(),
        announced: stage.cast.ledger.peers.iter().map(|peer| peer.announced.len()).sum(),
        counted: signed.counted(),
        statements: signed.statements(),
        jumped_over: chains.iter().map(Chain::missing).sum(),
        replayed,
        digest: chains.first().and_then(|chain| chain.digest(shortest)).unwrap_or_default(),
        ..Findings::default()
    })
}

/// `driftless verify` finds nothing.
fn verified(folder: &SessionFolder) -> Result<(), Failure> {
    let path = folder.path().display();
    let verified = verify(folder, false, &mut |_| {});
    match verified.map(|verified| verified.problems.first().map(ToString::to_string)) {
        Ok(None) => Ok(()),
        Ok(Some(problem)) => Failure::broken(format!("verify {path}: {problem}")),
        Err(error) => Failure::broken(format!("verify {path}: {error}")),
    }
}

/// The files of a folder lead to the certified state.
fn state(folder: &SessionFolder, chain: &Chain) -> Result<(), Failure> {
    let offline =
        Offline::load(folder.clone()).map_err(|error| Failure::Broken(format!("{}: {error}", chain.name)))?;
    let (height, digest) = (offline.state.control.height, offline.state.digest());
    match (chain.digest(height), offline.missing) {
        (Some(certified), 0) if certified == digest => Ok(()),
        (certified, missing) => Failure::broken(format!(
            "{}: the state at height {height} is {digest:?}, certified is {certified:?}, and {missing} blocks \
             cannot be applied",
            chain.name
        )),
    }
}
