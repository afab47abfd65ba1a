//! Messages of Envoy and of the mesh as people read them.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, SerializeOptions, Value};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::sync::LazyLock;

/// The files of `proto/envoy`, and those of workloads and policies, compiled.
static FILES: &[u8] = include_bytes!("gen/described.bin");

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(FILES).ok());

/// A message with the names of its fields, those of the proto files, as Envoy's own dumps have them.
///
/// It serializes as the JSON mapping of protobuf says, messages within it of any type included; entries of maps come in
/// no order. Private keys are not in it, nor in messages within it of any type.
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
        let mut message = read(type_url, body)?;
        redact(&mut message);
        Ok(Self(message))
    }

    /// Returns a message of a type without the private keys in it; the same bytes if it has none.
    ///
    /// # Errors
    /// As [`Described::decode`].
    pub fn without_keys<'b>(type_url: &str, body: &'b [u8]) -> Result<Cow<'b, [u8]>, Undescribed> {
        let mut message = read(type_url, body)?;
        Ok(if redact(&mut message) { message.encode_to_vec().into() } else { body.into() })
    }

    /// Returns the same with the names of fields in lower camel case, as the JSON mapping of protobuf has them by
    /// default.
    pub fn in_camel_case(&self) -> impl Serialize + '_ {
        CamelCase(&self.0)
    }
}

/// Reads a message of a type, with all that is in it.
fn read(type_url: &str, body: &[u8]) -> Result<DynamicMessage, Undescribed> {
    let name = type_url.rsplit('/').next().unwrap_or_default();
    let of = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name));
    let of = of.ok_or_else(|| Undescribed::Type(type_url.to_owned()))?;
    let message =
        DynamicMessage::decode(of, body).map_err(|error| Undescribed::Bytes(type_url.to_owned(), error))?;
    check(&message)?;
    Ok(message)
}

/// The type and the bytes of a message of any type.
fn content(any: &DynamicMessage) -> (String, bytes::Bytes) {
    let (url, body) = (any.get_field_by_name("type_url"), any.get_field_by_name("value"));
    let url = url.as_deref().and_then(Value::as_str).unwrap_or_default().to_owned();
    (url, body.as_deref().and_then(Value::as_bytes).cloned().unwrap_or_default())
}

/// Looks for fields that are not known, in messages within it too.
fn check(message: &DynamicMessage) -> Result<(), Undescribed> {
    let of = message.descriptor();
    if message.unknown_fields().next().is_some() {
        return Err(Undescribed::Field(of.full_name().to_owned()));
    }
    if of.full_name() == "google.protobuf.Any" {
        let (url, body) = content(message);
        return read(&url, &body).map(|_| ());
    }
    message.fields().try_for_each(|(_, value)| match value {
        Value::Message(of) => check(of),
        Value::List(all) => all.iter().filter_map(Value::as_message).try_for_each(check),
        Value::Map(all) => all.values().filter_map(Value::as_message).try_for_each(check),
        _ => Ok(()),
    })
}

/// Forgets private keys, in messages within it too, as Envoy's own dumps do; tells whether there were any.
fn redact(message: &mut DynamicMessage) -> bool {
    let of = message.descriptor();
    match of.full_name() {
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate" => {
            let Some(Value::Message(key)) = message.get_field_by_name_mut("private_key") else {
                return false;
            };
            key.clear();
            key.set_field_by_name("inline_string", Value::String("[redacted]".to_owned()));
            true
        }
        "google.protobuf.Any" => {
            let (url, body) = content(message);
            // What cannot be read has been refused before.
            let Ok(mut within) = read(&url, &body) else { return false };
            let redacted = redact(&mut within);
            if redacted {
                message.set_field_by_name("value", Value::Bytes(within.encode_to_vec().into()));
            }
            redacted
        }
        _ => {
            let mut redacted = false;
            for (_, value) in message.fields_mut() {
                redacted |= match value {
                    Value::Message(of) => redact(of),
                    Value::List(all) => all
                        .iter_mut()
                        .filter_map(Value::as_message_mut)
                        .fold(false, |found, of| redact(of) | found),
                    Value::Map(all) => all
                        .values_mut()
                        .filter_map(Value::as_message_mut)
                        .fold(false, |found, of| redact(of) | found),
                    _ => false,
                };
            }
            redacted
        }
    }
}

impl Serialize for Described {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        self.0.serialize_with_options(serializer, &options)
    }
}

/// A message with the names of its fields in lower camel case.
struct CamelCase<'m>(&'m DynamicMessage);

impl Serialize for CamelCase<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_with_options(serializer, &SerializeOptions::new())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::envoy::admin::v3::ConfigDump;
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
    fn private_keys_within_messages_of_any_type_are_not_shown() {
        let inline = Specifier::InlineString("key".to_owned());
        let pair = TlsCertificate {
            private_key: Some(DataSource { specifier: Some(inline) }),
            ..TlsCertificate::default()
        };
        let secret = Secret { name: "own".to_owned(), r#type: Some(secret::Type::TlsCertificate(pair)) };
        let dump = ConfigDump { configs: vec![any(&ConfigDump { configs: vec![any(&secret)] })] };
        let (url, body) = (ConfigDump::type_url(), dump.encode_to_vec());
        let shown = serde_json::to_string(&Described::decode(&url, &body).unwrap()).unwrap();
        let bytes = Described::without_keys(&url, &body).unwrap().into_owned();
        for shown in [shown, String::from_utf8_lossy(&bytes).into_owned()] {
            assert!(shown.contains("[redacted]") && !shown.contains("\"key\""), "{shown}");
        }
        assert!(!bytes.windows(3).any(|of| of == b"key"));
        let other = TransportSocket { name: "key".to_owned(), config_type: None };
        let body = other.encode_to_vec();
        assert_eq!(Described::without_keys(&TransportSocket::type_url(), &body).unwrap(), body);
    }

    #[test]
    fn workloads_are_described_in_camel_case() {
        let workload = crate::workload::Workload {
            uid: "c//Pod/shop/a".to_owned(),
            trust_domain: "td".to_owned(),
            capacity: Some(2),
            ..Default::default()
        };
        let address =
            crate::workload::Address { r#type: Some(crate::workload::address::Type::Workload(workload)) };
        let described = Described::decode(crate::type_url::ADDRESS, &address.encode_to_vec()).unwrap();
        let expected = json!({"workload": {"uid": "c//Pod/shop/a", "trustDomain": "td", "capacity": 2}});
        assert_eq!(serde_json::to_value(described.in_camel_case()).unwrap(), expected);
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
