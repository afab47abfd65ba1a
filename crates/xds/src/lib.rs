//! Versioned logs of encoded resources and a sans-I/O delta session; knows bytes, not meshes.
//!
//! ```text
//!   Writer ── upsert, remove ──> Log per type ── publish ──> Arc<Snapshot>
//!                                 present: name, version, bytes     │
//!                                 gone:    name                     │ one per stream
//!                                                                   v
//!            client ── request ─────────────────────────────────> Session
//!                   <── Response: header + shared frames ──────────┘
//! ```
//!
//! A resource is encoded once, as the field of a response in which it goes out, and stands in a
//! log ordered by change. What a client misses is the tail of the log after the step it has: a
//! response is a small header followed by stretches of shared bytes. Nothing is kept per client
//! but a few numbers; on-demand clients add the names they follow.
//!
//! # Invariants
//!
//! - One live entry per name; a name is present or gone, never both.
//! - A snapshot holds all types at one step and never changes.
//! - A client that holds something gets services before workloads, whatever changed last.
//! - Compaction changes neither the order nor the step of a live entry.
//! - Equal resources have equal bytes and versions on every replica.
//!
//! # Example
//!
//! ```
//! use pilothouse_xds::{ResourceType, Session, Writer};
//! use prost::Message;
//! use proto::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node};
//!
//! let mut writer = Writer::new();
//! writer.upsert(ResourceType::Address, "shop/web.shop.svc.cluster.local", b"\x12\x00")?;
//! let snapshot = writer.publish();
//!
//! let mut session = Session::new(std::time::SystemTime::UNIX_EPOCH);
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

mod chain;
mod error;
mod log;
mod lookup;
mod request;
mod response;
mod segment;
mod session;
mod snapshot;
mod stats;
mod subscription;
mod version;
mod view;
mod wire;

pub use error::{Code, SessionError, WriteError};
pub use log::{MAX_BODY_BYTES, MAX_NAME_BYTES, Needs, is_withheld};
pub use request::Node;
pub use response::Response;
pub use session::{MAX_BYTES_OF_NAMES, MAX_NAMES, Session};
pub use snapshot::{ResourceType, Snapshot, Writer};
pub use stats::{Nack, Refusal, SessionStats, Standing, TypeStats};
pub use version::Version;
pub use wire::ResourceRef;
