//! Spans: where they go, which there are, and what they say.

use mesh::telemetry::SinkAt;
use model::facts::{HttpExport, OtelTracer, Sink, SpanTag, ZipkinTracer};
use prost::{Message, Name};
use proto::envoy::any;
use proto::envoy::config::core::v3::{
    GrpcService, HeaderValue, HeaderValueOption, HttpService, HttpUri, TypedExtensionConfig, grpc_service,
    header_value_option::HeaderAppendAction, http_uri,
};
use proto::envoy::config::trace::v3::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
use proto::envoy::config::trace::v3::{OpenTelemetryConfig, ZipkinConfig, tracing};
use proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, RequestIdExtension,
};
use proto::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use proto::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::EnvironmentResourceDetectorConfig;
use proto::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use proto::envoy::r#type::v3::Percent;
use std::time::Duration;

use super::reporting::Tracer;
use crate::message::duration;

/// How long spans may take to be taken where nobody says.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a gateway makes a span of its own for what it sends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spans {
    /// One for each request, as what stands for a service has.
    OfServer,
    /// One for each request, and one for what is sent on.
    OfBoth,
}

/// Returns a connection manager that makes spans, if there is somebody who gets them.
pub(crate) fn traced(
    manager: HttpConnectionManager,
    tracer: Option<&Tracer>,
    spans: Spans,
) -> HttpConnectionManager {
    let Some(tracer) = tracer else { return manager };
    let Some(provider) = tracer.provider() else { return manager };
    let all = || Some(Percent { value: 100.0 });
    let longest = match &tracer.at.sink {
        Sink::OpenTelemetry(of) => of.max_tag_length,
        Sink::Zipkin(of) => of.max_tag_length,
        _ => None,
    };
    let config = Tracing {
        client_sampling: all(),
        random_sampling: Some(Percent { value: f64::from(tracer.of.sampling) / 1_000.0 }),
        overall_sampling: all(),
        max_path_tag_length: longest.or(tracer.of.max_path_length),
        custom_tags: tracer.tags(),
        provider: Some(provider),
        spawn_upstream_span: Some(spans == Spans::OfBoth),
        no_context_propagation: tracer.of.is_not_propagated,
        ..Tracing::default()
    };
    let by_id = (!tracer.of.samples_by_request_id).then(|| UuidRequestIdConfig {
        use_request_id_for_trace_sampling: Some(false),
        ..UuidRequestIdConfig::default()
    });
    HttpConnectionManager {
        tracing: Some(config),
        request_id_extension: by_id.map(|of| RequestIdExtension { typed_config: Some(any(&of)) }),
        ..manager
    }
}

impl Tracer {
    fn provider(&self) -> Option<tracing::Http> {
        match &self.at.sink {
            Sink::OpenTelemetry(of) => Some(http("opentelemetry", &self.opentelemetry(of))),
            Sink::Zipkin(of) => Some(http("zipkin", &self.zipkin(of))),
            _ => None,
        }
    }

    fn opentelemetry(&self, of: &OtelTracer) -> OpenTelemetryConfig {
        let detector = of.has_environment.then(|| TypedExtensionConfig {
            name: "envoy.tracers.opentelemetry.resource_detectors.environment".to_owned(),
            typed_config: Some(any(&EnvironmentResourceDetectorConfig {})),
        });
        let (grpc, http) = match &of.http {
            Some(http) => (None, Some(self.by_http(http))),
            None => (Some(grpc(&self.at, &self.cluster, of.timeout, &of.metadata)), None),
        };
        OpenTelemetryConfig {
            grpc_service: grpc,
            http_service: http,
            // As the bootstrap calls the gateway.
            service_name: format!("{}.{}", self.gateway.name, &*self.gateway.ns),
            resource_detectors: detector.into_iter().collect(),
        }
    }

