use super::{PolicySelector, PolicyTargetReference};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// A module that handles requests.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(given, given).size() <= 1",
        "message": "give at most one of selector, targetRef and targetRefs"
    }
]))]
pub struct WasmPluginSpec {
    /// The workloads concerned: gateways are named by `targetRefs`, so one with it has no effect.
    pub selector: Option<PolicySelector>,
    /// Like `targetRefs`, for one target.
    pub target_ref: Option<PolicyTargetReference>,
    /// The gateways and services concerned. Without it, all of the namespace; in the root namespace, all of the mesh.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<PolicyTargetReference>>,
    /// Where among the filters it is.
    pub phase: Option<PluginPhase>,
    /// Its place among those of one phase: higher ones go first.
    #[schemars(extend("nullable" = true))]
    pub priority: Option<i32>,
    /// Which traffic it is for; without it, all.
    #[schemars(rename = "match")]
    pub matches: Option<Vec<ExtensionMatch>>,
    /// Where the module is, by `http://` or `https://`.
    #[schemars(length(min = 1))]
    pub url: String,
    /// The SHA-256 of the module.
    #[schemars(regex(pattern = r"(^$|^[a-f0-9]{64}$)"))]
    pub sha256: Option<String>,
    /// Not supported.
    pub image_pull_policy: Option<PullPolicy>,
    /// Not supported.
    #[schemars(length(min = 1, max = 253))]
    pub image_pull_secret: Option<String>,
    /// Not supported.
    pub verification_key: Option<String>,
    /// What the module is configured by.
    pub plugin_config: Option<AnyObject>,
    /// Which plugin of the module runs.
    #[schemars(length(min = 1, max = 256))]
    pub plugin_name: Option<String>,
    /// What becomes of requests where it cannot run.
    pub fail_strategy: Option<ModuleFailStrategy>,
    /// What it runs in.
    pub vm_config: Option<ModuleVm>,
    /// What it handles.
    #[schemars(rename = "type")]
    pub plugin_type: Option<ModuleType>,
}

/// A module, a script or a service that handles requests.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.selector) && has(self.targetRefs))",
        "message": "give at most one of selector and targetRefs"
    },
    {
        "rule": "[has(self.wasm), has(self.lua), has(self.extProc)].filter(given, given).size() == 1",
        "message": "give one of wasm, lua and extProc"
    }
]))]
pub struct TrafficExtensionSpec {
    /// The workloads concerned: gateways are named by `targetRefs`, so one with it has no effect.
    pub selector: Option<PolicySelector>,
    /// The gateways and services concerned. Without it, all of the namespace; in the root namespace, all of the mesh.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<PolicyTargetReference>>,
    /// Where among the filters it is.
    pub phase: Option<ExtensionPhaseName>,
    /// Its place among those of one phase: higher ones go first.
    #[schemars(extend("nullable" = true))]
    pub priority: Option<i32>,
    /// Which traffic it is for; without it, all.
    #[schemars(rename = "match")]
    pub matches: Option<Vec<ExtensionMatch>>,
    /// A module of WebAssembly.
    pub wasm: Option<ModuleSpec>,
    /// A script in Lua.
    pub lua: Option<LuaSpec>,
    /// A service that requests and answers are shown to, by gRPC (Envoy's `ext_proc`). Of Pilothouse alone.
    pub ext_proc: Option<ProcessorSpec>,
}

/// A service that sees requests and answers, and changes them.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct ProcessorSpec {
    /// The hostname of the service, perhaps after its namespace and a slash.
    #[schemars(length(min = 1, max = 317))]
    pub service: String,
    /// The port of the service, one of gRPC.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// How long it may take for each message: 200ms unless said.
    pub timeout: Option<String>,
    /// Whether it sees the headers of requests.
    pub request_headers: Option<HeaderMode>,
    /// Whether it sees the headers of answers.
    pub response_headers: Option<HeaderMode>,
    /// How it sees the body of requests.
    pub request_body: Option<BodyModeName>,
    /// How it sees the body of answers.
    pub response_body: Option<BodyModeName>,
    /// What becomes of requests where it does not answer.
    pub fail_strategy: Option<ProcessorFailStrategy>,
}

/// Whether headers are shown.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HeaderMode {
    /// they are, the default
    Send,
    /// they are not
    Skip,
}

