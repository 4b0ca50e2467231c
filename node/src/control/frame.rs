//! Frames on a stream: a length, a session, a payload. Bounded before anything is allocated.
//!
//! A frame of the session of the frame before it on its stream has a bit in its length instead of the session.

use std::io;

use driftless_protocol::Hash;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::request_response::Codec;

/// Bytes of the length prefix: u32, little endian.
const PREFIX: usize = 4;
/// Bytes of the session id in front of each payload.
const SESSION: usize = 32;
/// In a length: the session is that of the frame before.
const SAME: u32 = 1 << 31;
/// What is allocated before the first byte has come.
const FIRST_ALLOCATION: usize = 4 << 10;

/// A frame of `payload` for `session`, ready to be written.
pub(crate) fn frame(session: Hash, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(SESSION + payload.len()).expect("payloads are bounded by limits");
    let mut bytes = Vec::with_capacity(PREFIX + SESSION + payload.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&session.0);
    bytes.extend_from_slice(payload);
    bytes
}

/// Leaves out of whole frames, which follow `last` on their stream, what the frame before each says.
pub(crate) fn shorten(frames: &[u8], last: &mut Option<Hash>) -> Vec<u8> {
    let mut out = Vec::with_capacity(frames.len());
    let mut rest = frames;
    while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
        let length = u32::from_le_bytes(*prefix) as usize;
        let Some((body, next)) = after.split_at_checked(length) else { break };
        let Some((session, payload)) = body.split_first_chunk::<SESSION>() else { break };
        if *last == Some(Hash(*session)) {
            out.extend_from_slice(&(SAME | payload.len() as u32).to_le_bytes());
            out.extend_from_slice(payload);
        } else {
            out.extend_from_slice(&rest[..PREFIX + length]);
            *last = Some(Hash(*session));
        }
        rest = next;
    }
    out
}

/// Reads one frame whose payload has at most `limit` bytes, after one of session `last`; nothing at a clean end of
/// the stream.
pub(crate) async fn read_frame<T>(
    io: &mut T,
    last: Option<Hash>,
    limit: usize,
) -> io::Result<Option<(Hash, Vec<u8>)>>
where
    T: AsyncRead + Unpin,
{
    let Some(length) = read_prefix(io).await? else { return Ok(None) };
    if length & SAME as usize != 0 {
        let length = length & !(SAME as usize);
        let session =
            last.ok_or_else(|| invalid("a frame of the session before it, where none was".into()))?;
        if length > limit {
            return Err(invalid(format!("a payload of {length} bytes, at most {limit} are allowed")));
        }
        return Ok(Some((session, read_payload(io, length).await?)));
    }
    if length < SESSION {
        return Err(invalid(format!("a frame of {length} bytes has no session id")));
    }
    if length - SESSION > limit {
        return Err(invalid(format!("a payload of {} bytes, at most {limit} are allowed", length - SESSION)));
    }
    let mut session = [0; SESSION];
    io.read_exact(&mut session).await?;
    let payload = read_payload(io, length - SESSION).await?;
    Ok(Some((Hash(session), payload)))
}

/// The length prefix; nothing if the stream ends before its first byte.
async fn read_prefix<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Option<usize>> {
    let mut prefix = [0; PREFIX];
    if io.read(&mut prefix[..1]).await? == 0 {
        return Ok(None);
    }
    io.read_exact(&mut prefix[1..]).await?;
    Ok(Some(u32::from_le_bytes(prefix) as usize))
}

/// Exactly `length` bytes. Memory grows with what arrives, not with what was promised.
async fn read_payload<T: AsyncRead + Unpin>(io: &mut T, length: usize) -> io::Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(length.min(FIRST_ALLOCATION));
    io.take(length as u64).read_to_end(&mut payload).await?;
    if payload.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(payload)
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Requests are frames; a reply is a length and its bytes.
#[derive(Clone, Debug)]
pub(crate) struct RequestCodec {
    /// Most bytes of a request.
    pub(crate) request: usize,
    /// Most bytes of a reply.
    pub(crate) reply: usize,
}

