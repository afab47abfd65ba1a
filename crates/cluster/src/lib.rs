//! One Kubernetes cluster, as a client of its API server.
//!
//! ```text
//! connect ──▶ KubeSource: list and watch every kind ──▶ batches of events
//!        ├──▶ KindsWithoutEffect: whether there are objects of kinds that have no effect in this version
//!        ├──▶ ObjectClient: objects and their statuses, in the version that is served
//!        ├──▶ StatusWriter: read a status, compare, write; from a work queue, at a bounded rate
//!        ├──▶ ObjectWriter: the same with whole objects, which are applied and deleted
//!        └──▶ Candidate: leader election over a Lease or a ConfigMap
//! ```
//!
//! Nothing here knows what a status should hold or what a leader does: controllers know.

mod connect;
mod dispatcher;
mod error;
mod leader_election;
mod list_watch;
mod lock;
mod object_client;
mod object_writer;
mod stats;
mod status_writer;
mod without_effect;
mod work_queue;

pub use connect::{Access, ConnectError, Connection, connect};
pub use error::{error_message, root_cause};
pub use leader_election::{Election, LeaderRecord, LeaseTimings};
pub use list_watch::{Batch, Batches, KubeSettings, KubeSource, SourceProblems};
pub use lock::{Candidate, Lock};
pub use object_client::{ListedObject, ObjectClient, RequestError, StatusTarget};
pub use object_writer::{Change, DesiredObject, Ended, ObjectWriter, WrittenKind, WrittenObject};
pub use stats::WriterStats;
pub use status_writer::{Action, DesiredStatus, StatusWriter};
pub use without_effect::KindsWithoutEffect;
pub use work_queue::Lane;
