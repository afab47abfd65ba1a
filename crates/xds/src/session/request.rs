//! Requests of both variants, decoded under bounds.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use crate::bounds::{MAX_ERROR_BYTES, MAX_NAME_BYTES, MAX_NAMES, MAX_NODE_BYTES, MAX_OFFERED};
use crate::error::SessionError;

use super::initial::{InitialVersions, broken, take};
use super::node::Node;

/// A variant of the discovery protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Each response holds what changed; removals are named.
    Delta,
    /// Each response holds all there is, or all that is asked for; a removal is an absence.
    StateOfTheWorld,
}

/// What a field of a request holds.
#[derive(Debug, Clone, Copy)]
enum Field {
    Node,
    TypeUrl,
    Subscribe,
    Unsubscribe,
    InitialVersion,
    /// Version of the last response that was accepted: the nonce tells more.
    Version,
    Nonce,
    Error,
}

impl Variant {
    /// The fields of a request, by number from 1 on.
    fn fields(self) -> &'static [Field] {
        use Field::*;
        match self {
            Self::Delta => &[Node, TypeUrl, Subscribe, Unsubscribe, InitialVersion, Nonce, Error],
            Self::StateOfTheWorld => &[Version, Node, Subscribe, TypeUrl, Nonce, Error],
        }
    }
}

/// A decoded request.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub node: Option<Node>,
    pub type_url: String,
    /// Names to follow from now on; in state of the world all names to follow.
    pub subscribe: Vec<String>,
    pub unsubscribe: Vec<String>,
    pub initial: InitialVersions,
    pub nonce: String,
    /// The error of a refusal.
    pub error: Option<String>,
}

/// Returns who sent an encoded request; `None` when it does not say, or cannot be read.
pub fn node_of_request(variant: Variant, message: &Bytes) -> Option<Node> {
    let mut buf = message.clone();
    while buf.has_remaining() {
        let (number, wire_type) = decode_key(&mut buf).ok()?;
        let field = variant.fields().get(number as usize - 1);
        if matches!(field, Some(Field::Node)) && wire_type == WireType::LengthDelimited {
            let content = take(&mut buf).ok().filter(|content| content.len() <= MAX_NODE_BYTES)?;
            return proto::discovery::Node::decode(content).ok().map(Node::from_proto);
        }
        skip_field(wire_type, number, &mut buf, DecodeContext::default()).ok()?;
    }
    None
}

/// A question of the debug API, which is asked as if for resources of the world's state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// What is asked: [`proto::type_url::DEBUG`], or that and a slash and more.
    pub type_url: String,
    /// Of what.
    pub names: Vec<String>,
    /// Nonce of the answer that this acknowledges.
    pub nonce: String,
}

/// Returns what an encoded `DiscoveryRequest` asks of the debug API; `None` for one of resources, or that cannot be
/// read.
///
/// # Errors
/// When it breaks a bound.
pub fn question_of_request(message: &Bytes) -> Result<Option<Question>, SessionError> {
    let mut buf = message.clone();
    let mut asks = false;
    while buf.has_remaining() {
        let Ok((number, wire_type)) = decode_key(&mut buf) else { return Ok(None) };
        let field = Variant::StateOfTheWorld.fields().get(number as usize - 1);
        if matches!(field, Some(Field::TypeUrl)) && wire_type == WireType::LengthDelimited {
            let Ok(content) = take(&mut buf) else { return Ok(None) };
            let rest = content.strip_prefix(proto::type_url::DEBUG.as_bytes());
            // The last one counts, as everywhere.
            asks = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        } else if skip_field(wire_type, number, &mut buf, DecodeContext::default()).is_err() {
            return Ok(None);
        }
    }
    if !asks {
        return Ok(None);
    }
    let Request { type_url, subscribe: names, nonce, .. } =
        Request::decode(Variant::StateOfTheWorld, message.clone())?;
    Ok(Some(Question { type_url, names, nonce }))
}

