//! Extensions: filters that run what authors write.

use mesh::extension::ExtensionRules;
use model::facts::{BodyMode, ExtensionCode, ExtensionPhase, Processor, WasmModule};
use model::{Name as ObjectName, Str};
use prost::{Message, Name};
use prost_types::Any;
use proto::envoy::any;
use proto::envoy::config::core::v3::{
    AsyncDataSource, DataSource, GrpcService, HttpUri, RemoteDataSource, async_data_source, data_source,
    grpc_service, http_uri,
};
use proto::envoy::extensions::filters::http::ext_proc::v3::processing_mode::{BodySendMode, HeaderSendMode};
use proto::envoy::extensions::filters::http::ext_proc::v3::{ExternalProcessor, ProcessingMode};
use proto::envoy::extensions::filters::http::lua::v3::Lua;
use proto::envoy::extensions::filters::http::wasm::v3::Wasm;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use proto::envoy::extensions::wasm::v3::{
    EnvironmentVariables, FailurePolicy, PluginConfig, VmConfig, plugin_config,
};
use std::sync::Arc;

use crate::key::ModuleKey;
use crate::message::{changes_of_others, duration, seconds};

/// How long a module may take to be fetched, in seconds.
const TIMEOUT: i64 = 30;

/// An extension that runs at a gateway.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Running {
    pub name: ObjectName,
    pub rules: Arc<ExtensionRules>,
    /// The cluster of the service that a processor is, with what it is called there; `None` where it cannot be reached.
    pub processor: Option<(String, String)>,
}

/// Returns the filters of a phase, in order.
pub(crate) fn filters(all: &[Running], phase: ExtensionPhase) -> Vec<HttpFilter> {
    all.iter().filter(|of| of.rules.phase == phase).filter_map(Running::filter).collect()
}

impl Running {
    /// Returns the filter; `None` for one that cannot run and is to be passed by.
    fn filter(&self) -> Option<HttpFilter> {
        let name = mesh::extension::extension_name(self.rules.kind, &self.name);
        match (&self.rules.code, &self.processor) {
            (Ok(ExtensionCode::Lua(script)), _) => Some(filter(&name, &lua(&guarded(&name, script)))),
            (Ok(ExtensionCode::Wasm(module)), _) => {
                Some(filter(&name, &Wasm { config: Some(self.plugin(&name, module)) }))
            }
            (Ok(ExtensionCode::Processor(of)), Some(at)) => Some(filter(&name, &self.external(of, at))),
            _ if self.rules.fails_open => None,
            _ => Some(filter(&name, &lua(&refusing(&name)))),
        }
    }

    fn external(&self, of: &Processor, (cluster, authority): &(String, String)) -> ExternalProcessor {
        let target = grpc_service::EnvoyGrpc { cluster_name: cluster.clone(), authority: authority.clone() };
        let headers =
            |are_seen: bool| if are_seen { HeaderSendMode::Send } else { HeaderSendMode::Skip }.into();
        // Of a body that is answered in other pieces the end is told by the trailers, too: Envoy refuses it otherwise.
        let trailers = |mode: BodyMode| match mode {
            BodyMode::FullDuplex => HeaderSendMode::Send.into(),
            _ => HeaderSendMode::Default.into(),
        };
        let body = |mode: BodyMode| {
            let mode = match mode {
                BodyMode::None => BodySendMode::None,
                BodyMode::Streamed => BodySendMode::Streamed,
                BodyMode::Buffered => BodySendMode::Buffered,
                BodyMode::BufferedPartial => BodySendMode::BufferedPartial,
                BodyMode::FullDuplex => BodySendMode::FullDuplexStreamed,
            };
            mode.into()
        };
        ExternalProcessor {
            grpc_service: Some(GrpcService {
                target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)),
                ..GrpcService::default()
            }),
            failure_mode_allow: self.rules.fails_open,
            processing_mode: Some(ProcessingMode {
                request_header_mode: headers(of.sees_request_headers),
                response_header_mode: headers(of.sees_response_headers),
                request_body_mode: body(of.request_body),
                response_body_mode: body(of.response_body),
                request_trailer_mode: trailers(of.request_body),
                response_trailer_mode: trailers(of.response_body),
            }),
            message_timeout: of.timeout.map(duration),
            mutation_rules: Some(changes_of_others()),
        }
    }

    fn plugin(&self, name: &Str, module: &WasmModule) -> PluginConfig {
        let key = ModuleKey::of(module);
        let remote = RemoteDataSource {
            http_uri: Some(HttpUri {
                uri: key.url(&module.path),
                timeout: Some(seconds(TIMEOUT)),
                http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(key.cluster())),
            }),
            sha256: module.sha256.to_string(),
        };
        let of_host = module.environment.iter().filter(|(_, value)| value.is_none());
        let own = module.environment.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let environment = EnvironmentVariables {
            host_env_keys: of_host.map(|(name, _)| name.to_string()).collect(),
            key_values: own.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        };
        let policy = match (self.rules.fails_open, module.is_reloaded) {
            (true, _) => FailurePolicy::FailOpen,
            (false, true) => FailurePolicy::FailReload,
            (false, false) => FailurePolicy::FailClosed,
        };
        PluginConfig {
            name: name.to_string(),
            root_id: module.plugin.to_string(),
            vm: Some(plugin_config::Vm::VmConfig(VmConfig {
                // Nobody shares what it keeps.
                vm_id: name.to_string(),
                runtime: "envoy.wasm.runtime.v8".to_owned(),
                code: Some(AsyncDataSource { specifier: Some(async_data_source::Specifier::Remote(remote)) }),
                environment_variables: (!module.environment.is_empty()).then_some(environment),
            })),
            configuration: (!module.config.is_empty()).then(|| text(&module.config)),
            failure_policy: policy.into(),
        }
    }
}

/// Returns a text as a message of any type.
fn text(of: &str) -> Any {
    Any {
        type_url: "type.googleapis.com/google.protobuf.StringValue".to_owned(),
        value: of.to_owned().encode_to_vec(),
    }
}

fn filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter { name: name.to_owned(), config_type: Some(http_filter::ConfigType::TypedConfig(any(config))) }
}

fn lua(script: &str) -> Lua {
    let source = DataSource { specifier: Some(data_source::Specifier::InlineString(script.to_owned())) };
    Lua { default_source_code: Some(source) }
}

/// Returns a script that refuses all requests.
fn refusing(name: &str) -> String {
    format!(
        "function envoy_on_request(handle)\n\
         handle:respond({{[\":status\"] = \"503\"}}, \"{name} cannot run\")\nend\n"
    )
}

/// Returns a script that loads another one. Envoy refuses a listener with a script that is none; here it is requests that
/// are refused, and the answer says why.
fn guarded(name: &str, script: &str) -> String {
    // Whatever the script says, it does not end the text.
    let mut level = String::new();
    while script.contains(&format!("]{level}]")) || script.ends_with(&format!("]{level}")) {
        level.push('=');
    }
    format!(
        "local run, why = loadstring([{level}[\n{script}]{level}], \"{name}\")\n\
         if run then\n\
         local ok, wrong = pcall(run)\n\
         if not ok then run, why = nil, wrong end\n\
         end\n\
         if not run then\n\
         function envoy_on_request(handle)\n\
         handle:logErr(why)\n\
         handle:respond({{[\":status\"] = \"503\"}}, \"{name} cannot run\")\n\
         end\n\
         end\n"
    )
}
