//! Acts on a session's outputs.

use std::time::Duration;

use driftless_protocol::charter::Charter;
use driftless_protocol::event::{Input, Output, Record, Recovered, Snapshot};
use driftless_protocol::time::Span;
use driftless_protocol::transition::CandidateJob;
use driftless_protocol::wire::Message;
use driftless_protocol::{Hash, PeerKey};
use tokio::task::JoinSet;

use super::{Driver, DriverError};
use crate::blobs::{DataPlane, Source};
use crate::node::genesis_state;
use crate::store::{StoreError, StoreReader};

/// With one copy out, the others hold up the announcement only this long.
const ENOUGH: Duration = Duration::from_secs(2);

impl Driver {
    /// Acts on one output; the barrier of `Persist` holds because outputs are acted on in order.
    pub(super) async fn act(&mut self, output: Output) -> Result<(), DriverError> {
        match output {
            Output::Persist { record, sync } => self.persist(record, sync).await?,
            Output::Send { to, message } => self.send(&to, &message),
            Output::Publish(message) => self.parts.control.publish(self.session_id(), message.to_bytes()),
            Output::Fetch { root, length, sources } => self.fetch(root, length, &sources),
            Output::Push { root, to, copies, within } => self.push(root, &to, copies, within),
            Output::Evaluate(job) => self.evaluate(job),
            Output::Assemble(job) => {
                let (reader, answers) = (self.parts.reader.clone(), self.answers.clone());
                tokio::task::spawn_blocking(move || {
                    let mut read = |root: &Hash| reader.page(root).map_err(|error| error.to_string());
                    let _ = answers.blocking_send(Input::Assembled(job.run(&mut read)));
                });
            }
            Output::Retain { from } => self.parts.store.retain(from).await,
            Output::Reload => self.reload(),
            Output::Work(work) => {
                let taken = self.parts.worker.as_ref().is_some_and(|worker| worker.order(work));
                if !taken {
                    return Err(DriverError::Compute);
                }
            }
            Output::Cancel(roots) => roots.iter().for_each(|root| self.cancel(root)),
            Output::Forget(roots) => self.parts.store.forget(roots).await,
            Output::Event(event) => self.report(event).await,
            Output::Finished(ending) => self.ended = Some(ending),
        }
        Ok(())
    }

    /// A full disk stops this peer's statements, since nothing after the barrier is acted on, and
    /// lets it go on by itself when there is space again.
    async fn persist(&mut self, record: Record, sync: bool) -> Result<(), DriverError> {
        let written = self.parts.store.persist(record, sync);
        tokio::pin!(written);
        let result = loop {
            tokio::select! {
                result = &mut written => break result,
                Ok(()) = self.trouble.changed() => self.store_trouble(),
            }
        };
        if let Err(error @ StoreError::WrongPage { .. }) = &result {
            // The snapshot is left out; the session sees to its state.
            self.feed(Input::StateDamaged(error.to_string()));
            return Ok(());
        }
        if let Err(StoreError::AlreadySigned { slot, .. }) = result {
            // Cannot happen while this store is the key's only one.
            tracing::error!(?slot, "this key signed something else for the slot before");
            return Err(StoreError::AlreadySigned { by: self.parts.control.key(), slot }.into());
        }
        Ok(result?)
    }

    fn reload(&self) {
        let (reloaded, reader) = (self.parts.store.reload(), self.parts.reader.clone());
        let (charter, answers) = (self.parts.charter.clone(), self.answers.clone());
        tokio::spawn(async move {
            let reloaded = match reloaded.await {
                Ok(recovered) => {
                    tokio::task::spawn_blocking(move || from_genesis(&charter, &reader, recovered))
                        .await
                        .unwrap_or_else(|error| Err(error.to_string()))
                }
                Err(error) => Err(error.to_string()),
            };
            let _ = answers.send(Input::Reloaded(reloaded.map(Box::new))).await;
        });
    }

    fn send(&mut self, to: &[PeerKey], message: &Message) {
        let bytes = message.to_bytes();
        let session = self.session_id();
        if matches!(message, Message::GetBlocks { .. } | Message::GetSnapshot { .. }) {
            to.iter().for_each(|peer| self.ask(*peer, bytes.clone()));
            return;
        }
        for peer in to {
            if let Err(error) = self.parts.control.send(session, *peer, bytes.clone()) {
                tracing::debug!(to = %peer.short(), %error, "a message was not sent");
            }
        }
    }

