//! Requests, read without copying the names they list.
//!
//! A ztunnel that reconnects lists every resource it holds: 150,000 names in one message. The
//! generated decoder would build a tree of that many pairs of strings; this one notes where
//! they are.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use bytes::{Buf, Bytes};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::error::SessionError;
use crate::log::MAX_NAME_BYTES;
use crate::session::MAX_NAMES;

/// Most names a client may say it holds.
const MAX_OFFERED: usize = 1_000_000;
/// Longest description of a node, in bytes.
const MAX_NODE_BYTES: usize = 256 * 1024;
/// Longest error of a refusal that is kept, in bytes.
pub(crate) const MAX_ERROR_BYTES: usize = 1024;

/// Who a client is, from the first request of its stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// `<role>~<ip>~<pod>.<namespace>~<domain>`.
    pub id: String,
    /// Group of the proxy.
    pub cluster: String,
    /// Properties that are strings, such as `NAMESPACE`, `NODE_NAME` and `CLUSTER_ID`.
    pub metadata: BTreeMap<String, String>,
}

impl Node {
    /// The first part of the id: `ztunnel`, `waypoint`, `sidecar`, `router`.
    pub fn role(&self) -> &str {
        self.id.split('~').next().unwrap_or_default()
    }

    /// A property; empty when there is none.
    pub fn property(&self, key: &str) -> &str {
        self.metadata.get(key).map_or("", String::as_str)
    }

    fn from_proto(node: proto::discovery::Node) -> Self {
        let fields = node.metadata.unwrap_or_default().fields;
        let metadata = fields.into_iter().filter_map(|(key, value)| match value.kind {
            Some(prost_types::value::Kind::StringValue(text)) => Some((key, text)),
            _ => None,
        });
        Self { id: node.id, cluster: node.cluster, metadata: metadata.collect() }
    }
}

/// A decoded request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub node: Option<Node>,
    pub type_url: String,
    pub subscribe: Vec<String>,
    pub unsubscribe: Vec<String>,
    pub offered: Offered,
    pub nonce: String,
    /// The error of a refusal.
    pub error: Option<String>,
}

impl Request {
    /// Reads a `DeltaDiscoveryRequest`.
    pub fn decode(message: Bytes) -> Result<Self, SessionError> {
        let mut request = Self { offered: Offered::new(message.clone()), ..Self::default() };
        let whole = message.len();
        let mut buf = message.clone();
        while buf.has_remaining() {
            let (field, wire_type) = decode_key(&mut buf).map_err(broken)?;
            if !(1..=7).contains(&field) {
                skip_field(wire_type, field, &mut buf, DecodeContext::default()).map_err(broken)?;
                continue;
            }
            if wire_type != WireType::LengthDelimited {
                return Err(SessionError::Decode(format!("field {field} is no string or message")));
            }
            let content = take(&mut buf)?;
            match field {
                1 if content.len() > MAX_NODE_BYTES => {
                    return Err(SessionError::Node { len: content.len() });
                }
                1 => {
                    let node = proto::discovery::Node::decode(content).map_err(broken)?;
                    request.node = Some(Node::from_proto(node));
                }
                2 => request.type_url = text("type_url", content)?,
                3 => request.subscribe.push(text("resource_names_subscribe", content)?),
                4 => request.unsubscribe.push(text("resource_names_unsubscribe", content)?),
                5 => {
                    let start = whole - buf.remaining() - content.len();
                    request.offered.push(start, content)?;
                }
                6 => request.nonce = text("response_nonce", content)?,
                _ => {
                    let status = proto::rpc::Status::decode(content).map_err(broken)?;
                    let end = status.message.floor_char_boundary(MAX_ERROR_BYTES);
                    request.error = Some(status.message[..end].to_owned());
                }
            }
            // Many empty names fit a message: the lists are bounded by count, too.
            let listed = request.subscribe.len().max(request.unsubscribe.len());
            if listed > MAX_NAMES || request.offered.len() > MAX_OFFERED {
                return Err(SessionError::TooManyNames { count: listed.max(request.offered.len()) });
            }
        }
        request.offered.index();
        Ok(request)
    }
}

fn broken(error: prost::DecodeError) -> SessionError {
    SessionError::Decode(error.to_string())
}

