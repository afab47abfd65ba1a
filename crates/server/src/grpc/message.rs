//! gRPC framing: messages out of a request body, statuses into a response.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use proto::Code;

/// Longest request message, in bytes: a client that returns lists all names it holds.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024 * 1024;

/// Flag and length in front of each message.
pub(crate) const PREFIX_BYTES: usize = 5;

/// Longest message of a status that is sent, in bytes.
const MAX_STATUS_MESSAGE: usize = 1024;

/// A gRPC status that ends a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub code: Code,
    pub message: String,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The part of the message that is sent: it may repeat what the client wrote, at any length.
    fn truncated(&self) -> &str {
        self.message.get(..self.message.floor_char_boundary(MAX_STATUS_MESSAGE)).unwrap_or_default()
    }

    /// The headers that carry it.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert("grpc-status", HeaderValue::from(u16::from(self.code.number())));
        if !self.message.is_empty()
            && let Ok(message) = HeaderValue::from_str(&escape(self.truncated()))
        {
            headers.insert("grpc-message", message);
        }
        headers
    }
}

impl From<xds::SessionError> for Status {
    fn from(error: xds::SessionError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

/// Percent-encodes what a `grpc-message` may not hold: all but printable ASCII, and `%`.
fn escape(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for &byte in message.as_bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The prefix of a message; `None` when it is too long for one.
pub(crate) fn prefix(len: u64) -> Option<[u8; PREFIX_BYTES]> {
    let [a, b, c, d] = u32::try_from(len).ok()?.to_be_bytes();
    Some([0, a, b, c, d])
}

/// Bytes of a request body that are not a whole message yet.
#[derive(Debug, Default)]
pub(crate) struct MessageBuffer {
    bytes: BytesMut,
}

impl MessageBuffer {
    /// Adds what arrived.
    pub fn push(&mut self, data: &Bytes) {
        self.bytes.extend_from_slice(data);
    }

    /// True when a message has begun and not ended.
    pub fn is_partial(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Returns the length of the next message in bytes, once its prefix is here.
    ///
    /// # Errors
    /// When it is compressed or too long; nothing after it can be read.
    pub fn next_len(&self) -> Result<Option<usize>, Status> {
        let Some(&[flag, a, b, c, d]) = self.bytes.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        if flag != 0 {
            let message = "request is compressed, and no compression was agreed on";
            return Err(Status::new(Code::Unimplemented, message));
        }
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > MAX_REQUEST_BYTES {
            let message = format!("request has {len} bytes, more than {MAX_REQUEST_BYTES}");
            return Err(Status::new(Code::ResourceExhausted, message));
        }
        Ok(Some(len))
    }

    /// Reserves memory for the message that is arriving, so that it is not moved again and again.
    pub fn reserve(&mut self, len: usize) {
        self.bytes.reserve((PREFIX_BYTES + len).saturating_sub(self.bytes.len()));
    }

    /// Takes the next whole message.
    ///
    /// # Errors
    /// When it is compressed or too long; nothing after it can be read.
    pub fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(len) = self.next_len()?.filter(|len| self.bytes.len() - PREFIX_BYTES >= *len) else {
            return Ok(None);
        };
        self.bytes.advance(PREFIX_BYTES);
        let message = self.bytes.split_to(len).freeze();
        if self.bytes.is_empty() {
            // A large message must not keep its memory for the life of the stream.
            self.bytes = BytesMut::new();
        }
        Ok(Some(message))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_wherever_the_data_is_cut() {
        let mut whole = Vec::new();
        for body in [&b"one"[..], b"", b"three"] {
            whole.extend_from_slice(&prefix(body.len() as u64).unwrap());
            whole.extend_from_slice(body);
        }
        for step in 1..whole.len() {
            let mut buffer = MessageBuffer::default();
            let mut found = Vec::new();
            for piece in whole.chunks(step) {
                buffer.push(&Bytes::copy_from_slice(piece));
                while let Some(message) = buffer.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, [&b"one"[..], b"", b"three"], "cut every {step} bytes");
            assert!(!buffer.is_partial());
        }
    }

    #[test]
    fn compressed_and_overlong_messages_end_the_call() {
        let mut buffer = MessageBuffer::default();
        buffer.push(&Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert_eq!(buffer.next().unwrap_err().code, Code::Unimplemented);
        let mut buffer = MessageBuffer::default();
        buffer.push(&Bytes::copy_from_slice(&prefix(MAX_REQUEST_BYTES as u64 + 1).unwrap()));
        assert_eq!(buffer.next().unwrap_err().code, Code::ResourceExhausted);
        assert!(prefix(u64::from(u32::MAX) + 1).is_none());
    }

    #[test]
    fn a_status_message_is_escaped() {
        let headers = Status::new(Code::InvalidArgument, "100% über\n").headers();
        assert_eq!(headers["grpc-status"], "3");
        assert_eq!(headers["grpc-message"], "100%25 %C3%BCber%0A");
        let long = Status::new(Code::InvalidArgument, "x".repeat(1 << 20)).headers();
        assert_eq!(long["grpc-message"].len(), MAX_STATUS_MESSAGE);
    }
}
