//! The connection under a WebSocket. It counts the frames that the WebSocket library does not report. It also lets a
//! socket continue to read after a failed write.
//!
//! A client may split a message into several frames, called fragments. The library joins the fragments and returns only
//! the whole message. A client could send empty fragments without end, and no rate limit would count them. Therefore
//! this module also reads the head (the first bytes) of each frame, and limits the number of fragments of a message.
//!
//! A client may send its last frames and close immediately. The server's next write to that client then fails, while
//! the client's frames are still in the kernel's buffer. After the first failed write, this module drops all bytes that
//! the server writes. So the server can read the rest of the client's frames.

use salvo::hyper::upgrade::Upgraded;
use salvo::rt::tokio::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio_tungstenite::WebSocketStream;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The WebSocket of a client.
pub(crate) type WebSocket = WebSocketStream<CountedStream<TokioIo<Upgraded>>>;

/// The longest head of a frame, in bytes (RFC 6455, 5.2).
const HEAD_BYTES: usize = 14;

/// A connection whose frames are counted.
#[derive(Debug)]
pub(crate) struct CountedStream<S> {
    io: S,
    heads: FrameHeads,
    /// The maximum number of fragments of a message (`limits.message_fragments`), without the last fragment.
    most_fragments: u32,
    lost_at: Option<Instant>,
}

impl<S> CountedStream<S> {
    /// Wraps a connection. The caller must not have read any byte from the connection.
    pub(crate) fn new(io: S, most_fragments: u32) -> Self {
        Self { io, heads: FrameHeads::default(), most_fragments, lost_at: None }
    }

    /// Returns the time when a write first failed. None while writes succeed.
    pub(crate) fn lost_at(&self) -> Option<Instant> {
        self.lost_at
    }

    /// Tells whether the current message has more fragments than allowed.
    pub(crate) fn is_too_fragmented(&self) -> bool {
        self.heads.fragments > self.most_fragments
    }

