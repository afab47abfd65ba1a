//! How many control frames a client sends: frames of HTTP/2 that carry nothing of a call.
//!
//! Each PING and each SETTINGS is answered. The transport bounds the answers that wait, and so stops a
//! client that does not read them; one that does could keep a thread busy with them.

use limits::{Rate, TokenBucket};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

/// How often: a client that measures its bandwidth sends a PING each round trip while it receives.
const CONTROL_FRAMES: Rate = Rate { burst: 20_000, per_second: 1_000 };

/// The preface of a connection, in front of its first frame (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// Length, type, flags and stream (RFC 9113, section 4.1).
const HEADER_BYTES: usize = 9;

/// The client sent too many control frames.
#[derive(Debug, thiserror::Error)]
#[error("more than {} frames a second that carry nothing", CONTROL_FRAMES.per_second)]
struct TooManyControlFrames;

/// A connection that fails once too many control frames have arrived on it.
pub(super) struct ControlFrameLimit<I> {
    io: I,
    frames: FrameCounter,
    opened: Instant,
    exceeded: CancellationToken,
}

impl<I> ControlFrameLimit<I> {
    /// Counts from the first byte of the connection; `exceeded` is cancelled when there are too many.
    pub fn new(io: I, exceeded: CancellationToken) -> Self {
        Self { io, frames: FrameCounter::new(), opened: Instant::now(), exceeded }
    }
}

/// Finds the headers of frames in what arrives.
struct FrameCounter {
    /// Bytes until the next header.
    skip: usize,
    header: [u8; HEADER_BYTES],
    /// How much of the header is there.
    filled: usize,
    bucket: TokenBucket,
}

impl FrameCounter {
    fn new() -> Self {
        let bucket = TokenBucket::new(CONTROL_FRAMES, Duration::ZERO);
        Self { skip: PREFACE_BYTES, header: [0; HEADER_BYTES], filled: 0, bucket }
    }

    /// Counts the frames that begin in what arrived.
    fn count(&mut self, mut data: &[u8], now: Duration) -> Result<(), TooManyControlFrames> {
        while !data.is_empty() {
            let skipped = self.skip.min(data.len());
            self.skip -= skipped;
            data = data.get(skipped..).unwrap_or_default();
            let Some(room) = self.header.get_mut(self.filled..) else { break };
            let taken = room.len().min(data.len());
            for (place, byte) in room.iter_mut().zip(data) {
                *place = *byte;
            }
            self.filled += taken;
            data = data.get(taken..).unwrap_or_default();
            if self.filled == HEADER_BYTES {
                let [a, b, c, kind, ..] = self.header;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                self.filled = 0;
                if is_control_frame(kind, self.skip) {
                    self.bucket.take(now).map_err(|_| TooManyControlFrames)?;
                }
            }
        }
        Ok(())
    }
}

/// Tells whether a frame of this type and length is for nothing but the connection.
fn is_control_frame(kind: u8, length: usize) -> bool {
    match kind {
        // DATA, HEADERS and CONTINUATION: unless they bring nothing.
        0 | 1 | 9 => length == 0,
        // RST_STREAM and WINDOW_UPDATE go with streams, which are bounded, and with what is sent.
        3 | 8 => false,
        _ => true,
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ControlFrameLimit<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let arrived = buf.filled().get(before..).unwrap_or_default();
        let counted = this.frames.count(arrived, this.opened.elapsed());
        Poll::Ready(counted.map_err(|too_many| {
            this.exceeded.cancel();
            io::Error::other(too_many)
        }))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ControlFrameLimit<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, 0, 0, 0, 0, 0][..], payload].concat()
    }

    #[test]
    fn frames_are_found_wherever_the_data_is_cut() {
        let preface = vec![6; PREFACE_BYTES];
        let one = [preface, frame(6, b"flooding"), frame(0, b"message"), frame(4, b"")].concat();
        for step in 1..=one.len() {
            let mut frames = FrameCounter::new();
            for piece in one.chunks(step) {
                frames.count(piece, Duration::ZERO).unwrap();
            }
            let left = (0..).take_while(|_| frames.bucket.take(Duration::ZERO).is_ok()).count();
            assert_eq!(left, CONTROL_FRAMES.burst as usize - 2, "cut every {step} bytes");
        }
    }

    #[test]
    fn what_carries_a_call_is_not_counted() {
        let mut frames = FrameCounter::new();
        frames.count(&[0; PREFACE_BYTES], Duration::ZERO).unwrap();
        for _ in 0..CONTROL_FRAMES.burst {
            for (kind, payload) in
                [(0, &b"message"[..]), (1, b"headers"), (3, b"\0\0\0\x08"), (8, b"\0\0\0\x01")]
            {
                frames.count(&frame(kind, payload), Duration::ZERO).unwrap();
            }
            frames.count(&frame(2, b"order"), Duration::ZERO).unwrap();
        }
        assert!(frames.count(&frame(0, b""), Duration::ZERO).is_err());
        assert!(frames.count(&frame(0, b""), Duration::from_secs(1)).is_ok());
    }
}