/// Splits the content of a length-delimited field off the front.
fn take(buf: &mut Bytes) -> Result<Bytes, SessionError> {
    let len = decode_varint(buf).map_err(broken)?;
    match usize::try_from(len) {
        Ok(len) if len <= buf.remaining() => Ok(buf.split_to(len)),
        _ => Err(SessionError::Decode("a field is longer than the message".to_owned())),
    }
}

fn text(field: &'static str, content: Bytes) -> Result<String, SessionError> {
    if content.len() > MAX_NAME_BYTES {
        return Err(SessionError::Name { field, len: content.len() });
    }
    let text = std::str::from_utf8(&content)
        .map_err(|_| SessionError::Decode(format!("{field} is not valid UTF-8")))?;
    Ok(text.to_owned())
}

/// Where a name and its version stand in the message.
#[derive(Debug, Clone, Copy)]
struct Pair {
    name: (u32, u32),
    version: (u32, u32),
}

/// The resources a client holds from an earlier stream: name to version.
#[derive(Debug, Default)]
pub(crate) struct Offered {
    message: Bytes,
    pairs: Vec<Pair>,
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Offered {
    fn new(message: Bytes) -> Self {
        Self { message, ..Self::default() }
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True when the client holds nothing.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Notes a map entry whose content starts at an offset of the message.
    fn push(&mut self, start: usize, mut entry: Bytes) -> Result<(), SessionError> {
        let whole = entry.len();
        let mut pair = Pair { name: (0, 0), version: (0, 0) };
        while entry.has_remaining() {
            let (field, wire_type) = decode_key(&mut entry).map_err(broken)?;
            if wire_type != WireType::LengthDelimited {
                return Err(SessionError::Decode("initial_resource_versions holds no strings".to_owned()));
            }
            let content = take(&mut entry)?;
            if content.len() > MAX_NAME_BYTES {
                let field = "initial_resource_versions";
                return Err(SessionError::Name { field, len: content.len() });
            }
            let at = start + whole - entry.remaining() - content.len();
            // A message is bounded far below 4 GiB.
            let span = (at as u32, (at + content.len()) as u32);
            if std::str::from_utf8(&content).is_err() {
                let message = "initial_resource_versions is not valid UTF-8";
                return Err(SessionError::Decode(message.to_owned()));
            }
            match field {
                1 => pair.name = span,
                2 => pair.version = span,
                _ => {}
            }
        }
        self.pairs.push(pair);
        Ok(())
    }

    fn slice(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.message[start as usize..end as usize]
    }

    /// Makes names findable; of a name given twice the last counts.
    fn index(&mut self) {
        if self.pairs.is_empty() {
            // Nothing refers to the message: let it go.
            self.message = Bytes::new();
            return;
        }
        let mut index = HashTable::with_capacity(self.pairs.len());
        for (at, pair) in self.pairs.iter().enumerate() {
            let name = self.slice(pair.name);
            let hash = self.hasher.hash_one(name);
            let same = |&other: &u32| self.slice(self.pairs[other as usize].name) == name;
            let rehash = |&other: &u32| self.hasher.hash_one(self.slice(self.pairs[other as usize].name));
            match index.entry(hash, same, rehash) {
                hashbrown::hash_table::Entry::Occupied(mut held) => *held.get_mut() = at as u32,
                hashbrown::hash_table::Entry::Vacant(free) => {
                    free.insert(at as u32);
                }
            }
        }
        self.index = index;
    }

    /// Place of a name among the offered ones.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let same = |&at: &u32| self.slice(self.pairs[at as usize].name) == name;
        self.index.find(hash, same).map(|&at| at as usize)
    }

    /// Version offered at a place.
    pub fn version(&self, at: usize) -> &[u8] {
        self.slice(self.pairs[at].version)
    }

    /// Names, each once, in the order they were offered.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names_where(|_| true)
    }

    /// Names whose place is not marked, each once, in the order they were offered.
    pub fn names_not_in(&self, marked: &[bool]) -> impl Iterator<Item = &str> {
        self.names_where(|place| !marked.get(place).copied().unwrap_or_default())
    }

