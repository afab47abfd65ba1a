use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// What was found about an object.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct Status {
    /// Conditions, one a type.
    pub conditions: Option<Vec<StatusCondition>>,
    /// Findings of a validator.
    pub validation_messages: Option<Vec<ValidationMessage>>,
    /// The generation of the object that the conditions speak of.
    pub observed_generation: Option<WholeNumber>,
}

/// One condition.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct StatusCondition {
    /// The type of the condition.
    #[schemars(rename = "type")]
    pub kind: Option<String>,
    /// `True`, `False` or `Unknown`.
    pub status: Option<String>,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
    /// When the condition was last looked at.
    #[schemars(extend("format" = "date-time"))]
    pub last_probe_time: Option<String>,
    /// When the status of the condition last changed.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: Option<String>,
    /// The generation of the object that the condition speaks of.
    pub observed_generation: Option<WholeNumber>,
}

/// A finding of a validator.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct ValidationMessage {
    /// Which finding it is.
    #[schemars(rename = "type")]
    pub kind: Option<MessageType>,
    /// How much it matters.
    pub level: Option<Level>,
    /// Where to read more.
    pub documentation_url: Option<String>,
}

/// Which finding a message is.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
pub struct MessageType {
    /// The name of the finding.
    pub name: Option<String>,
    /// Its code.
    pub code: Option<String>,
}

/// How much a finding matters.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "UPPERCASE")]
pub enum Level {
    /// not known
    Unknown,
    /// something does not work
    Error,
    /// something may not work
    Warning,
    /// worth knowing
    Info,
}

/// A 64-bit number, which the JSON mapping of protobuf writes as text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WholeNumber(pub i64);

impl JsonSchema for WholeNumber {
    fn schema_name() -> Cow<'static, str> {
        "WholeNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": true,
        })
    }
}
