//! One stream's requests to the session of a ztunnel.

use crate::allocations::{live, peak_of};
use prost::Message;
use proto::discovery::DeltaDiscoveryResponse;
use std::time::SystemTime;
use xds::{ResourceType, Scope, Writer, ZtunnelSession};

/// What a request may take while it is handled, beside its own bytes, which may all be names of none: for each byte, and
/// for each request.
const PER_BYTE: i64 = 256;
const PER_REQUEST: i64 = 64 * 1024;

/// What the session itself takes, with what it says of each type.
const SESSION: i64 = 16 * 1024;

/// Feeds requests to a session: the input is a sequence of messages, each after two bytes of its length; between them
/// the mesh changes and answers are taken. What a request takes is bounded by its length, and what the session holds is
/// what it says.
pub fn run(input: &[u8]) {
    let mut writer = Writer::new();
    for name in ["a/x", "a/y", "b/z"] {
        let _ = writer.put(&Scope::Mesh, ResourceType::Authorization, name, name.as_bytes());
    }
    let _ = writer.put(&Scope::Mesh, ResourceType::Address, "c//Pod/a/p", b"\x0a\x04\xa2\x01\x01u");
    let mut snapshot = writer.publish();
    let mut held = 0;
    let mut session = ZtunnelSession::new(SystemTime::UNIX_EPOCH);
    let mut rest = input;
    let mut step = 0u8;
    while let Some((head, tail)) = rest.split_at_checked(2) {
        let length = usize::from(u16::from_le_bytes([head[0], head[1]])).min(tail.len());
        let (message, tail) = tail.split_at(length);
        rest = tail;
        step = step.wrapping_add(1);
        let before = live();
        let (taken, peak) = peak_of(|| session.request(message.to_vec().into()).map(drop));
        assert!(peak <= PER_REQUEST + PER_BYTE * length as i64, "{length} bytes took {peak}");
        if taken.is_err() {
            return;
        }
        held += live() - before;
        let claimed = session.held_bytes() as i64;
        assert!(held <= claimed + SESSION, "{held} bytes are held, and {claimed} charged");
        if step.is_multiple_of(3) {
            let _ = writer.put(&Scope::Mesh, ResourceType::Authorization, "a/x", &[step]);
            writer.remove(&Scope::Mesh, ResourceType::Authorization, "a/y");
            snapshot = writer.publish();
        }
        let before = live();
        session.release();
        // A session owes at most one answer to each type it knows, and then is silent.
        for _ in 0..64 {
            let Ok(Some(response)) = session.poll(&snapshot) else { break };
            let announced = response.message_len();
            let bytes: Vec<u8> = response.flatten().collect();
            assert_eq!(bytes.len() as u64, announced, "the length is known before the body");
            assert!(DeltaDiscoveryResponse::decode(bytes.as_slice()).is_ok(), "every answer decodes");
        }
        held += live() - before;
        assert!(session.listed_bytes() == 0, "what was listed is compared");
    }
}
