//! `TrafficExtension` and `WasmPlugin`.

use super::duration::duration;
use super::enumeration::Enumeration;
use super::metadata::Metadata;
use super::number::ProtoPort;
use super::policy::{TargetRef, TargetRefs};
use super::selector::WorkloadSelector;
use super::text::{Text, or_empty};
use super::{code, read, wrong::Wrong};
use crate::facts::{
    BodyMode, Extension, ExtensionCode, ExtensionPhase, Ignored, Processor, TrafficMode, TrafficSelector,
    WasmModule,
};
use crate::{Kind, Str, shared};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(expecting = "an object", bound(deserialize = "S: Deserialize<'de>"))]
struct Manifest<'a, S> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
    spec: Option<S>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ExtensionSpec<'a> {
    #[serde(borrow)]
    selector: Option<WorkloadSelector<'a>>,
    #[serde(borrow, alias = "target_refs")]
    target_refs: Option<Vec<TargetRef<'a>>>,
    phase: Option<Enumeration>,
    priority: Option<i32>,
    r#match: Option<Vec<SelectorManifest>>,
    #[serde(borrow)]
    wasm: Option<WasmManifest<'a>>,
    #[serde(borrow)]
    lua: Option<LuaManifest<'a>>,
    #[serde(borrow)]
    ext_proc: Option<ProcessorManifest<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct PluginSpec<'a> {
    #[serde(borrow)]
    selector: Option<WorkloadSelector<'a>>,
    #[serde(borrow, alias = "target_refs")]
    target_refs: Option<Vec<TargetRef<'a>>>,
    #[serde(borrow, alias = "target_ref")]
    target_ref: Option<TargetRef<'a>>,
    phase: Option<Enumeration>,
    priority: Option<i32>,
    r#match: Option<Vec<SelectorManifest>>,
    #[serde(borrow)]
    url: Option<Text<'a>>,
    #[serde(borrow)]
    sha256: Option<Text<'a>>,
    #[serde(borrow, alias = "plugin_config")]
    plugin_config: Option<&'a RawValue>,
    #[serde(borrow, alias = "plugin_name")]
    plugin_name: Option<Text<'a>>,
    #[serde(alias = "fail_strategy")]
    fail_strategy: Option<Enumeration>,
    #[serde(borrow, alias = "vm_config")]
    vm_config: Option<VmManifest<'a>>,
    r#type: Option<Enumeration>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct SelectorManifest {
    mode: Option<Enumeration>,
    ports: Option<Vec<PortManifest>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PortManifest {
    number: Option<ProtoPort>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct LuaManifest<'a> {
    #[serde(borrow, alias = "inline_code")]
    inline_code: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct ProcessorManifest<'a> {
    #[serde(borrow)]
    service: Option<Text<'a>>,
    port: Option<ProtoPort>,
    #[serde(borrow)]
    timeout: Option<Text<'a>>,
    request_headers: Option<Enumeration>,
    response_headers: Option<Enumeration>,
    request_body: Option<Enumeration>,
    response_body: Option<Enumeration>,
    fail_strategy: Option<Enumeration>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct WasmManifest<'a> {
    #[serde(borrow)]
    url: Option<Text<'a>>,
    #[serde(borrow)]
    sha256: Option<Text<'a>>,
    #[serde(borrow, alias = "plugin_config")]
    plugin_config: Option<&'a RawValue>,
    #[serde(borrow, alias = "plugin_name")]
    plugin_name: Option<Text<'a>>,
    #[serde(alias = "fail_strategy")]
    fail_strategy: Option<Enumeration>,
    #[serde(borrow, alias = "vm_config")]
    vm_config: Option<VmManifest<'a>>,
    r#type: Option<Enumeration>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct VmManifest<'a> {
    #[serde(borrow)]
    env: Option<Vec<VariableManifest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct VariableManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(alias = "value_from")]
    value_from: Option<Enumeration>,
}

const PHASES: &[(&str, i64, ExtensionPhase)] = &[
    ("UNSPECIFIED", 0, ExtensionPhase::Last),
    ("UNSPECIFIED_PHASE", 0, ExtensionPhase::Last),
    ("AUTHN", 1, ExtensionPhase::Authn),
    ("AUTHZ", 2, ExtensionPhase::Authz),
    ("STATS", 3, ExtensionPhase::Stats),
];

const MODES: &[(&str, i64, TrafficMode)] = &[
    ("UNDEFINED", 0, TrafficMode::Both),
    ("CLIENT", 1, TrafficMode::Client),
    ("SERVER", 2, TrafficMode::Server),
    ("CLIENT_AND_SERVER", 3, TrafficMode::Both),
];

