//! `extensionProviders` of the mesh settings: which there are, by what they are for.

use super::authorizer::{AuthorizerManifest, Fault};
use super::telemetry_provider::{
    FileManifest, OtelLogManifest, OtelTracerManifest, ServerManifest, Sinks, ZipkinManifest,
};
use super::text::{Text, or_empty};
use crate::facts::{ExtensionProvider, TelemetryProvider};
use crate::shared;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct ProviderManifest<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow, alias = "envoy_ext_authz_http")]
    envoy_ext_authz_http: Option<AuthorizerManifest<'a>>,
    #[serde(borrow, alias = "envoy_ext_authz_grpc")]
    envoy_ext_authz_grpc: Option<AuthorizerManifest<'a>>,
    #[serde(borrow, alias = "envoy_file_access_log")]
    envoy_file_access_log: Option<FileManifest<'a>>,
    #[serde(borrow, alias = "envoy_http_als")]
    envoy_http_als: Option<ServerManifest<'a>>,
    #[serde(borrow, alias = "envoy_tcp_als")]
    envoy_tcp_als: Option<ServerManifest<'a>>,
    #[serde(borrow, alias = "envoy_otel_als")]
    envoy_otel_als: Option<OtelLogManifest<'a>>,
    prometheus: Option<IgnoredAny>,
    #[serde(borrow)]
    opentelemetry: Option<OtelTracerManifest<'a>>,
    #[serde(borrow)]
    zipkin: Option<ZipkinManifest<'a>>,
}

/// A provider, by what it is for.
pub(super) enum Provider {
    Authorizer(ExtensionProvider),
    Telemetry(TelemetryProvider),
}

impl ProviderManifest<'_> {
    /// Returns the provider; `None` for one of no use here.
    ///
    /// # Errors
    /// What of it cannot be understood.
    pub(super) fn lower(self) -> Result<Option<Provider>, Fault> {
        let name = shared(or_empty(&self.name));
        let sinks = Sinks {
            file: self.envoy_file_access_log,
            http: self.envoy_http_als,
            tcp: self.envoy_tcp_als,
            otel_log: self.envoy_otel_als,
            prometheus: self.prometheus,
            opentelemetry: self.opentelemetry,
            zipkin: self.zipkin,
        };
        if let Some(sink) = sinks.lower()? {
            return Ok(Some(Provider::Telemetry(TelemetryProvider { name, sink })));
        }
        let (authorizer, field, is_http) = match (self.envoy_ext_authz_http, self.envoy_ext_authz_grpc) {
            (Some(http), None) => (http, "envoyExtAuthzHttp", true),
            (None, Some(grpc)) => (grpc, "envoyExtAuthzGrpc", false),
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(Fault {
                    field: "envoyExtAuthzGrpc".to_owned(),
                    message: "a provider is asked in one way".to_owned(),
                    help: "remove envoyExtAuthzHttp or envoyExtAuthzGrpc",
                });
            }
        };
        let authorizer = authorizer.lower(is_http);
        let authorizer =
            authorizer.map_err(|fault| Fault { field: format!("{field}.{}", fault.field), ..fault })?;
        Ok(Some(Provider::Authorizer(ExtensionProvider { name, authorizer })))
    }
}
