//! What a session tells about itself, for debug views and metrics.

use std::sync::Arc;
use std::time::SystemTime;

use proto::ResourceType;

use crate::capability::Capabilities;

/// State of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStats {
    /// When the stream began, as the caller said.
    pub connected_at: SystemTime,
    /// Step of the newest snapshot that was sent in full; 0 before the first.
    pub step: u64,
    /// Responses handed out, of all types.
    pub responses: u64,
    /// Bytes of these responses.
    pub bytes: u64,
    /// One per type, in the order of their first request.
    pub types: Vec<TypeStats>,
}

/// State of one type of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TypeStats {
    /// Type of the resources.
    pub type_url: String,
    /// True when the client follows all resources.
    pub wildcard: bool,
    /// Names followed one by one.
    pub names: usize,
    /// Those of them that did not exist when they were looked for.
    pub unresolved: usize,
    /// Responses handed out.
    pub responses: u64,
    /// Bytes of these responses.
    pub bytes: u64,
    /// Nonce of the last response; empty before the first.
    pub sent_nonce: String,
    /// Step of the last response.
    pub sent_step: u64,
    /// Nonce of the last response that was acknowledged.
    pub acked_nonce: String,
    /// Step of that response.
    pub acked_step: u64,
    /// Acknowledgements of the last response.
    pub acks: u64,
    /// Answers to a response that was not the last any more.
    pub stale: u64,
    /// Refusals.
    pub nacks: u64,
    /// The last refusal.
    pub last_nack: Option<Nack>,
}

/// A refused response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// Nonce of the response.
    pub nonce: String,
    /// The client's reason, cut to 1 KiB.
    pub message: String,
}

/// How far a client has come with all resources of a type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AckState {
    /// It has answered for all that changed up to this step; 0 before its first answer.
    pub answered: u64,
    /// What it refused of that, oldest first.
    pub refusals: Vec<Refusal>,
    /// What it is able to read: resources that require more are not sent to it.
    pub capabilities: Capabilities,
}

/// Some of what changed after a step and up to another was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Resources of this step and before are not concerned.
    pub after: u64,
    /// Nor are those of later steps.
    pub step: u64,
    /// The client's reason, cut to 1 KiB; a ztunnel names in it what it refused.
    pub message: String,
    /// Whether that is all it said, so that whatever is not named was taken.
    pub is_whole: bool,
}

/// A resource that an Envoy has refused, and not taken in another version since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedResource {
    /// Its type.
    pub of: ResourceType,
    /// Its name; none where the client did not say what it refuses.
    pub name: Option<Arc<str>>,
    /// The step of its last change; without a name, of the response.
    pub step: u64,
    /// The client's reason, cut to 1 KiB.
    pub message: Arc<str>,
}
