//! Encoded resources by scope and type, and the sessions of ztunnels and Envoys; knows bytes, not meshes.
//!
//! ```text
//!   Writer ── put, remove ──> mesh scope:   segmented log per type ── publish ──> Arc<Snapshot>
//!                             proxy scopes: maps of shared frames                      │
//!                                                                                      │ one per stream
//!                                                                                      v
//!            client ── request ───────────────────────────────────> ZtunnelSession or EnvoySession
//!                   <── Response: header + shared frames ─────────────┘
//! ```
//!
//! A resource is encoded once, as the field of a response in which it goes out. What all ztunnels
//! share stands in a log ordered by change: what a client misses is the tail after the step it has, a
//! response is a small header followed by stretches of shared bytes, and nothing is kept per client but
//! a few numbers; on-demand clients add the names they follow. What one gateway or waypoint is served
//! stands in persistent maps by name and by change; what several of them share exists once.
//!
//! # Invariants
//!
//! - One live entry per scope, type and name; a name is present or gone, never both.
//! - A snapshot holds all scopes at one step and never changes.
//! - A commit costs what it changes, however many scopes there are. A scope without resources costs nothing.
//! - A ztunnel that holds something gets services before workloads, whatever changed last.
//! - An Envoy gets what is named before what names it, and loses it after.
//! - Compaction changes neither the order nor the step of a live entry.
//! - Equal resources have equal bytes and versions on every replica.
//!
//! # Example
//!
//! ```
//! use pilothouse_xds::{ResourceType, Scope, Writer, ZtunnelSession};
//! use prost::Message;
//! use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
//!
//! let mut writer = Writer::new();
//! writer.put(&Scope::Mesh, ResourceType::Address, "shop/web.shop.svc.cluster.local", b"\x12\x00")?;
//! let snapshot = writer.publish();
//!
//! let mut session = ZtunnelSession::new(std::time::SystemTime::UNIX_EPOCH);
//! let request = DeltaDiscoveryRequest {
//!     node: Some(Node { id: "ztunnel~10.0.0.1~z.istio-system~d".to_owned(), ..Node::default() }),
//!     type_url: ResourceType::Address.type_url().to_owned(),
//!     ..DeltaDiscoveryRequest::default()
//! };
//! session.request(request.encode_to_vec().into())?;
//!
//! let response = session.poll(&snapshot)?.expect("the first request is answered");
//! let message: Vec<u8> = response.flatten().collect();
//! assert_eq!(DeltaDiscoveryResponse::decode(message.as_slice())?.resources.len(), 1);
//! assert!(session.poll(&snapshot)?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bounds;
mod capability;
mod error;
mod log;
mod lookup;
mod mesh;
mod name;
mod session;
mod snapshot;
mod types;
mod version;
mod wire;
mod writer;

pub use bounds::{
    MAX_BODY_BYTES, MAX_BYTES_OF_NAMES, MAX_BYTES_OF_PROXY_NAMES, MAX_NAME_BYTES, MAX_NAMES, MAX_PROXY_NAMES,
    MAX_UNRESOLVED_NAMES,
};
pub use capability::{Capabilities, is_withheld};
pub use error::{SessionError, WriteError};
pub use mesh::MeshView;
pub use proto::{ResourceType, Scope};
pub use session::envoy::EnvoySession;
pub use session::ztunnel::ZtunnelSession;
pub use session::{
    AckState, Nack, Node, Question, Refusal, RefusedResource, Response, Session, SessionStats, TypeStats,
    Variant, node_of_request, question_of_request,
};
pub use snapshot::Snapshot;
pub use version::Version;
pub use wire::ResourceRef;
pub use writer::Writer;