    fn names_where(&self, wanted: impl Fn(usize) -> bool) -> impl Iterator<Item = &str> {
        // The look at duplicates comes last: it costs a search.
        (0..self.pairs.len()).filter(move |&place| wanted(place)).filter_map(|place| {
            let name = self.slice(self.pairs[place].name);
            let counts = self.find(name) == Some(place);
            // Checked on entry: the fallback is never taken.
            counts.then(|| std::str::from_utf8(name).unwrap_or_default())
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn full() -> proto::discovery::DeltaDiscoveryRequest {
        let value =
            prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("node-1".to_owned())) };
        proto::discovery::DeltaDiscoveryRequest {
            node: Some(proto::discovery::Node {
                id: "ztunnel~10.0.0.1~z.istio-system~istio-system.svc.cluster.local".to_owned(),
                cluster: "c".to_owned(),
                metadata: Some(prost_types::Struct { fields: [("NODE_NAME".to_owned(), value)].into() }),
            }),
            type_url: proto::type_url::ADDRESS.to_owned(),
            resource_names_subscribe: vec!["a".to_owned(), "b".to_owned()],
            resource_names_unsubscribe: vec!["c".to_owned()],
            initial_resource_versions: [("x".to_owned(), "1".to_owned()), ("y".to_owned(), String::new())]
                .into(),
            response_nonce: "n".to_owned(),
            error_detail: Some(proto::rpc::Status { code: 0, message: "é".repeat(1024) }),
        }
    }

    fn pairs(offered: &Offered) -> Vec<(&str, &[u8])> {
        let version = |name: &str| offered.find(name.as_bytes()).map(|place| offered.version(place));
        offered.names().map(|name| (name, version(name).unwrap())).collect()
    }

    #[test]
    fn every_field_reads_as_the_generated_decoder_reads_it() {
        let request = Request::decode(full().encode_to_vec().into()).unwrap();
        let node = request.node.unwrap();
        assert_eq!(
            (node.role(), node.property("NODE_NAME"), node.property("NONE")),
            ("ztunnel", "node-1", "")
        );
        assert_eq!(request.type_url, proto::type_url::ADDRESS);
        assert_eq!((request.subscribe.len(), request.unsubscribe.len()), (2, 1));
        let offered: Vec<_> = pairs(&request.offered);
        assert_eq!(offered, [("x", &b"1"[..]), ("y", b"")]);
        assert_eq!(request.offered.find(b"y"), Some(1));
        assert_eq!(request.nonce, "n");
        assert_eq!(request.error.unwrap().len(), MAX_ERROR_BYTES);
    }

    #[test]
    fn a_cut_request_is_an_error_or_a_shorter_request_never_a_panic() {
        let whole = full().encode_to_vec();
        for end in 0..whole.len() {
            let ours = Request::decode(whole[..end].to_vec().into()).is_ok();
            let generated = proto::discovery::DeltaDiscoveryRequest::decode(&whole[..end]).is_ok();
            assert_eq!(ours, generated, "cut at {end}");
        }
    }

    #[test]
    fn a_name_offered_twice_counts_once_with_its_last_version() {
        let one = |version: &str| proto::discovery::DeltaDiscoveryRequest {
            initial_resource_versions: [("x".to_owned(), version.to_owned())].into(),
            ..Default::default()
        };
        let twice = [one("1").encode_to_vec(), one("2").encode_to_vec()].concat();
        let request = Request::decode(twice.into()).unwrap();
        let offered: Vec<_> = pairs(&request.offered);
        assert_eq!(offered, [("x", &b"2"[..])]);
    }

    #[test]
    fn lists_and_nodes_are_bounded() {
        // Field number and an empty content: the shortest way to be long.
        for (tag, count) in [(0x1au8, MAX_NAMES), (0x22, MAX_NAMES), (0x2a, MAX_OFFERED)] {
            let mut message = [tag, 0].repeat(count);
            assert!(Request::decode(message.clone().into()).is_ok(), "{tag:x}");
            message.extend([tag, 0]);
            let error = Request::decode(message.into()).unwrap_err();
            assert_eq!(error, SessionError::TooManyNames { count: count + 1 }, "{tag:x}");
        }
        let mut request = full();
        request.node.as_mut().unwrap().cluster = "x".repeat(MAX_NODE_BYTES);
        assert!(matches!(Request::decode(request.encode_to_vec().into()), Err(SessionError::Node { .. })));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(message in proptest::collection::vec(0..0x40u8, 0..200)) {
            let _ = Request::decode(message.into());
        }
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut message = full().encode_to_vec();
        message.extend_from_slice(&[0x42, 0x01, b'x', 0x48, 0x05]);
        assert!(Request::decode(message.into()).is_ok());
    }
}