impl Codec for RequestCodec {
    type Protocol = &'static str;
    type Request = (Hash, Vec<u8>);
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &&'static str, io: &mut T) -> io::Result<(Hash, Vec<u8>)>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io, None, self.request).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    async fn read_response<T>(&mut self, _: &&'static str, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        let length = read_prefix(io).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if length > self.reply {
            return Err(invalid(format!("a reply of {length} bytes, at most {} are allowed", self.reply)));
        }
        read_payload(io, length).await
    }

    async fn write_request<T>(
        &mut self,
        _: &&'static str,
        io: &mut T,
        (session, payload): (Hash, Vec<u8>),
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&frame(session, &payload)).await
    }

    async fn write_response<T>(&mut self, _: &&'static str, io: &mut T, reply: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let length = u32::try_from(reply.len()).map_err(|_| invalid("a reply beyond 4 GiB".into()))?;
        io.write_all(&length.to_le_bytes()).await?;
        io.write_all(&reply).await
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::*;

    fn read(bytes: &[u8], limit: usize) -> io::Result<Option<(Hash, Vec<u8>)>> {
        block_on(read_frame(&mut Cursor::new(bytes), None, limit))
    }

    #[test]
    fn frames_round_trip_one_after_the_other() {
        let session = Hash::of(b"session");
        let mut bytes = frame(session, b"first");
        bytes.extend(frame(session, b""));
        let mut io = Cursor::new(bytes);
        assert_eq!(block_on(read_frame(&mut io, None, 5)).unwrap(), Some((session, b"first".to_vec())));
        assert_eq!(block_on(read_frame(&mut io, None, 5)).unwrap(), Some((session, Vec::new())));
        assert_eq!(block_on(read_frame(&mut io, None, 5)).unwrap(), None);
    }

    #[test]
    fn a_session_is_named_where_it_changes() {
        let sessions = [b"one", b"one", b"two", b"one", b"one"].map(|name| Hash::of(name));
        let frames: Vec<Vec<u8>> = sessions.iter().map(|session| frame(*session, b"words")).collect();
        let mut last = None;
        let mut bytes = shorten(&frames[..3].concat(), &mut last);
        bytes.extend(shorten(&frames[3..].concat(), &mut last));
        assert_eq!(bytes.len(), 5 * (4 + 5) + 3 * 32);
        let (mut io, mut last) = (Cursor::new(bytes), None);
        for session in sessions {
            let (found, words) = block_on(read_frame(&mut io, last, 5)).unwrap().unwrap();
            assert_eq!((found, &words[..]), (session, &b"words"[..]));
            last = Some(found);
        }
        assert_eq!(block_on(read_frame(&mut io, last, 5)).unwrap(), None);
        for length in [6u32, u32::MAX >> 1] {
            let hostile = (SAME | length).to_le_bytes();
            let refused = block_on(read_frame(&mut Cursor::new(hostile), Some(sessions[0]), 5));
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert_eq!(read(&SAME.to_le_bytes(), 5).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn hostile_lengths_are_refused_from_the_prefix_alone() {
        for length in [37 + 1, 60 << 10, u32::MAX as usize] {
            let mut bytes = (length as u32).to_le_bytes().to_vec();
            bytes.extend([0; 64]);
            assert_eq!(read(&bytes, 5).unwrap_err().kind(), io::ErrorKind::InvalidData, "{length}");
        }
        for length in 0..32u32 {
            assert_eq!(read(&length.to_le_bytes(), 5).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_an_error_and_never_a_shorter_message() {
        let bytes = frame(Hash::of(b"session"), b"payload");
        for cut in 1..bytes.len() {
            assert_eq!(read(&bytes[..cut], 100).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{cut}");
        }
    }

    #[test]
    fn a_promised_reply_that_does_not_come_costs_its_first_bytes_only() {
        let mut codec = RequestCodec { request: 100, reply: 8 << 20 };
        let mut bytes = (8u32 << 20).to_le_bytes().to_vec();
        bytes.extend([1; 10]);
        let short = block_on(codec.read_response(&"", &mut Cursor::new(&bytes)));
        assert_eq!(short.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let long = ((8u32 << 20) + 1).to_le_bytes();
        let refused = block_on(codec.read_response(&"", &mut Cursor::new(long)));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn requests_and_replies_round_trip() {
        let mut codec = RequestCodec { request: 100, reply: 100 };
        let request = (Hash::of(b"session"), b"question".to_vec());
        let mut wire = Cursor::new(Vec::new());
        block_on(codec.write_request(&"", &mut wire, request.clone())).unwrap();
        assert_eq!(block_on(codec.read_request(&"", &mut Cursor::new(wire.into_inner()))).unwrap(), request);
        let mut wire = Cursor::new(Vec::new());
        block_on(codec.write_response(&"", &mut wire, b"answer".to_vec())).unwrap();
        assert_eq!(
            block_on(codec.read_response(&"", &mut Cursor::new(wire.into_inner()))).unwrap(),
            b"answer"
        );
    }
}
