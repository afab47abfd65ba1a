//! Messages of Envoy's v3 API, with the fields that are written here (`proto/envoy`).
//!
//! Their types know their names, so that [`any`] can say what a message is.

#![allow(missing_docs, clippy::all)]

use prost::{Message, Name};
use prost_types::Any;

/// Returns a message as one of any type.
pub fn any<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

pub mod admin {
    pub mod v3 {
        include!("gen/envoy.admin.v3.rs");
    }
}
pub mod config {
    pub mod accesslog {
        pub mod v3 {
            include!("gen/envoy.config.accesslog.v3.rs");
        }
    }
    pub mod cluster {
        pub mod v3 {
            include!("gen/envoy.config.cluster.v3.rs");
        }
    }
    pub mod common {
        pub mod mutation_rules {
            pub mod v3 {
                include!("gen/envoy.config.common.mutation_rules.v3.rs");
            }
        }
    }
    pub mod core {
        pub mod v3 {
            include!("gen/envoy.config.core.v3.rs");
        }
    }
    pub mod endpoint {
        pub mod v3 {
            include!("gen/envoy.config.endpoint.v3.rs");
        }
    }
    pub mod listener {
        pub mod v3 {
            include!("gen/envoy.config.listener.v3.rs");
        }
    }
    pub mod rbac {
        pub mod v3 {
            include!("gen/envoy.config.rbac.v3.rs");
        }
    }
    pub mod route {
        pub mod v3 {
            include!("gen/envoy.config.route.v3.rs");
        }
    }
    pub mod trace {
        pub mod v3 {
            include!("gen/envoy.config.trace.v3.rs");
        }
    }
}
pub mod data {
    pub mod accesslog {
        pub mod v3 {
            include!("gen/envoy.data.accesslog.v3.rs");
        }
    }
}
pub mod extensions {
    pub mod common {
        pub mod dynamic_forward_proxy {
            pub mod v3 {
                include!("gen/envoy.extensions.common.dynamic_forward_proxy.v3.rs");
            }
        }
        pub mod matching {
            pub mod v3 {
                include!("gen/envoy.extensions.common.matching.v3.rs");
            }
        }
    }
    pub mod access_loggers {
        pub mod filters {
            pub mod cel {
                pub mod v3 {
                    include!("gen/envoy.extensions.access_loggers.filters.cel.v3.rs");
                }
            }
        }
        pub mod grpc {
            pub mod v3 {
                include!("gen/envoy.extensions.access_loggers.grpc.v3.rs");
            }
        }
        pub mod open_telemetry {
            pub mod v3 {
                include!("gen/envoy.extensions.access_loggers.open_telemetry.v3.rs");
            }
        }
        pub mod file {
            pub mod v3 {
                include!("gen/envoy.extensions.access_loggers.file.v3.rs");
            }
        }
        pub mod stats {
            pub mod v3 {
                include!("gen/envoy.extensions.access_loggers.stats.v3.rs");
            }
        }
    }
    pub mod clusters {
        pub mod common {
            pub mod dns {
                pub mod v3 {
                    include!("gen/envoy.extensions.clusters.common.dns.v3.rs");
                }
            }
        }
        pub mod dns {
            pub mod v3 {
                include!("gen/envoy.extensions.clusters.dns.v3.rs");
            }
        }
        pub mod dynamic_forward_proxy {
            pub mod v3 {
                include!("gen/envoy.extensions.clusters.dynamic_forward_proxy.v3.rs");
            }
        }
    }
    pub mod filters {
        pub mod common {
            pub mod fault {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.common.fault.v3.rs");
                }
            }
            pub mod matcher {
                pub mod action {
                    pub mod v3 {
                        include!("gen/envoy.extensions.filters.common.matcher.action.v3.rs");
                    }
                }
            }
            pub mod set_filter_state {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.common.set_filter_state.v3.rs");
                }
            }
        }
        pub mod http {
            pub mod composite {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.composite.v3.rs");
                }
            }
            pub mod ext_authz {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.ext_authz.v3.rs");
                }
            }
            pub mod ext_proc {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.ext_proc.v3.rs");
                }
            }
            pub mod jwt_authn {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.jwt_authn.v3.rs");
                }
            }
            pub mod cors {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.cors.v3.rs");
                }
            }
            pub mod dynamic_forward_proxy {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.dynamic_forward_proxy.v3.rs");
                }
            }
            pub mod fault {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.fault.v3.rs");
                }
            }
            pub mod grpc_stats {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.grpc_stats.v3.rs");
                }
            }
            pub mod header_mutation {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.header_mutation.v3.rs");
                }
            }
            pub mod local_ratelimit {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.local_ratelimit.v3.rs");
                }
            }
            pub mod lua {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.lua.v3.rs");
                }
            }
            pub mod header_to_metadata {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.header_to_metadata.v3.rs");
                }
            }
            pub mod rbac {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.rbac.v3.rs");
                }
            }
            pub mod router {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.router.v3.rs");
                }
            }
            pub mod set_filter_state {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.set_filter_state.v3.rs");
                }
            }
            pub mod stateful_session {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.stateful_session.v3.rs");
                }
            }
            pub mod wasm {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.http.wasm.v3.rs");
                }
            }
        }
        pub mod listener {
            pub mod http_inspector {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.listener.http_inspector.v3.rs");
                }
            }
            pub mod original_dst {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.listener.original_dst.v3.rs");
                }
            }
            pub mod proxy_protocol {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.listener.proxy_protocol.v3.rs");
                }
            }
            pub mod tls_inspector {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.listener.tls_inspector.v3.rs");
                }
            }
        }
        pub mod network {
            pub mod http_connection_manager {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.network.http_connection_manager.v3.rs");
                }
            }
            pub mod rbac {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.network.rbac.v3.rs");
                }
            }
            pub mod set_filter_state {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.network.set_filter_state.v3.rs");
                }
            }
            pub mod sni_dynamic_forward_proxy {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.rs");
                }
            }
            pub mod tcp_proxy {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.network.tcp_proxy.v3.rs");
                }
            }
            pub mod wasm {
                pub mod v3 {
                    include!("gen/envoy.extensions.filters.network.wasm.v3.rs");
                }
            }
        }
    }
    pub mod http {
        pub mod early_header_mutation {
            pub mod header_mutation {
                pub mod v3 {
                    include!("gen/envoy.extensions.http.early_header_mutation.header_mutation.v3.rs");
                }
            }
        }
        pub mod stateful_session {
            pub mod cookie {
                pub mod v3 {
                    include!("gen/envoy.extensions.http.stateful_session.cookie.v3.rs");
                }
            }
            pub mod header {
                pub mod v3 {
                    include!("gen/envoy.extensions.http.stateful_session.header.v3.rs");
                }
            }
        }
    }
    pub mod request_id {
        pub mod uuid {
            pub mod v3 {
                include!("gen/envoy.extensions.request_id.uuid.v3.rs");
            }
        }
    }
    pub mod retry {
        pub mod host {
            pub mod previous_hosts {
                pub mod v3 {
                    include!("gen/envoy.extensions.retry.host.previous_hosts.v3.rs");
                }
            }
        }
        pub mod priority {
            pub mod previous_priorities {
                pub mod v3 {
                    include!("gen/envoy.extensions.retry.priority.previous_priorities.v3.rs");
                }
            }
        }
    }
    pub mod tracers {
        pub mod opentelemetry {
            pub mod resource_detectors {
                pub mod v3 {
                    include!("gen/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.rs");
                }
            }
        }
    }
    pub mod transport_sockets {
        pub mod internal_upstream {
            pub mod v3 {
                include!("gen/envoy.extensions.transport_sockets.internal_upstream.v3.rs");
            }
        }
        pub mod quic {
            pub mod v3 {
                include!("gen/envoy.extensions.transport_sockets.quic.v3.rs");
            }
        }
        pub mod raw_buffer {
            pub mod v3 {
                include!("gen/envoy.extensions.transport_sockets.raw_buffer.v3.rs");
            }
        }
        pub mod tls {
            pub mod v3 {
                include!("gen/envoy.extensions.transport_sockets.tls.v3.rs");
            }
        }
    }
    pub mod wasm {
        pub mod v3 {
            include!("gen/envoy.extensions.wasm.v3.rs");
        }
    }
    pub mod upstreams {
        pub mod http {
            pub mod v3 {
                include!("gen/envoy.extensions.upstreams.http.v3.rs");
            }
        }
    }
}
pub mod service {
    pub mod status {
        pub mod v3 {
            include!("gen/envoy.service.status.v3.rs");
        }
    }
}
pub mod r#type {
    pub mod http {
        pub mod v3 {
            include!("gen/envoy.r#type.http.v3.rs");
        }
    }
    pub mod matcher {
        pub mod v3 {
            include!("gen/envoy.r#type.matcher.v3.rs");
        }
    }
    pub mod metadata {
        pub mod v3 {
            include!("gen/envoy.r#type.metadata.v3.rs");
        }
    }
    pub mod tracing {
        pub mod v3 {
            include!("gen/envoy.r#type.tracing.v3.rs");
        }
    }
    pub mod v3 {
        include!("gen/envoy.r#type.v3.rs");
    }
}
