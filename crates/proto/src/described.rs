//! Messages of Envoy as people read them.

use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, SerializeOptions, Value};
use serde::{Serialize, Serializer};
use std::sync::LazyLock;

/// The files of `proto/envoy`, compiled.
static FILES: &[u8] = include_bytes!("gen/envoy.bin");

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(FILES).ok());

/// A message of Envoy's with the names of its fields, those of the proto files, as Envoy's own dumps have them.
///
/// It serializes as the JSON mapping of protobuf says, messages within it of any type included.
///
/// ```
/// use pilothouse_proto::{Described, envoy::config::cluster::v3::Cluster, type_url};
/// use prost::Message;
///
/// let cluster = Cluster { name: "a".to_owned(), ..Cluster::default() };
/// let described = Described::decode(type_url::CLUSTER, &cluster.encode_to_vec())?;
/// assert_eq!(serde_json::to_value(described)?, serde_json::json!({"name": "a"}));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Described(DynamicMessage);

/// Why a message cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Undescribed {
    /// No message of that type is known.
    #[error("the type {0} is not one of those that are written here")]
    Type(String),
    /// The bytes are no message.
    #[error("it is no {0}: {1}")]
    Bytes(String, prost::DecodeError),
    /// It has a field that is not known.
    #[error("it has fields of {0} that are not known here")]
    Field(String),
}

impl Described {
    /// Reads a message of a type.
    ///
    /// # Errors
    /// When type, bytes or a field are not known: nothing is left out in silence.
    pub fn decode(type_url: &str, body: &[u8]) -> Result<Self, Undescribed> {
        let name = type_url.rsplit('/').next().unwrap_or_default();
        let of = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name));
        let of = of.ok_or_else(|| Undescribed::Type(type_url.to_owned()))?;
        let message = DynamicMessage::decode(of, body)
            .map_err(|error| Undescribed::Bytes(type_url.to_owned(), error))?;
        check(&message)?;
        Ok(Self(message))
    }
}

/// Looks for fields that are not known, in messages within it too.
fn check(message: &DynamicMessage) -> Result<(), Undescribed> {
    let of = message.descriptor();
    if message.unknown_fields().next().is_some() {
        return Err(Undescribed::Field(of.full_name().to_owned()));
    }
    if of.full_name() == "google.protobuf.Any" {
        let (url, body) = (message.get_field_by_name("type_url"), message.get_field_by_name("value"));
        let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
        let body = body.as_deref().and_then(Value::as_bytes).map(|body| &**body).unwrap_or_default();
        return Described::decode(url, body).map(|_| ());
    }
    message.fields().try_for_each(|(_, value)| match value {
        Value::Message(of) => check(of),
        Value::List(all) => all.iter().filter_map(Value::as_message).try_for_each(check),
        Value::Map(all) => all.values().filter_map(Value::as_message).try_for_each(check),
        _ => Ok(()),
    })
}

impl Serialize for Described {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        self.0.serialize_with_options(serializer, &options)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::envoy::any;
    use crate::envoy::config::core::v3::TransportSocket;
    use crate::envoy::config::core::v3::transport_socket::ConfigType;
    use crate::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
    use prost::{Message, Name};
    use prost_types::Any;
    use serde_json::json;

    #[test]
    fn messages_of_any_type_are_read_through() {
        let socket = TransportSocket {
            name: "raw".to_owned(),
            config_type: Some(ConfigType::TypedConfig(any(&RawBuffer {}))),
        };
        let described = Described::decode(&TransportSocket::type_url(), &socket.encode_to_vec()).unwrap();
        let url = RawBuffer::type_url();
        let expected = json!({"name": "raw", "typed_config": {"@type": url}});
        assert_eq!(serde_json::to_value(described).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let url = TransportSocket::type_url();
        assert!(matches!(Described::decode("x/Other", &[]), Err(Undescribed::Type(_))));
        assert!(matches!(Described::decode(&url, b"\xff"), Err(Undescribed::Bytes(..))));
        assert!(matches!(Described::decode(&url, &[0x78, 1]), Err(Undescribed::Field(_))));
        let raw = Any { type_url: RawBuffer::type_url(), value: vec![0x78, 1] };
        let socket =
            TransportSocket { config_type: Some(ConfigType::TypedConfig(raw)), ..TransportSocket::default() };
        let error = Described::decode(&url, &socket.encode_to_vec()).unwrap_err();
        assert!(error.to_string().contains("RawBuffer"), "{error}");
    }
}
