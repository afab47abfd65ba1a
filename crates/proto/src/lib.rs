//! Wire messages: workload, authorization, citadel, the server's view of discovery, and Envoy's configuration.
//!
//! Everything here is compiled from the files in the repository's `proto/` folder and
//! committed, so that building needs no proto compiler. To change a message, edit the
//! `.proto` file and run `make proto`; a test
//! compares the two.
//!
//! Maps are ordered (`BTreeMap`) and byte fields are [`bytes::Bytes`]: equal messages
//! have equal bytes, on every replica and after every restart.
//!
//! ```
//! use pilothouse_proto::{type_url, workload};
//! use prost::Message;
//!
//! let address = workload::Address {
//!     r#type: Some(workload::address::Type::Service(workload::Service {
//!         hostname: "web.shop.svc.cluster.local".to_owned(),
//!         ..Default::default()
//!     })),
//! };
//! assert_eq!(workload::Address::decode(address.encode_to_vec().as_slice()), Ok(address));
//! assert!(type_url::ADDRESS.ends_with("istio.workload.Address"));
//! ```

/// Workloads and services: what a ztunnel is told about the mesh (`workload.proto`).
#[allow(missing_docs, clippy::all)]
pub mod workload {
    include!("gen/istio.workload.rs");
}

/// Policies a ztunnel enforces (`authorization.proto`).
#[allow(missing_docs, clippy::all)]
pub mod security {
    include!("gen/istio.security.rs");
}

/// Requests for certificates (`citadel.proto`).
#[allow(missing_docs, clippy::all)]
pub mod citadel {
    include!("gen/istio.v1.auth.rs");

    impl IstioCertificateRequest {
        /// Builds a request for a certificate that is valid for so many seconds (0: the server's default):
        /// one of the caller itself, or of another identity (a SPIFFE id) that it speaks for.
        pub fn new(csr: String, validity_duration: i64, impersonated: Option<&str>) -> Self {
            let metadata = impersonated.map(|identity| prost_types::Struct {
                fields: [("ImpersonatedIdentity".to_owned(), identity.to_owned().into())].into(),
            });
            Self { csr, validity_duration, metadata }
        }

        /// Returns the metadata `ImpersonatedIdentity`, whom the certificate is for; empty without one.
        /// Whatever is not text counts as absent.
        pub fn impersonated_identity(&self) -> &str {
            self.text("ImpersonatedIdentity")
        }

        /// Returns the metadata `CertSigner`, which external signer is to be asked; empty without one.
        /// Whatever is not text counts as absent.
        pub fn cert_signer(&self) -> &str {
            self.text("CertSigner")
        }

        fn text(&self, key: &str) -> &str {
            let value = self.metadata.as_ref().and_then(|m| m.fields.get(key));
            match value.and_then(|value| value.kind.as_ref()) {
                Some(prost_types::value::Kind::StringValue(text)) => text,
                _ => "",
            }
        }
    }
}

/// Incremental discovery as a server sees it (`discovery.proto`).
#[allow(missing_docs, clippy::all)]
pub mod discovery {
    include!("gen/envoy.service.discovery.v3.rs");
}

/// The error of an RPC, as part of a message (`status.proto`).
#[allow(missing_docs, clippy::all)]
pub mod rpc {
    include!("gen/google.rpc.rs");
}

mod code;
mod described;
pub mod envoy;
/// Messages that Envoy's v3 API has in common with others (`xds_type_matcher.proto`).
#[allow(missing_docs, clippy::all)]
pub mod xds {
    pub mod r#type {
        pub mod matcher {
            pub mod v3 {
                include!("gen/xds.r#type.matcher.v3.rs");
            }
        }
    }
}
/// Messages of OpenTelemetry that Envoy's v3 API has within others (`opentelemetry_common.proto`).
#[allow(missing_docs, clippy::all)]
pub mod opentelemetry {
    pub mod proto {
        pub mod common {
            pub mod v1 {
                include!("gen/opentelemetry.proto.common.v1.rs");
            }
        }
    }
}
mod resource;

pub use code::Code;
pub use described::{Described, Undescribed};
pub use resource::{ResourceType, Scope};

/// Type URLs of the resources that proxies ask for.
pub mod type_url {
    /// A workload or a service: [`Address`](crate::workload::Address).
    pub const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";
    /// A policy: [`Authorization`](crate::security::Authorization).
    pub const AUTHORIZATION: &str = "type.googleapis.com/istio.security.Authorization";
    /// A bare workload, for clients older than `Address`: [`Workload`](crate::workload::Workload).
    pub const WORKLOAD: &str = "type.googleapis.com/istio.workload.Workload";
    /// An upstream cluster (CDS).
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// The endpoints of a cluster (EDS).
    pub const ENDPOINT: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// A listener (LDS).
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// A route table (RDS).
    pub const ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// Routes and the scope that they are found by (SRDS).
    pub const SCOPED_ROUTE: &str = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration";
    /// Key material (SDS).
    pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    /// The debug API as a whole; its parts have this, a slash, and a name.
    pub const DEBUG: &str = "istio.io/debug";
    /// The configuration of one filter (ECDS).
    pub const EXTENSION_CONFIG: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
}

/// Names of the secrets that every Envoy has, as istiod's proxies know them.
pub mod secret_name {
    /// The certificate of the proxy itself, and its key.
    pub const CERTIFICATE: &str = "default";
    /// The roots of the mesh.
    pub const ROOTS: &str = "ROOTCA";
}

/// Paths of the RPCs, as HTTP/2 request paths.
pub mod rpc_path {
    /// Aggregated incremental discovery (bidirectional stream).
    pub const DELTA_AGGREGATED_RESOURCES: &str =
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    /// Aggregated discovery, state of the world (bidirectional stream).
    pub const STREAM_AGGREGATED_RESOURCES: &str =
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    /// A certificate request (unary).
    pub const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
}