impl Request {
    /// Reads a `DeltaDiscoveryRequest` or a `DiscoveryRequest`.
    pub fn decode(variant: Variant, message: Bytes) -> Result<Self, SessionError> {
        let mut request = Self { initial: InitialVersions::new(message.clone()), ..Self::default() };
        let whole = message.len();
        let mut buf = message.clone();
        while buf.has_remaining() {
            let (number, wire_type) = decode_key(&mut buf).map_err(broken)?;
            let Some(&field) = variant.fields().get(number as usize - 1) else {
                skip_field(wire_type, number, &mut buf, DecodeContext::default()).map_err(broken)?;
                continue;
            };
            if wire_type != WireType::LengthDelimited {
                return Err(SessionError::Decode(format!("field {number} is no string or message")));
            }
            let content = take(&mut buf)?;
            match field {
                Field::Node if content.len() > MAX_NODE_BYTES => {
                    return Err(SessionError::Node { len: content.len() });
                }
                Field::Node => {
                    let node = proto::discovery::Node::decode(content).map_err(broken)?;
                    request.node = Some(Node::from_proto(node));
                }
                Field::TypeUrl => request.type_url = text("type_url", content)?,
                Field::Subscribe => request.subscribe.push(text("resource_names_subscribe", content)?),
                Field::Unsubscribe => {
                    request.unsubscribe.push(text("resource_names_unsubscribe", content)?);
                }
                Field::InitialVersion => {
                    let start = whole - buf.remaining() - content.len();
                    request.initial.push(start, content)?;
                }
                Field::Version => drop(text("version_info", content)?),
                Field::Nonce => request.nonce = text("response_nonce", content)?,
                Field::Error => {
                    let status = proto::rpc::Status::decode(content).map_err(broken)?;
                    let end = status.message.floor_char_boundary(MAX_ERROR_BYTES);
                    request.error = Some(status.message[..end].to_owned());
                }
            }
            // Many empty names fit a message: the lists are bounded by count, too.
            let listed = request.subscribe.len().max(request.unsubscribe.len());
            if listed > MAX_NAMES || request.initial.len() > MAX_OFFERED {
                return Err(SessionError::TooManyNames { count: listed.max(request.initial.len()) });
            }
        }
        request.initial.index();
        Ok(request)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn full() -> proto::discovery::DeltaDiscoveryRequest {
        let value =
            prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("node-1".to_owned())) };
        let labels = prost_types::Struct { fields: [("app".to_owned(), "web".to_owned().into())].into() };
        let labels = prost_types::Value { kind: Some(prost_types::value::Kind::StructValue(labels)) };
        proto::discovery::DeltaDiscoveryRequest {
            node: Some(proto::discovery::Node {
                id: "ztunnel~10.0.0.1~z.istio-system~istio-system.svc.cluster.local".to_owned(),
                cluster: "c".to_owned(),
                metadata: Some(prost_types::Struct {
                    fields: [("NODE_NAME".to_owned(), value), ("LABELS".to_owned(), labels)].into(),
                }),
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

    fn pairs(initial: &InitialVersions) -> Vec<(&str, &[u8])> {
        let version = |name: &str| initial.find(name.as_bytes()).map(|place| initial.version(place));
        initial.names().map(|name| (name, version(name).unwrap())).collect()
    }

    #[test]
    fn every_field_reads_as_the_generated_decoder_reads_it() {
        let request = Request::decode(Variant::Delta, full().encode_to_vec().into()).unwrap();
        let node = request.node.unwrap();
        assert_eq!(
            (node.role(), node.property("NODE_NAME"), node.property("NONE")),
            ("ztunnel", "node-1", "")
        );
        assert_eq!((node.label("app"), node.label("NODE_NAME"), node.property("LABELS")), ("web", "", ""));
        assert_eq!(request.type_url, proto::type_url::ADDRESS);
        assert_eq!((request.subscribe.len(), request.unsubscribe.len()), (2, 1));
        let initial: Vec<_> = pairs(&request.initial);
        assert_eq!(initial, [("x", &b"1"[..]), ("y", b"")]);
        assert_eq!(request.initial.find(b"y"), Some(1));
        assert_eq!(request.nonce, "n");
        assert_eq!(request.error.unwrap().len(), MAX_ERROR_BYTES);
    }

    #[test]
    fn state_of_the_world_reads_as_the_generated_decoder_reads_it() {
        let whole = proto::discovery::DiscoveryRequest {
            version_info: "7".to_owned(),
            node: full().node,
            resource_names: vec!["a".to_owned(), "b".to_owned()],
            type_url: proto::type_url::CLUSTER.to_owned(),
            response_nonce: "n".to_owned(),
            error_detail: Some(proto::rpc::Status { code: 3, message: "bad".to_owned() }),
        };
        let message: Bytes = whole.encode_to_vec().into();
        let request = Request::decode(Variant::StateOfTheWorld, message.clone()).unwrap();
        assert_eq!((request.type_url, request.subscribe), (whole.type_url, whole.resource_names));
        assert_eq!((request.nonce.as_str(), request.error.as_deref()), ("n", Some("bad")));
        assert_eq!(request.node, node_of_request(Variant::StateOfTheWorld, &message));
        for end in 0..message.len() {
            let ours = Request::decode(Variant::StateOfTheWorld, message.slice(..end)).is_ok();
            assert_eq!(
                ours,
                proto::discovery::DiscoveryRequest::decode(&message[..end]).is_ok(),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn questions_of_the_debug_api_are_told_from_requests() {
        let of = |type_url: &str| {
            let request = proto::discovery::DiscoveryRequest {
                node: full().node,
                resource_names: vec!["edsz?proxyID=a".to_owned()],
                type_url: type_url.to_owned(),
                response_nonce: "n".to_owned(),
                ..Default::default()
            };
            request.encode_to_vec()
        };
        for type_url in ["istio.io/debug", "istio.io/debug/syncz", "istio.io/debug/"] {
            let question = question_of_request(&of(type_url).into()).unwrap().unwrap();
            let expected = Question {
                type_url: type_url.to_owned(),
                names: vec!["edsz?proxyID=a".to_owned()],
                nonce: "n".to_owned(),
            };
            assert_eq!(question, expected);
        }
        for type_url in ["", "istio.io/debugger", "x/istio.io/debug", proto::type_url::CLUSTER] {
            assert_eq!(question_of_request(&of(type_url).into()), Ok(None), "{type_url}");
        }
        let whole = of("istio.io/debug");
        for end in 0..whole.len() {
            // Cut after the type it is a question; cut within a field it is none.
            drop(question_of_request(&whole[..end].to_vec().into()));
        }
        let mut long = whole.clone();
        long.extend([0x1a, 0].repeat(MAX_NAMES));
        assert!(matches!(question_of_request(&long.into()), Err(SessionError::TooManyNames { .. })));
    }

    #[test]
    fn the_node_of_a_request_is_read_alone() {
        let message: Bytes = full().encode_to_vec().into();
        let node = node_of_request(Variant::Delta, &message).unwrap();
        assert_eq!(Some(node), Request::decode(Variant::Delta, message.clone()).unwrap().node);
        assert_eq!(node_of_request(Variant::Delta, &message.slice(..5)), None);
        assert_eq!(node_of_request(Variant::Delta, &Bytes::new()), None);
    }

    #[test]
    fn a_cut_request_is_an_error_or_a_shorter_request_never_a_panic() {
        let whole = full().encode_to_vec();
        for end in 0..whole.len() {
            let ours = Request::decode(Variant::Delta, whole[..end].to_vec().into()).is_ok();
            let generated = proto::discovery::DeltaDiscoveryRequest::decode(&whole[..end]).is_ok();
            assert_eq!(ours, generated, "cut at {end}");
        }
    }

    #[test]
    fn a_name_initial_twice_counts_once_with_its_last_version() {
        let one = |version: &str| proto::discovery::DeltaDiscoveryRequest {
            initial_resource_versions: [("x".to_owned(), version.to_owned())].into(),
            ..Default::default()
        };
        let twice = [one("1").encode_to_vec(), one("2").encode_to_vec()].concat();
        let request = Request::decode(Variant::Delta, twice.into()).unwrap();
        let initial: Vec<_> = pairs(&request.initial);
        assert_eq!(initial, [("x", &b"2"[..])]);
    }

    #[test]
    fn lists_and_nodes_are_bounded() {
        // Field number and an empty content: the shortest way to be long.
        for (tag, count) in [(0x1au8, MAX_NAMES), (0x22, MAX_NAMES), (0x2a, MAX_OFFERED)] {
            let mut message = [tag, 0].repeat(count);
            assert!(Request::decode(Variant::Delta, message.clone().into()).is_ok(), "{tag:x}");
            message.extend([tag, 0]);
            let error = Request::decode(Variant::Delta, message.into()).unwrap_err();
            assert_eq!(error, SessionError::TooManyNames { count: count + 1 }, "{tag:x}");
        }
        let mut request = full();
        request.node.as_mut().unwrap().cluster = "x".repeat(MAX_NODE_BYTES);
        assert!(matches!(
            Request::decode(Variant::Delta, request.encode_to_vec().into()),
            Err(SessionError::Node { .. })
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_request_or_an_error(message in proptest::collection::vec(0..0x40u8, 0..200)) {
            let _ = Request::decode(Variant::Delta, message.into());
        }
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut message = full().encode_to_vec();
        message.extend_from_slice(&[0x42, 0x01, b'x', 0x48, 0x05]);
        assert!(Request::decode(Variant::Delta, message.into()).is_ok());
    }
}
