//! What came, response by response, and what should not have come.

use std::fmt;

/// One response as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which stream brought it, counted from 1.
    pub stream: u32,
    /// The type of its resources.
    pub type_url: String,
    /// Its nonce.
    pub nonce: String,
    /// Its `system_version_info`.
    pub system_version: String,
    /// Its encoded size in bytes.
    pub bytes: usize,
    /// Its resources, in order.
    pub resources: Vec<ReceivedResource>,
    /// The names it removed, in order.
    pub removed: Vec<String>,
    /// The resources of it that were refused.
    pub rejects: Vec<Reject>,
}

impl Received {
    /// The names of its resources, in order.
    pub fn names(&self) -> Vec<&str> {
        self.resources.iter().map(|resource| resource.name.as_str()).collect()
    }
}

/// One resource of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedResource {
    /// Its name.
    pub name: String,
    /// Its version; empty if none was sent.
    pub version: String,
    /// The size of its payload in bytes, without name and version.
    pub bytes: usize,
    /// Its aliases.
    pub aliases: Vec<String>,
}

/// A refused resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Its name; empty if not even that could be decoded.
    pub name: String,
    /// Why a ztunnel refuses it.
    pub reason: String,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

/// Something that a correct server never does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A ready ztunnel held a workload that names a policy it did not hold: it skips the
    /// policy, so traffic may pass that should not.
    AbsentPolicy {
        /// The workload's resource name.
        workload: String,
        /// The policy's resource name.
        policy: String,
        /// The response after which it was so.
        nonce: String,
    },
    /// A resource is not named after its content, so that its removal would miss it.
    NameMismatch {
        /// The name as sent.
        name: String,
        /// The name that its content asks for.
        expected: String,
    },
    /// A resource's payload is of another type than its response.
    WrongType {
        /// The resource.
        name: String,
        /// The payload's type URL.
        found: String,
    },
    /// One response holds a resource twice.
    SentTwice {
        /// The resource.
        name: String,
        /// The response.
        nonce: String,
    },
    /// One response both sends and removes a resource; removals are applied last.
    SentAndRemoved {
        /// The resource.
        name: String,
        /// The response.
        nonce: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AbsentPolicy { workload, policy, nonce } => {
                write!(f, "workload {workload} names policy {policy}, which is absent after response {nonce}")
            }
            Self::NameMismatch { name, expected } => {
                write!(f, "resource {name} should be named {expected}")
            }
            Self::WrongType { name, found } => {
                write!(f, "resource {name} carries a payload of type {found:?}")
            }
            Self::SentTwice { name, nonce } => write!(f, "response {nonce} holds {name} twice"),
            Self::SentAndRemoved { name, nonce } => write!(f, "response {nonce} sends and removes {name}"),
        }
    }
}
