use model::Str;
use prost::Message;
use std::sync::Arc;

/// An encoded resource, as a row keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// The message that the resource's `Any` carries: one allocation of its own, since every
    /// workload of the mesh has one.
    pub body: Arc<[u8]>,
    /// Not sent. When it changes, the resource is sent again even with equal bytes, because a
    /// client may have dropped part of it under rules that have changed since.
    pub salt: u64,
    /// The node that a workload is on, whose ztunnel needs it first; empty for all else. Part of the
    /// body, too.
    pub node: Str,
}

impl Encoded {
    /// A resource of these bytes.
    pub fn new(body: Arc<[u8]>) -> Self {
        Self { body, salt: 0, node: Str::new() }
    }

    /// Encodes a message.
    pub fn message(message: &impl Message) -> Self {
        Self::new(message.encode_to_vec().into())
    }
}