/// How a body is shown.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BodyModeName {
    /// not, the default
    None,
    /// piece by piece
    Streamed,
    /// as a whole
    Buffered,
    /// as much of it as Envoy keeps
    BufferedPartial,
    /// piece by piece, answered in pieces of its own
    FullDuplexStreamed,
}

/// What becomes of requests where a processor does not answer.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProcessorFailStrategy {
    /// they are refused, the default
    FailClose,
    /// they pass
    FailOpen,
}

/// A module of WebAssembly.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct ModuleSpec {
    /// Where the module is, by `http://` or `https://`.
    #[schemars(length(min = 1))]
    pub url: String,
    /// The SHA-256 of the module.
    #[schemars(regex(pattern = r"(^$|^[a-f0-9]{64}$)"))]
    pub sha256: Option<String>,
    /// Not supported.
    pub image_pull_policy: Option<PullPolicy>,
    /// Not supported.
    #[schemars(length(min = 1, max = 253))]
    pub image_pull_secret: Option<String>,
    /// Not supported.
    pub verification_key: Option<String>,
    /// What the module is configured by.
    pub plugin_config: Option<AnyObject>,
    /// Which plugin of the module runs.
    #[schemars(length(min = 1, max = 256))]
    pub plugin_name: Option<String>,
    /// What becomes of requests where it cannot run.
    pub fail_strategy: Option<ModuleFailStrategy>,
    /// What it runs in.
    pub vm_config: Option<ModuleVm>,
    /// What it handles.
    #[schemars(rename = "type")]
    pub plugin_type: Option<ModuleType>,
}

/// A script in Lua.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct LuaSpec {
    /// The script, which has `envoy_on_request` or `envoy_on_response`.
    #[schemars(length(min = 1, max = 65536))]
    pub inline_code: String,
}

/// Where among the filters it is.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PluginPhase {
    /// before the request goes on, the default
    UnspecifiedPhase,
    /// before tokens are looked at
    Authn,
    /// before access is decided
    Authz,
    /// after all that decides
    Stats,
}

/// Where among the filters it is.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExtensionPhaseName {
    /// before the request goes on, the default
    Unspecified,
    /// before tokens are looked at
    Authn,
    /// before access is decided
    Authz,
    /// after all that decides
    Stats,
}

/// Which traffic it is for.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct ExtensionMatch {
    /// By the side.
    pub mode: Option<ExtensionMode>,
    /// By the port of the service, or of the gateway.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["number"]))]
    pub ports: Option<Vec<ExtensionPort>>,
}

/// Which side of traffic is meant.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ExtensionMode {
    /// both
    Undefined,
    /// gateways at the edge
    Client,
    /// waypoints
    Server,
    /// both, the default
    ClientAndServer,
}

/// A port.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtensionPort {
    /// Its number.
    #[schemars(range(min = 1, max = 65535))]
    pub number: u16,
}

/// When an image is fetched.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullPolicy {
    /// not said
    #[schemars(rename = "UNSPECIFIED_POLICY")]
    Unspecified,
    /// once
    IfNotPresent,
    /// each time
    Always,
}

/// What becomes of requests where it cannot run.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ModuleFailStrategy {
    /// they are refused, the default
    FailClose,
    /// they pass
    FailOpen,
    /// they are refused, and it is started again
    FailReload,
}

/// What it handles.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ModuleType {
    /// requests, the default
    UnspecifiedPluginType,
    /// requests
    Http,
    /// not supported
    Network,
}

/// What a module runs in.
#[derive(JsonSchema, Clone, PartialEq, Debug, Default)]
pub struct ModuleVm {
    /// Its environment.
    #[schemars(
        length(max = 256),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub env: Option<Vec<ModuleVariable>>,
}

/// A variable.
#[derive(JsonSchema, Clone, PartialEq, Debug)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.valueFrom) || self.valueFrom != 'HOST' || !has(self.value)",
        "message": "a variable of the proxy has no value here"
    }
]))]
pub struct ModuleVariable {
    /// Its name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Where its value is from.
    pub value_from: Option<ModuleVariableSource>,
    /// Its value.
    #[schemars(length(max = 2048))]
    pub value: Option<String>,
}

/// Where the value of a variable is from.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "UPPERCASE")]
pub enum ModuleVariableSource {
    /// it is written here, the default
    Inline,
    /// the proxy has it
    Host,
}

/// An object of any fields.
#[derive(Clone, PartialEq, Debug)]
pub struct AnyObject;

impl JsonSchema for AnyObject {
    fn schema_name() -> Cow<'static, str> {
        "AnyObject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}
