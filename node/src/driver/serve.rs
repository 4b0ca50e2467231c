//! Answers other peers from the store, without the session.

use driftless_protocol::PeerKey;
use driftless_protocol::wire::{BlockReply, Message, limits};

use super::Driver;
use super::neighbours::introduce;
use crate::control::ReplyHandle;
use crate::store::StoreReader;

impl Driver {
    /// Answers one question on a thread that may wait for the disk.
    pub(super) fn serve(&mut self, from: PeerKey, bytes: &[u8], reply: ReplyHandle) {
        let question = match Message::from_bytes(bytes) {
            Ok(question) => question,
            Err(error) => return tracing::debug!(from = %from.short(), %error, "a question was refused"),
        };
        let (reader, manifest) = (self.parts.reader.clone(), self.parts.manifest.clone());
        if question == Message::GetPeers {
            let peers = introduce((self.parts.neighbours)(), &self.parts.pushers, &from);
            reply.send(Message::Peers(peers).to_bytes());
            return;
        }
        let hello = self.parts.hello.clone();
        let head = self.session.chain_end();
        tokio::task::spawn_blocking(move || {
            if let Some(answer) = answer(&reader, &manifest, &hello, head, &question) {
                reply.send(answer.to_bytes());
            }
        });
    }
}

fn answer(
    reader: &StoreReader,
    manifest: &[u8],
    hello: &[String],
    head: u64,
    question: &Message,
) -> Option<Message> {
    match question {
        Message::GetBlocks { from } => {
            let bytes = limits::REPLY - (64 << 10);
            let blocks = reader.read_blocks(*from, limits::BLOCKS_PER_REPLY, bytes);
            let blocks =
                blocks.inspect_err(|error| tracing::warn!(%error, "blocks could not be read")).ok()?;
            Some(Message::Blocks(BlockReply { blocks, head }))
        }
        Message::GetSnapshot { since } => Some(Message::Snapshot(reader.snapshot_offer(*since))),
        Message::Hello { .. } => Some(Message::Hello { data: hello.to_vec(), known: true }),
        Message::GetManifest => Some(Message::Manifest(manifest.to_vec())),
        _ => None,
    }
}