    /// Returns the number of fragments received since the previous call. The last fragment of each message does not
    /// count.
    pub(crate) fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.heads.uncounted)
    }

    /// Processes the result of a write. After the first failure, reports every write as successful, and drops the bytes
    /// to write.
    fn written(&mut self, written: Poll<io::Result<usize>>, bytes: usize) -> Poll<io::Result<usize>> {
        let written = ready!(written);
        if let Some(written) = written.ok().filter(|written| *written > 0 || bytes == 0) {
            return Poll::Ready(Ok(written));
        }
        self.lost_at = Some(Instant::now());
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> CountedStream<S> {
    /// Shuts down the writing side. Then reads and discards up to `most` bytes, until the client shuts down its own
    /// side. If the server closed a connection with unread data, the kernel would reset the connection. The reset could
    /// discard the last written bytes.
    pub(crate) async fn discard(&mut self, most: u64) {
        if self.io.shutdown().await.is_ok() {
            let mut rest = (&mut self.io).take(most);
            let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // The read that receives the head of the excess fragment still succeeds, and returns the bytes up to that head.
        // The next read returns the error. So the socket first handles the frames before that fragment.
        if this.is_too_fragmented() {
            return Poll::Ready(Err(io::Error::other("too many fragments")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let scanned = this.heads.scan(buf.filled().get(before..).unwrap_or_default(), this.most_fragments);
        buf.set_filled(before + scanned);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.lost_at.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, buf);
        this.written(written, buf.len())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lost_at.is_none() && ready!(Pin::new(&mut this.io).poll_flush(cx)).is_err() {
            this.lost_at = Some(Instant::now());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = bufs.iter().map(|buf| buf.len()).sum();
        if this.lost_at.is_some() {
            return Poll::Ready(Ok(bytes));
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.written(written, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

/// Scans a stream of bytes for the heads of frames, and counts the fragments.
#[derive(Debug, Default)]
struct FrameHeads {
    /// The received bytes of the head that is being read.
    head: [u8; HEAD_BYTES],
    /// The number of received bytes in `head`.
    come: usize,
    /// The remaining bytes of the current frame's payload.
    payload: u64,
    /// The number of received fragments of the current message. The last fragment of a message does not count.
    fragments: u32,
    /// The number of fragments, of all messages, since the last call of
    /// [`take_fragments`](CountedStream::take_fragments). The last fragment of each message does not count.
    uncounted: u32,
}

impl FrameHeads {
    /// Counts the fragments whose heads end in these bytes. Returns the number of scanned bytes. If a message has more
    /// than `most_fragments` fragments, the scan stops after the head of the first excess fragment.
    fn scan(&mut self, read: &[u8], most_fragments: u32) -> usize {
        let mut bytes = read;
        loop {
            // If the payload's length exceeds `usize`, the payload does not end within these bytes.
            let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= skipped as u64;
            let Some((next, rest)) = bytes.get(skipped..).and_then(<[u8]>::split_first) else {
                return read.len();
            };
            bytes = rest;
            if let Some(place) = self.head.get_mut(self.come) {
                *place = *next;
                self.come += 1;
            }
            if let Some(payload) = self.payload_of_head() {
                self.payload = payload;
                self.come = 0;
                self.count();
                if self.fragments > most_fragments {
                    return read.len() - bytes.len();
                }
            }
        }
    }

    /// Returns the payload's length in bytes if the whole head was received, otherwise None.
    fn payload_of_head(&self) -> Option<u64> {
        let come = self.head.get(..self.come)?;
        let (second, rest) = come.get(1..)?.split_first()?;
        let (extended, masked) = (second & 0x7F, second & 0x80 != 0);
        let (length, rest) = match extended {
            126 => {
                rest.split_first_chunk().map(|(bytes, rest)| (u64::from(u16::from_be_bytes(*bytes)), rest))?
            }
            127 => rest.split_first_chunk().map(|(bytes, rest)| (u64::from_be_bytes(*bytes), rest))?,
            short => (u64::from(short), rest),
        };
        (rest.len() >= if masked { 4 } else { 0 }).then_some(length)
    }

    /// Counts the frame whose head was received, unless it is a control frame or the last fragment of a message.
    fn count(&mut self) {
        let [first, ..] = self.head;
        let (ends, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        if is_control {
            return;
        }
        if ends {
            self.fragments = 0;
        } else {
            self.fragments = self.fragments.saturating_add(1);
            self.uncounted = self.uncounted.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a frame as a client sends it, masked with zeros (the payload stays unchanged).
    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload {
            ..126 => bytes.push(0x80 | u8::try_from(payload).unwrap()),
            126..65_536 => {
                bytes.push(0xFE);
                bytes.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(0xFF);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        // The mask, and then a payload whose bytes look like heads of frames.
        bytes.extend([0; 4]);
        bytes.extend(std::iter::repeat_n(0x01, payload));
        bytes
    }

    #[test]
    fn fragments_are_counted_for_any_split_of_the_bytes() {
        let bytes: Vec<u8> = [
            frame(0x81, 5),
            frame(0x01, 200),
            frame(0x89, 3),
            frame(0x00, 0),
            frame(0x00, 70_000),
            frame(0x80, 1),
            frame(0x02, 125),
            frame(0x00, 126),
            frame(0x8A, 0),
        ]
        .concat();
        for step in [1, 2, 3, 7, 1024, bytes.len()] {
            let mut heads = FrameHeads::default();
            for part in bytes.chunks(step) {
                assert_eq!(heads.scan(part, 10), part.len());
            }
            assert_eq!((heads.uncounted, heads.fragments), (5, 2), "in steps of {step}");
            assert_eq!((heads.payload, heads.come), (0, 0), "in steps of {step}");
        }
        let mut heads = FrameHeads::default();
        let until = frame(0x81, 5).len() + 2 * frame(0x01, 200).len() - 200;
        assert_eq!(heads.scan(&[frame(0x81, 5), frame(0x01, 200).repeat(3)].concat(), 1), until);
    }

    #[tokio::test]
    async fn a_lost_peer_is_read_to_the_end_and_writes_are_dropped() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"\x81\x80\0\0\0\0").await.unwrap();
        drop(theirs);
        let mut line = CountedStream::new(ours, 1);
        line.write_all(b"nobody takes this").await.unwrap();
        line.flush().await.unwrap();
        assert!(line.lost_at().is_some());
        let mut read = Vec::new();
        line.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 6);
    }
}
