use std::time::Duration;

use super::{Ignored, Meta, PolicyTargetRef, TrafficMode};
use crate::Str;

/// Facts of a `TrafficExtension` or a `WasmPlugin`.
#[derive(Clone, PartialEq, Debug)]
pub struct Extension {
    /// Metadata.
    pub meta: Meta,
    /// Whether `spec.selector` names labels: such an object is for workloads with these, none of which is a gateway.
    pub has_selector: bool,
    /// `spec.targetRefs`, then `spec.targetRef`.
    pub target_refs: Vec<PolicyTargetRef>,
    /// `spec.phase`.
    pub phase: ExtensionPhase,
    /// `spec.priority`: of one phase, higher ones go first.
    pub priority: i32,
    /// `spec.match`: one of them is enough; empty for all traffic.
    pub matches: Vec<TrafficSelector>,
    /// What runs, or why nothing can.
    pub code: Result<ExtensionCode, Ignored>,
    /// Whether requests pass where it cannot run (`failStrategy`).
    pub fails_open: bool,
}

/// Where among the filters an extension is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum ExtensionPhase {
    /// `AUTHN`: before tokens are looked at.
    Authn,
    /// `AUTHZ`: before access is decided.
    Authz,
    /// `STATS`: after all that decides.
    Stats,
    /// None: before the request goes on.
    #[default]
    Last,
}

/// An entry of `spec.match`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrafficSelector {
    /// `mode`.
    pub mode: TrafficMode,
    /// `ports[].number`; empty for all.
    pub ports: Vec<u16>,
}

impl TrafficSelector {
    /// Tells whether it is for a port on a side of traffic.
    pub fn includes(&self, side: TrafficMode, port: Option<u16>) -> bool {
        let is_port = self.ports.is_empty() || port.is_some_and(|port| self.ports.contains(&port));
        self.mode.includes(side) && is_port
    }
}

/// What an extension runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ExtensionCode {
    /// `lua.inlineCode`.
    Lua(Str),
    /// A module of WebAssembly.
    Wasm(WasmModule),
    /// A service that requests and answers are shown to.
    Processor(Processor),
}

/// A service that sees requests and answers, and changes them (`extProc`, which is of Pilothouse alone).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Processor {
    /// `service`: its hostname, perhaps after a namespace and a slash.
    pub service: Str,
    /// `port` of the service.
    pub port: u16,
    /// `timeout`: how long it may take for each message; `None` if not said.
    pub timeout: Option<Duration>,
    /// `requestHeaders` is not `SKIP`.
    pub sees_request_headers: bool,
    /// `responseHeaders` is not `SKIP`.
    pub sees_response_headers: bool,
    /// `requestBody`.
    pub request_body: BodyMode,
    /// `responseBody`.
    pub response_body: BodyMode,
}

/// How a body is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BodyMode {
    /// `NONE`: not.
    #[default]
    None,
    /// `STREAMED`: piece by piece.
    Streamed,
    /// `BUFFERED`: as a whole; requests that are larger than what Envoy keeps are refused.
    Buffered,
    /// `BUFFERED_PARTIAL`: as much of it as Envoy keeps.
    BufferedPartial,
    /// `FULL_DUPLEX_STREAMED`: piece by piece, answered in pieces of the processor's own.
    FullDuplex,
}

/// A module of WebAssembly that is fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WasmModule {
    /// Whether it is fetched by HTTPS.
    pub is_tls: bool,
    /// The host of its URL, a name in lower case or an address.
    pub host: Str,
    /// The port of its URL.
    pub port: u16,
    /// The path of its URL, with its query.
    pub path: Str,
    /// `sha256`, in 64 digits.
    pub sha256: Str,
    /// `pluginName`: which of the module's plugins; empty for the only one.
    pub plugin: Str,
    /// `pluginConfig`, as JSON; empty without one.
    pub config: Str,
    /// `vmConfig.env`: the value of each variable, or `None` for that of the proxy.
    pub environment: Vec<(Str, Option<Str>)>,
    /// `failStrategy` is `FAIL_RELOAD`: what fails is started again.
    pub is_reloaded: bool,
}
