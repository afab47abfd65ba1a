//! Messages of Envoy as people read them.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, SerializeOptions, Value};
use serde::{Serialize, Serializer};
use std::sync::LazyLock;

/// The files of `proto/envoy`, compiled.
static FILES: &[u8] = include_bytes!("gen/envoy.bin");

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(FILES).ok());

/// A message of Envoy's with the names of its fields, those of the proto files, as Envoy's own dumps have them.
///
/// It serializes as the JSON mapping of protobuf says, messages within it of any type included; entries of maps come in
/// no order. Private keys are not in
/// it.
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
        let mut message = DynamicMessage::decode(of, body)
            .map_err(|error| Undescribed::Bytes(type_url.to_owned(), error))?;
        check(&message)?;
        redact(&mut message);
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

/// Forgets private keys, in messages within it too, as Envoy's own dumps do.
fn redact(message: &mut DynamicMessage) {
    let of = message.descriptor();
    if of.full_name() == "envoy.extensions.transport_sockets.tls.v3.TlsCertificate" {
        if let Some(Value::Message(key)) = message.get_field_by_name_mut("private_key") {
            key.clear();
            key.set_field_by_name("inline_string", Value::String("[redacted]".to_owned()));
        }
        return;
    }
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(of) => redact(of),
            Value::List(all) => all.iter_mut().filter_map(Value::as_message_mut).for_each(redact),
            Value::Map(all) => all.values_mut().filter_map(Value::as_message_mut).for_each(redact),
            _ => {}
        }
    }
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
    use crate::envoy::config::core::v3::data_source::Specifier;
    use crate::envoy::config::core::v3::transport_socket::ConfigType;
    use crate::envoy::config::core::v3::{DataSource, TransportSocket};
    use crate::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
    use crate::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, secret};
    use prost::Name;
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
    fn private_keys_are_not_shown() {
        let inline =
            |text: &str| Some(DataSource { specifier: Some(Specifier::InlineString(text.to_owned())) });
        let pair = TlsCertificate { certificate_chain: inline("chain"), private_key: inline("key") };
        let secret = Secret { name: "own".to_owned(), r#type: Some(secret::Type::TlsCertificate(pair)) };
        let described = Described::decode(&Secret::type_url(), &secret.encode_to_vec()).unwrap();
        let expected = json!({"name": "own", "tls_certificate": {
            "certificate_chain": {"inline_string": "chain"},
            "private_key": {"inline_string": "[redacted]"},
        }});
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
