//! What can go wrong, and the gRPC status that says so.

use crate::log::{MAX_BODY_BYTES, MAX_NAME_BYTES};

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
}

/// A gRPC status code that ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// 3: the client broke the protocol.
    InvalidArgument,
    /// 8: the client asked for more than a stream may hold.
    ResourceExhausted,
    /// 10: the client must connect again.
    Aborted,
    /// 12: there is no such type here.
    Unimplemented,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::InvalidArgument => 3,
            Self::ResourceExhausted => 8,
            Self::Aborted => 10,
            Self::Unimplemented => 12,
        }
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
    #[error("request is no DeltaDiscoveryRequest: {0}")]
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

impl SessionError {
    /// The status that ends the stream.
    pub fn code(&self) -> Code {
        match self {
            Self::NoNode | Self::NoType | Self::Decode(_) | Self::Name { .. } => Code::InvalidArgument,
            Self::Node { .. } | Self::TooManyNames { .. } | Self::TooLongNames { .. } => {
                Code::ResourceExhausted
            }
            Self::UnknownType { .. } => Code::Unimplemented,
            Self::FellBehind => Code::Aborted,
        }
    }
}
