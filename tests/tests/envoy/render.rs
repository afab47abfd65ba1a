//! Resources of Envoys as YAML, by the files of `proto/envoy`.

use anyhow::{Context, anyhow};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};
use serde_yaml::{Mapping, Value as Yaml};
use std::path::Path;

/// Renders messages.
pub struct Renderer(DescriptorPool);

impl Renderer {
    /// Reads what messages there are.
    pub fn new() -> anyhow::Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder.join("envoy"))? {
            names.push(format!("envoy/{}", entry?.file_name().to_string_lossy()));
        }
        let files = protox::compile(names, [folder])?;
        Ok(Self(DescriptorPool::from_file_descriptor_set(files)?))
    }

    /// Renders a message of a type; nothing of it is lost.
    pub fn render(&self, type_url: &str, body: &[u8]) -> anyhow::Result<Yaml> {
        let message = self.decode(type_url, body)?;
        anyhow::ensure!(
            prost::Message::encoded_len(&message) == body.len(),
            "{type_url}: bytes that decoding loses"
        );
        anyhow::ensure!(message.unknown_fields().next().is_none(), "{type_url}: unknown fields");
        self.message(&message)
    }

    fn decode(&self, type_url: &str, body: &[u8]) -> anyhow::Result<DynamicMessage> {
        let name = type_url.rsplit('/').next().unwrap_or_default();
        let of = self.0.get_message_by_name(name).with_context(|| format!("no message {name}"))?;
        Ok(DynamicMessage::decode(of, body)?)
    }

    fn message(&self, message: &DynamicMessage) -> anyhow::Result<Yaml> {
        let field = |name: &str| message.get_field_by_name(name);
        let number = |name: &str| field(name).and_then(|of| of.as_i64().or(of.as_i32().map(i64::from)));
        match message.descriptor().full_name() {
            "google.protobuf.Any" => {
                let of = (field("type_url"), field("value"));
                let (Some(Value::String(url)), Some(Value::Bytes(body))) = (of.0.as_deref(), of.1.as_deref())
                else {
                    return Err(anyhow!("an Any without fields"));
                };
                let mut all = Mapping::from_iter([(Yaml::from("@type"), Yaml::from(url.as_str()))]);
                if let Yaml::Mapping(fields) = self.render(url, body)? {
                    all.extend(fields);
                }
                Ok(all.into())
            }
            "google.protobuf.Duration" => {
                let (seconds, nanos) = (number("seconds").unwrap_or(0), number("nanos").unwrap_or(0));
                let fraction = if nanos == 0 { String::new() } else { format!(".{nanos:09}") };
                Ok(Yaml::from(format!("{seconds}{fraction}s")))
            }
            "google.protobuf.Struct" => self.only(message, "fields"),
            "google.protobuf.ListValue" => self.only(message, "values"),
            "google.protobuf.Value" => match message.fields().next() {
                Some((of, value)) => self.value(&of, value),
                None => Ok(Yaml::Null),
            },
            name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                self.only(message, "value")
            }
            _ => {
                let fields =
                    message.fields().map(|(of, value)| Ok((Yaml::from(of.name()), self.value(&of, value)?)));
                fields.collect::<anyhow::Result<Mapping>>().map(Yaml::from)
            }
        }
    }

    /// Renders a message as its only field.
    fn only(&self, message: &DynamicMessage, name: &str) -> anyhow::Result<Yaml> {
        let of = message.descriptor().get_field_by_name(name).context("a field of that name")?;
        self.value(&of, &message.get_field(&of))
    }

    fn value(&self, of: &FieldDescriptor, value: &Value) -> anyhow::Result<Yaml> {
        Ok(match value {
            Value::Bool(of) => Yaml::from(*of),
            Value::I32(of) => Yaml::from(*of),
            Value::I64(of) => Yaml::from(*of),
            Value::U32(of) => Yaml::from(*of),
            Value::U64(of) => Yaml::from(*of),
            Value::F32(of) => Yaml::from(*of),
            Value::F64(of) => Yaml::from(*of),
            Value::String(of) => Yaml::from(of.as_str()),
            Value::Bytes(of) => Yaml::from(String::from_utf8_lossy(of).into_owned()),
            Value::EnumNumber(number) => match of.kind() {
                Kind::Enum(of) => match of.get_value(*number) {
                    Some(value) => Yaml::from(value.name()),
                    None => Yaml::from(*number),
                },
                _ => Yaml::from(*number),
            },
            Value::Message(message) => self.message(message)?,
            Value::List(list) => {
                let list = list.iter().map(|value| self.value(of, value));
                Yaml::from(list.collect::<anyhow::Result<Vec<_>>>()?)
            }
            Value::Map(map) => {
                let Kind::Message(entry) = of.kind() else { return Err(anyhow!("a map without entries")) };
                let mut all: Vec<(String, Yaml)> = Vec::new();
                for (key, value) in map {
                    let MapKey::String(key) = key else { return Err(anyhow!("a key that is no text")) };
                    all.push((key.clone(), self.value(&entry.map_entry_value_field(), value)?));
                }
                all.sort_by(|a, b| a.0.cmp(&b.0));
                Yaml::from(all.into_iter().map(|(key, value)| (Yaml::from(key), value)).collect::<Mapping>())
            }
        })
    }
}
