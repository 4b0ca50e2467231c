//! Whatever is signed anywhere: in certificates, in blocks, in the logs of the running height, in
//! the records of what was announced. The simulator's checker sees that no key contradicts itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use driftless::store::{Folder, Options, SessionFolder, SessionStore};
use driftless_protocol::block::{Announcement, CertifiedBlock, Slot, Step, Vote};
use driftless_protocol::charter::Charter;
use driftless_protocol::consensus::WalRecord;
use driftless_protocol::identity::{Hash, PeerKey, Signed as Statement};
use driftless_protocol::state::State;
use driftless_protocol::transition::blob_root;
use driftless_protocol::wire::Message;
use driftless_sim::checkers::SignedOnce;

use super::chains::Chain;
use crate::failure::Failure;
use crate::ledger::Ledger;

/// Everything that was signed.
pub struct Signed {
    charter: Arc<Charter>,
    once: SignedOnce,
    statements: usize,
    /// Counted contributions: whose and for what slot, and the blob.
    counted: BTreeMap<(PeerKey, Slot), Option<Hash>>,
}

impl Signed {
    /// Nothing yet.
    pub fn new(charter: Arc<Charter>) -> Signed {
        Signed { charter, once: SignedOnce::default(), statements: 0, counted: BTreeMap::new() }
    }

    /// How many contributions are counted.
    pub fn counted(&self) -> usize {
        self.counted.len()
    }

    /// How many statements were looked at.
    pub fn statements(&self) -> usize {
        self.statements
    }

    /// The votes in a chain's certificates.
    pub fn certificates(&mut self, chain: &Chain) -> Result<(), Failure> {
        let seats = self.charter.founding_seats();
        for certified in chain.blocks.values() {
            let (block, certificate) = (&certified.block, &certified.certificate);
            let content = Vote {
                height: block.height,
                attempt: certificate.attempt,
                step: Step::Precommit,
                block: Some(block.hash()),
            };
            for (seat, signature) in &certificate.precommits {
                let Some(by) = seats.get(usize::from(*seat)).copied() else { continue };
                self.vote(Statement { by, content: content.clone(), signature: *signature })?;
            }
        }
        Ok(())
    }

    /// What a block counts, on top of `before`.
    pub fn contributions(&mut self, before: &State, certified: &CertifiedBlock) -> Result<(), Failure> {
        for closing in certified.block.closings() {
            let base = before.base(&self.charter.manifest.method, closing.slot).digest();
            for counted in &closing.counted {
                let Some(member) = before.control.members.get(usize::from(counted.member)) else { continue };
                let content = counted.announcement(closing.slot, base);
                self.counted.insert((member.key, closing.slot), blob_root(&content.payload));
                self.announcement(Statement { by: member.key, content, signature: counted.signature })?;
            }
        }
        Ok(())
    }

    /// What is counted is what its peer said that it announced.
    pub fn compare(&self, folders: &[Folder], ledger: &Ledger) -> Result<(), Failure> {
        for (peer, folder) in folders.iter().enumerate() {
            let Some(signer) = folder.identity().map_err(Failure::setup)? else { continue };
            for ((stream, ordinal), root) in &ledger.peers[peer].announced {
                let slot = Slot { stream: *stream, ordinal: *ordinal };
                let counted = self.counted.get(&(signer.key(), slot)).copied().flatten();
                if counted.is_some_and(|counted| counted != *root) {
                    return Failure::broken(format!(
                        "peer {peer} announced {} for {slot:?}, but {counted:?} is counted",
                        root.short()
                    ));
                }
            }
        }
        Ok(())
    }

    /// What a folder remembers: announcements for open slots, and the running height's log, which
    /// has others' statements in it, too.
    pub fn journal(&mut self, folder: &SessionFolder) -> Result<(), Failure> {
        let opened = SessionStore::open(folder.clone(), &self.charter, Options::default());
        let broken = |error| Failure::Broken(format!("{}: {error}", folder.path().display()));
        let (store, recovered) = opened.map_err(broken)?;
        store.close().map_err(broken)?;
        for statement in recovered.signed {
            self.announcement(statement)?;
        }
        for record in recovered.wal {
            match record {
                WalRecord::Vote(vote) | WalRecord::OwnVote(vote) => self.vote(vote)?,
                WalRecord::Proposal { proposal, block: Some(block), .. }
                | WalRecord::OwnProposal { proposal, block: Some(block) } => {
                    self.observe(proposal.by, &Message::Propose { proposal, block })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn vote(&mut self, vote: Statement<Vote>) -> Result<(), Failure> {
        self.observe(vote.by, &Message::Vote(vote))
    }

    fn announcement(&mut self, announcement: Statement<Announcement>) -> Result<(), Failure> {
        let by = announcement.by;
        self.observe(by, &Message::Announce { announcement, mirrors: Vec::new(), relay: false })
    }

    fn observe(&mut self, by: PeerKey, message: &Message) -> Result<(), Failure> {
        self.statements += 1;
        // Its committee is named, so it is never reset.
        self.once.observe(by, 0, message).map_err(|text| Failure::Broken(format!("{}: {text}", by.short())))
    }
}