    /// A question whose reply is an input.
    fn ask(&self, peer: PeerKey, bytes: Vec<u8>) {
        let (control, answers, session) =
            (self.parts.control.clone(), self.answers.clone(), self.session_id());
        tokio::spawn(async move {
            let reply = match control.request(session, peer, bytes).await {
                Ok(reply) => Message::from_reply_bytes(&reply).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match reply {
                Ok(message) => {
                    let _ = answers.send(Input::Message { from: peer, message }).await;
                }
                Err(error) => tracing::debug!(of = %peer.short(), error, "a question was not answered"),
            }
        });
    }

    fn fetch(&mut self, root: Hash, length: u64, sources: &[PeerKey]) {
        let sources: Vec<Source> = sources.iter().map(|peer| self.addresses.source(*peer)).collect();
        let (plane, answers) = (self.parts.plane.clone(), self.answers.clone());
        let held = self.parts.reader.has_blob(&root) || self.parts.reader.pages().contains(&root);
        let fetch = tokio::spawn(async move {
            let input = match held {
                true => Input::BlobStored(root),
                false => match plane.fetch(root, length, sources).await {
                    Ok(_) => Input::BlobStored(root),
                    Err(error) => {
                        tracing::debug!(%error, "a blob was not fetched");
                        Input::BlobFailed(root)
                    }
                },
            };
            let _ = answers.send(input).await;
        });
        self.fetches.retain(|_, fetch| !fetch.is_finished());
        self.fetches.insert(root, fetch.abort_handle());
    }

    fn push(&mut self, root: Hash, to: &[PeerKey], copies: usize, within: Span) {
        let within = Duration::from_micros(within.0);
        let candidates: Vec<Source> = to.iter().map(|peer| self.addresses.source(*peer)).collect();
        let (plane, answers) = (self.parts.plane.clone(), self.answers.clone());
        let push = tokio::spawn(async move {
            let to = push_copies(plane, root, candidates, copies, within).await;
            let _ = answers.send(Input::Pushed { root, to }).await;
        });
        self.pushes.retain(|_, push| !push.is_finished());
        self.pushes.insert(root, push.abort_handle());
    }

    /// Gives up whatever is under way of one blob.
    fn cancel(&mut self, root: &Hash) {
        let (fetch, push) = (self.fetches.remove(root), self.pushes.remove(root));
        fetch.into_iter().chain(push).for_each(|transfer| transfer.abort());
    }

    fn evaluate(&self, job: CandidateJob) {
        let (reader, answers) = (self.parts.reader.clone(), self.answers.clone());
        tokio::task::spawn_blocking(move || {
            let id = job.id;
            let mut read = |root: &Hash| reader.blob(root).map_err(|error| error.to_string());
            let result = job.run(&mut read);
            let _ = answers.blocking_send(Input::Candidate { id, result });
        });
    }
}

/// What was recovered, with the genesis state where there is no snapshot.
fn from_genesis(
    charter: &Charter,
    reader: &StoreReader,
    mut recovered: Recovered,
) -> Result<Recovered, String> {
    if recovered.snapshot.is_none() {
        let state = genesis_state(charter, |root| reader.page(root).map_err(|error| error.to_string()));
        let state = state.map_err(|error| error.to_string())?;
        recovered.snapshot = Some(Snapshot { block: None, state });
    }
    Ok(recovered)
}

/// Pushes to candidates, `copies` at a time, until that many hold the blob or none is left. One is
/// enough if the others are slow: their pushes go on behind the announcement.
async fn push_copies(
    plane: DataPlane,
    root: Hash,
    candidates: Vec<Source>,
    copies: usize,
    within: Duration,
) -> Vec<PeerKey> {
    let mut left = candidates.into_iter();
    let mut running = JoinSet::new();
    let mut held = Vec::new();
    let patience = tokio::time::sleep(ENOUGH);
    tokio::pin!(patience);
    loop {
        while running.len() + held.len() < copies
            && let Some(source) = left.next()
        {
            let plane = plane.clone();
            running.spawn(async move {
                let pushed = tokio::time::timeout(within, plane.push(root, &source)).await;
                matches!(pushed, Ok(Ok(_))).then_some(source.peer)
            });
        }
        tokio::select! {
            done = running.join_next() => match done {
                Some(done) => held.extend(done.ok().flatten()),
                None => return held,
            },
            () = &mut patience, if !held.is_empty() => {
                running.detach_all();
                return held;
            }
        }
    }
}