    fn by_http(&self, of: &HttpExport) -> HttpService {
        let header = |(name, value): &(model::Str, model::Str)| HeaderValueOption {
            header: Some(HeaderValue { key: name.to_string(), value: value.to_string() }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        };
        HttpService {
            http_uri: Some(HttpUri {
                uri: format!("http://{}{}", authority(&self.at), of.path),
                timeout: Some(duration(of.timeout.unwrap_or(TIMEOUT))),
                http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(self.cluster.clone())),
            }),
            request_headers_to_add: of.headers.iter().map(header).collect(),
        }
    }

    fn zipkin(&self, of: &ZipkinTracer) -> ZipkinConfig {
        let context =
            if of.has_w3c { TraceContextOption::UseB3WithW3cPropagation } else { TraceContextOption::UseB3 };
        ZipkinConfig {
            collector_cluster: self.cluster.clone(),
            collector_endpoint: if of.path.is_empty() {
                "/api/v2/spans".to_owned()
            } else {
                of.path.to_string()
            },
            trace_id_128bit: !of.has_short_ids,
            // Each proxy has a span of its own.
            shared_span_context: Some(false),
            collector_endpoint_version: CollectorEndpointVersion::HttpJson.into(),
            collector_hostname: authority(&self.at),
            trace_context_option: context.into(),
        }
    }

    fn tags(&self) -> Vec<CustomTag> {
        let tag = |name: &str, of: custom_tag::Type| CustomTag { tag: name.to_owned(), r#type: Some(of) };
        let literal = |text: &str| custom_tag::Type::Literal(custom_tag::Literal { value: text.to_owned() });
        let istio = [
            ("istio.canonical_revision", "latest"),
            ("istio.canonical_service", self.gateway.name.as_str()),
            ("istio.mesh_id", self.mesh_id.as_str()),
            ("istio.namespace", &*self.gateway.ns),
        ];
        let istio =
            istio.iter().filter(|(name, _)| self.of.has_istio_tags && !self.of.tags.contains_key(*name));
        let own = self.of.tags.iter().map(|(name, of)| {
            let of = match of {
                SpanTag::Literal(text) => literal(text),
                SpanTag::Environment(name, default) => {
                    custom_tag::Type::Environment(custom_tag::Environment {
                        name: name.to_string(),
                        default_value: default.to_string(),
                    })
                }
                SpanTag::Header(name, default) => custom_tag::Type::RequestHeader(custom_tag::Header {
                    name: name.to_string(),
                    default_value: default.to_string(),
                }),
                SpanTag::Format(text) => custom_tag::Type::Value(text.to_string()),
            };
            tag(name, of)
        });
        istio.map(|(name, text)| tag(name, literal(text))).chain(own).collect()
    }
}

fn http<M: Message + Name>(name: &str, config: &M) -> tracing::Http {
    tracing::Http {
        name: format!("envoy.tracers.{name}"),
        config_type: Some(tracing::http::ConfigType::TypedConfig(any(config))),
    }
}

/// Returns how a service is asked for.
pub(super) fn authority(at: &SinkAt) -> String {
    let (service, port) = at.service.as_ref().map_or(("", 0), |(service, port)| (service.as_str(), *port));
    let hostname = service.split_once('/').map_or("", |(_, hostname)| hostname);
    format!("{hostname}:{port}")
}

/// Returns how a service is sent something by gRPC.
pub(super) fn grpc(
    at: &SinkAt,
    cluster: &str,
    timeout: Option<Duration>,
    metadata: &[(model::Str, model::Str)],
) -> GrpcService {
    let target = grpc_service::EnvoyGrpc { cluster_name: cluster.to_owned(), authority: authority(at) };
    let header = |(name, value): &(model::Str, model::Str)| HeaderValue {
        key: name.to_string(),
        value: value.to_string(),
    };
    GrpcService {
        timeout: timeout.map(duration),
        initial_metadata: metadata.iter().map(header).collect(),
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(target)),
    }
}