/// What becomes of requests where an extension fails: whether they pass, and whether it is started again.
const STRATEGIES: &[(&str, i64, (bool, bool))] =
    &[("FAIL_CLOSE", 0, (false, false)), ("FAIL_OPEN", 1, (true, false)), ("FAIL_RELOAD", 2, (false, true))];

const ARE_STREAMS: &[(&str, i64, bool)] =
    &[("UNSPECIFIED_PLUGIN_TYPE", 0, false), ("HTTP", 1, false), ("NETWORK", 2, true)];

const ARE_SENT: &[(&str, i64, bool)] = &[("SEND", 0, true), ("SKIP", 1, false)];

const BODIES: &[(&str, i64, BodyMode)] = &[
    ("NONE", 0, BodyMode::None),
    ("STREAMED", 1, BodyMode::Streamed),
    ("BUFFERED", 2, BodyMode::Buffered),
    ("BUFFERED_PARTIAL", 3, BodyMode::BufferedPartial),
    ("FULL_DUPLEX_STREAMED", 4, BodyMode::FullDuplex),
];

/// The longest that a processor may take for a message.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

const IS_OF_HOST: &[(&str, i64, bool)] = &[("INLINE", 0, false), ("HOST", 1, true)];

/// The longest script, in bytes, as its API has it.
const MAX_SCRIPT: usize = 65_536;

/// Returns the facts of a `TrafficExtension`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse(json: &[u8]) -> Result<Extension, Wrong> {
    let Manifest { metadata, spec } = read::manifest::<Manifest<'_, ExtensionSpec<'_>>>(json)?;
    let spec = spec.unwrap_or_default();
    let refs = TargetRefs { target_refs: spec.target_refs, target_ref: None };
    let (code, fails_open) = match (spec.wasm, spec.lua, spec.ext_proc) {
        (Some(wasm), None, None) => wasm.lower("spec.wasm")?,
        (None, Some(lua), None) => (lua.lower(), false),
        (None, None, Some(processor)) => processor.lower("spec.extProc")?,
        _ => {
            let message = "it has not exactly one of wasm, lua and extProc".to_owned();
            (Err(Ignored { field: "spec".to_owned(), message, help: "write one of them" }), false)
        }
    };
    Ok(Extension {
        meta: metadata.meta(Kind::TrafficExtension)?,
        has_selector: spec.selector.is_some_and(|of| !of.labels().is_empty()),
        target_refs: refs.lower(),
        phase: phase(spec.phase.as_ref())?,
        priority: spec.priority.unwrap_or_default(),
        matches: matches(spec.r#match)?,
        code,
        fails_open,
    })
}

/// Returns the facts of a `WasmPlugin`.
///
/// # Errors
/// As [`super::parse`].
pub(super) fn parse_plugin(json: &[u8]) -> Result<Extension, Wrong> {
    let Manifest { metadata, spec } = read::manifest::<Manifest<'_, PluginSpec<'_>>>(json)?;
    let spec = spec.unwrap_or_default();
    let refs = TargetRefs { target_refs: spec.target_refs, target_ref: spec.target_ref };
    let wasm = WasmManifest {
        url: spec.url,
        sha256: spec.sha256,
        plugin_config: spec.plugin_config,
        plugin_name: spec.plugin_name,
        fail_strategy: spec.fail_strategy,
        vm_config: spec.vm_config,
        r#type: spec.r#type,
    };
    let (code, fails_open) = wasm.lower("spec")?;
    Ok(Extension {
        meta: metadata.meta(Kind::WasmPlugin)?,
        has_selector: spec.selector.is_some_and(|of| !of.labels().is_empty()),
        target_refs: refs.lower(),
        phase: phase(spec.phase.as_ref())?,
        priority: spec.priority.unwrap_or_default(),
        matches: matches(spec.r#match)?,
        code,
        fails_open,
    })
}

fn phase(written: Option<&Enumeration>) -> Result<ExtensionPhase, Wrong> {
    let pick = |of: &Enumeration| of.pick(PHASES, code::FIELD, "spec.phase".to_owned());
    Ok(written.map(pick).transpose()?.unwrap_or_default())
}

fn matches(list: Option<Vec<SelectorManifest>>) -> Result<Vec<TrafficSelector>, Wrong> {
    let each = list.unwrap_or_default().into_iter().enumerate();
    each.map(|(i, of)| {
        let pick = |mode: &Enumeration| mode.pick(MODES, code::FIELD, format!("spec.match[{i}].mode"));
        let ports = of.ports.unwrap_or_default().into_iter();
        Ok(TrafficSelector {
            mode: of.mode.as_ref().map(pick).transpose()?.unwrap_or_default(),
            ports: ports.filter_map(|port| Some(port.number?.port())).collect(),
        })
    })
    .collect()
}

impl LuaManifest<'_> {
    fn lower(self) -> Result<ExtensionCode, Ignored> {
        let script = or_empty(&self.inline_code);
        if script.is_empty() || script.len() > MAX_SCRIPT || script.contains('\0') {
            let message = format!("a script has from 1 to {MAX_SCRIPT} bytes, none of them zero");
            let field = "spec.lua.inlineCode".to_owned();
            return Err(Ignored { field, message, help: "write a shorter one, or a module" });
        }
        // Not shared: a text of its own, and long.
        Ok(ExtensionCode::Lua(Str::from(script)))
    }
}

