//! Feeds one Envoy's requests to a session: the first byte chooses the variant, then come messages, each
//! after two bytes of its length; between them the scope changes and answers are taken.
#![cfg_attr(fuzzing, no_main)]

use prost::Message;
use proto::discovery::{DeltaDiscoveryResponse, DiscoveryResponse};
use std::time::SystemTime;
use xds::{EnvoySession, ResourceType, Scope, Variant, Writer};

pilothouse_fuzz::target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else { return };
    let variant = if first % 2 == 0 { Variant::Delta } else { Variant::StateOfTheWorld };
    let scope = Scope::proxy("shop/waypoint");
    let mut writer = Writer::new();
    for name in ["a", "b"] {
        // A name, and endpoints under it.
        let body = [&b"\x0a\x01"[..], name.as_bytes(), b"\x1a\x00"].concat();
        let _ = writer.put(&scope, ResourceType::Cluster, name, &body);
        let _ = writer.put(&scope, ResourceType::Endpoint, name, &body[..3]);
        let _ = writer.put(&scope, ResourceType::Listener, name, &body[..3]);
    }
    let mut snapshot = writer.publish();
    let mut session = EnvoySession::new(SystemTime::UNIX_EPOCH, variant, scope.clone());
    let mut step = 0u8;
    while let Some((head, tail)) = rest.split_at_checked(2) {
        let length = usize::from(u16::from_le_bytes([head[0], head[1]])).min(tail.len());
        let (message, tail) = tail.split_at(length);
        rest = tail;
        step = step.wrapping_add(1);
        if session.request(message.to_vec().into()).is_err() {
            return;
        }
        match step % 4 {
            1 => drop(writer.put(&scope, ResourceType::Cluster, "a", &[0x0a, 1, b'a', 0x1a, 0, 0x10, step])),
            2 => drop(writer.put(&scope, ResourceType::Route, "r", &[0x0a, 1, b'r', 0x10, step])),
            3 => {
                writer.remove(&scope, ResourceType::Cluster, "b");
            }
            _ => session.release(),
        }
        snapshot = if step.is_multiple_of(2) { writer.publish() } else { snapshot };
        // A session has little to say to each type it knows, and then is silent.
        let mut answers = 0;
        while let Ok(Some(response)) = session.poll(&snapshot) {
            let announced = response.message_len();
            let bytes: Vec<u8> = response.flatten().collect();
            assert_eq!(bytes.len() as u64, announced, "the length is known before the body");
            let decodes = match variant {
                Variant::Delta => DeltaDiscoveryResponse::decode(bytes.as_slice()).is_ok(),
                Variant::StateOfTheWorld => DiscoveryResponse::decode(bytes.as_slice()).is_ok(),
            };
            assert!(decodes, "every answer decodes");
            answers += 1;
            assert!(answers < 64, "a session comes to an end");
        }
        assert!(
            session.held_bytes() < input.len() * 128 + 65_536,
            "what is held is bounded by what was sent"
        );
    }
});
