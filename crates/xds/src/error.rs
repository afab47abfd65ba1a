//! What can go wrong, and the gRPC status that says so.

use proto::Code;
use proto::{ResourceType, Scope};

use crate::bounds::{MAX_BODY_BYTES, MAX_NAME_BYTES, MAX_UNRESOLVED_NAMES};

/// A resource that cannot be published; nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The name is empty or too long.
    #[error("resource name {name:?} has {len} bytes: use 1 to {MAX_NAME_BYTES}")]
    Name {
        /// Beginning of the name.
        name: String,
        /// Its length in bytes.
        len: usize,
    },
    /// The encoded resource is too long.
    #[error("resource {name:?} encodes to {len} bytes: keep it below {MAX_BODY_BYTES}")]
    Body {
        /// Beginning of the name.
        name: String,
        /// Length in bytes.
        len: usize,
    },
    /// The type is served in other scopes.
    #[error("resources of type {of:?} do not belong in scope {scope}")]
    Scope {
        /// Type of the resource.
        of: ResourceType,
        /// Where it was put.
        scope: Scope,
    },
}

impl WriteError {
    /// Checks that a resource keeps the bounds.
    pub(crate) fn check(name: &str, body: &[u8]) -> Result<(), Self> {
        // The beginning of a name, short enough for a message.
        let clip = || name.chars().take(80).collect();
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(Self::Name { name: clip(), len: name.len() });
        }
        if body.len() > MAX_BODY_BYTES {
            return Err(Self::Body { name: clip(), len: body.len() });
        }
        Ok(())
    }
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The first request names no node.
    #[error("first request has no node.id: set it to <role>~<ip>~<pod>.<namespace>~<domain>")]
    NoNode,
    /// A request has no type URL.
    #[error("request has no type_url")]
    NoType,
    /// A request cannot be decoded.
    #[error("request is no discovery request of this stream: {0}")]
    Decode(String),
    /// A name in a request is too long.
    #[error("field {field}: a resource name has {len} bytes, more than {MAX_NAME_BYTES}")]
    Name {
        /// Field of the request.
        field: &'static str,
        /// Length in bytes.
        len: usize,
    },
    /// The description of the node is too long.
    #[error("node has {len} bytes: send fewer metadata")]
    Node {
        /// Length in bytes.
        len: usize,
    },
    /// More names than a stream may follow or a client may hold.
    #[error("{count} resource names in one list are too many: subscribe to all instead")]
    TooManyNames {
        /// How many it would be.
        count: usize,
    },
    /// Names with more bytes than a stream may follow.
    #[error("resource names of {bytes} bytes are too long together: subscribe to all instead")]
    TooLongNames {
        /// How many it would be.
        bytes: usize,
    },
    /// More names that do not exist than a stream may follow.
    #[error("{count} resource names that do not exist are followed, more than {MAX_UNRESOLVED_NAMES}")]
    Unresolved {
        /// How many there are.
        count: usize,
    },
    /// A type that is not served.
    #[error("resources of type {type_url:?} are not served here")]
    UnknownType {
        /// Beginning of its URL.
        type_url: String,
    },
    /// Removals the client has not seen are forgotten.
    #[error("client fell behind by too many removals: connect again to compare in full")]
    FellBehind,
}

/// How much of an unknown type a message shows, in characters.
const MAX_SHOWN_TYPE: usize = 120;

impl SessionError {
    pub(crate) fn unknown_type(type_url: &str) -> Self {
        Self::UnknownType { type_url: type_url.chars().take(MAX_SHOWN_TYPE).collect() }
    }

    /// The status that ends the stream.
    pub fn code(&self) -> Code {
        match self {
            Self::NoNode | Self::NoType | Self::Decode(_) | Self::Name { .. } => Code::InvalidArgument,
            Self::Node { .. }
            | Self::TooManyNames { .. }
            | Self::TooLongNames { .. }
            | Self::Unresolved { .. } => Code::ResourceExhausted,
            Self::UnknownType { .. } => Code::Unimplemented,
            Self::FellBehind => Code::Aborted,
        }
    }
}