impl ProcessorManifest<'_> {
    /// Returns the processor, and whether requests pass where it does not answer.
    fn lower(self, at: &str) -> Result<(Code, bool), Wrong> {
        let is_sent = |of: &Option<Enumeration>, field: &str| {
            let pick = |of: &Enumeration| of.pick(ARE_SENT, code::FIELD, format!("{at}.{field}"));
            of.as_ref().map(pick).transpose().map(|sent| sent.unwrap_or(true))
        };
        let body = |of: &Option<Enumeration>, field: &str| {
            let pick = |of: &Enumeration| of.pick(BODIES, code::FIELD, format!("{at}.{field}"));
            of.as_ref().map(pick).transpose().map(Option::unwrap_or_default)
        };
        let pick = |of: &Enumeration| of.pick(STRATEGIES, code::FIELD, format!("{at}.failStrategy"));
        let (fails_open, is_reloaded) =
            self.fail_strategy.as_ref().map(pick).transpose()?.unwrap_or_default();
        let processor = Processor {
            service: shared(&or_empty(&self.service).to_ascii_lowercase()),
            port: self.port.map(|port| port.port()).unwrap_or_default(),
            timeout: self.timeout.as_ref().and_then(|text| duration(text.as_ref())),
            sees_request_headers: is_sent(&self.request_headers, "requestHeaders")?,
            sees_response_headers: is_sent(&self.response_headers, "responseHeaders")?,
            request_body: body(&self.request_body, "requestBody")?,
            response_body: body(&self.response_body, "responseBody")?,
        };
        let refused = |field: &str, message: &str, help: &'static str| {
            let message = format!("{message}: it cannot run");
            Err(Ignored { field: format!("{at}.{field}"), message, help })
        };
        let is_time = |of: Duration| of >= Duration::from_millis(1) && of <= MAX_TIMEOUT;
        let code = if processor.service.is_empty() {
            refused("service", "nobody is named", "write the hostname of a service")
        } else if processor.port == 0 {
            refused("port", "it is no port", "write the port of the service, from 1 to 65535")
        } else if self.timeout.is_some() && !processor.timeout.is_some_and(is_time) {
            refused("timeout", "it is no time from 1ms to 1h", "write one such as 200ms")
        } else if is_reloaded {
            refused("failStrategy", "a service is not started again", "write FAIL_CLOSE or FAIL_OPEN")
        } else {
            Ok(ExtensionCode::Processor(processor))
        };
        Ok((code, fails_open))
    }
}

type Code = Result<ExtensionCode, Ignored>;

impl WasmManifest<'_> {
    /// Returns the module, and whether requests pass where it cannot run.
    fn lower(self, at: &str) -> Result<(Code, bool), Wrong> {
        let pick = |of: &Enumeration| of.pick(STRATEGIES, code::FIELD, format!("{at}.failStrategy"));
        let (fails_open, is_reloaded) =
            self.fail_strategy.as_ref().map(pick).transpose()?.unwrap_or_default();
        let pick = |of: &Enumeration| of.pick(ARE_STREAMS, code::FIELD, format!("{at}.type"));
        let are_streams = self.r#type.as_ref().map(pick).transpose()?.unwrap_or(false);
        let variables = self.vm_config.and_then(|of| of.env).unwrap_or_default().into_iter();
        let variables = variables.map(|of| {
            let pick = |of: &Enumeration| of.pick(IS_OF_HOST, code::FIELD, format!("{at}.vmConfig.env"));
            let is_of_host = of.value_from.as_ref().map(pick).transpose()?.unwrap_or(false);
            let value = (!is_of_host).then(|| shared(or_empty(&of.value)));
            Ok((shared(or_empty(&of.name)), value))
        });
        let environment = variables.collect::<Result<Vec<_>, Wrong>>()?;
        let refused = |field: &str, message: String, help: &'static str| {
            Err(Ignored { field: format!("{at}.{field}"), message, help })
        };
        let code = match url(or_empty(&self.url)) {
            _ if are_streams => refused(
                "type",
                "modules for streams are not run: it cannot run".to_owned(),
                "write one for requests (HTTP)",
            ),
            Err(why) => refused(
                "url",
                format!("{why}: it cannot run"),
                "write an http:// or https:// URL of the module itself, and its sha256",
            ),
            Ok(_) if !is_digest(or_empty(&self.sha256)) => refused(
                "sha256",
                "without a digest, whoever answers there says what runs: it cannot run".to_owned(),
                "write the SHA-256 of the module, in 64 digits in lower case",
            ),
            Ok((is_tls, host, port, path)) => Ok(ExtensionCode::Wasm(WasmModule {
                is_tls,
                host,
                port,
                path,
                sha256: shared(or_empty(&self.sha256)),
                plugin: shared(or_empty(&self.plugin_name)),
                config: self.plugin_config.map(|of| Str::from(of.get())).unwrap_or_default(),
                environment: environment.into_iter().filter(|(name, _)| is_variable(name)).collect(),
                is_reloaded,
            })),
        };
        Ok((code, fails_open))
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b'=')
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Reads the URL of a module: whether it is of HTTPS, its host, port and path.
fn url(text: &str) -> Result<(bool, Str, u16, Str), String> {
    let (is_tls, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        Some(("file", _)) => return Err("files of the proxy are not read".to_owned()),
        Some(("oci", _)) | None => {
            return Err("Envoy fetches no OCI images, and there is no agent beside it that would".to_owned());
        }
        Some((scheme, _)) => return Err(format!("{scheme:?} is no scheme that modules are fetched by")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let is_text = text.len() <= 2_048 && text.bytes().all(|b| b.is_ascii_graphic());
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse::<u16>().ok().filter(|port| *port > 0))
        }
        _ => (authority, Some(if is_tls { 443 } else { 80 })),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let Some(port) = port.filter(|_| is_text && !host.is_empty() && !path.contains('#')) else {
        return Err("it is no URL".to_owned());
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(ip) if !is_elsewhere(ip) => {
            return Err(format!("{ip} is an address of whoever dials it, or of the machine's own services"));
        }
        Ok(_) => {}
        Err(_) if !is_name(&host) => return Err("its host is no name".to_owned()),
        Err(_) if is_own_name(&host) => {
            return Err(format!("{host:?} is the control plane of the cluster, or whoever dials it"));
        }
        Err(_) => {}
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok((is_tls, shared(&host), port, shared(&path)))
}

fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let ends = !label.starts_with('-') && !label.ends_with('-');
        !label.is_empty()
            && ends
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    // What ends in a number may be read as an address.
    host.len() <= 253
        && host.split('.').all(is_label)
        && host.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()))
        && !host.rsplit('.').next().is_some_and(|last| last.starts_with("0x"))
}

fn is_own_name(host: &str) -> bool {
    let kubernetes = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    host == "localhost"
        || host.ends_with(".localhost")
        || kubernetes.contains(&host)
        || host.starts_with("kubernetes.default.svc.")
}

/// Tells whether an address is one of somebody else.
fn is_elsewhere(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_elsewhere(ip.into()),
            None => {
                !(ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_module_is_fetched_from_somebody_else() {
        let read =
            |text: &str| url(text).map(|(tls, host, port, path)| format!("{tls} {host} {port} {path}"));
        for (text, expected) in [
            ("https://Example.org/a.wasm?x=1", "true example.org 443 /a.wasm?x=1"),
            ("http://modules.shop.svc:8080", "false modules.shop.svc 8080 /"),
            ("http://192.0.2.1/a", "false 192.0.2.1 80 /a"),
            ("https://[2001:db8::1]:8443/a", "true 2001:db8::1 8443 /a"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "oci://example.org/a:1",
            "example.org/a:1",
            "file:///etc/passwd",
            "ftp://example.org/a",
            "http://127.0.0.1/a",
            "http://127.1/a",
            "http://0x7f000001/a",
            "http://2130706433/a",
            "http://169.254.169.254/latest",
            "http://[::1]/a",
            "http://[::ffff:127.0.0.1]/a",
            "http://[fe80::1]/a",
            "http://0.0.0.0/a",
            "http://localhost/a",
            "http://localhost./a",
            "https://kubernetes.default.svc/api",
            "https://kubernetes.default.svc.cluster.local/api",
            "http://user@example.org/a",
            "http://example.org:0/a",
            "http://example.org:x/a",
            "http:///a",
            "http://a b/",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_run_says_why() {
        let digest = "0".repeat(64);
        for (wasm, field) in [
            (serde_json::json!({"url": "oci://a/b"}), "spec.url"),
            (serde_json::json!({"url": "https://a.test/b"}), "spec.sha256"),
            (
                serde_json::json!({"url": "https://a.test/b", "sha256": digest, "type": "NETWORK"}),
                "spec.type",
            ),
        ] {
            let object = serde_json::json!({"metadata": {"namespace": "a", "name": "b"}, "spec": wasm});
            let of = parse_plugin(object.to_string().as_bytes()).unwrap();
            assert_eq!(of.code.unwrap_err().field, field);
            assert!(!of.fails_open);
        }
    }
}
