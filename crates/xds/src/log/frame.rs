//! Frames of proxies' resources, each once however many scopes hold it.

use std::fmt;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use proto::ResourceType;

use crate::types::rules;
use crate::version::Version;
use crate::wire::{self, ResourceRef};

/// A resource as it goes out, shared by all that hold or send it.
#[derive(Clone)]
pub(crate) struct Frame(Arc<Encoded>);

/// Never its content: that may be a private key.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}, {} bytes", self.0.of, self.name(), self.len())
    }
}

struct Encoded {
    of: ResourceType,
    /// A field of a delta response.
    bytes: Bytes,
    name: Range<usize>,
    /// Where the same resource begins as a field of a response in state of the world.
    plain: usize,
}

impl Frame {
    /// Encodes a resource; its version is that of its content.
    pub fn new(of: ResourceType, name: &str, body: &[u8]) -> Self {
        let version = if rules(of).is_versioned { Version::of(body).to_string() } else { String::new() };
        Self::with_version(of, name, &version, body)
    }

    /// Encodes a resource with a version that says something else than its content.
    pub fn with_version(of: ResourceType, name: &str, version: &str, body: &[u8]) -> Self {
        let mut bytes = Vec::new();
        wire::put_resource_frame(&mut bytes, ResourceRef { name, version, body }, of.type_url());
        let (name, plain) = wire::frame_layout(&bytes);
        // Boxed first: a vector would keep its spare room.
        Self(Arc::new(Encoded { of, bytes: bytes.into_boxed_slice().into(), name, plain }))
    }

    /// A resource with nothing but its name, which is field 1 of its message.
    pub fn empty(of: ResourceType, name: &str) -> Self {
        let mut body = Vec::new();
        wire::put_name(&mut body, name);
        Self::new(of, name, &body)
    }

    /// Name of the resource.
    pub fn name(&self) -> &str {
        // Names entered as `&str`: the fallback is never taken.
        std::str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    /// Name of the resource, as bytes.
    pub fn name_bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.name.clone()]
    }

    /// The resource in the frame.
    pub fn resource(&self) -> ResourceRef<'_> {
        wire::read_frame(&self.0.bytes)
    }

    /// The resource as a field of a delta response.
    pub fn delta(&self) -> Bytes {
        self.0.bytes.clone()
    }

    /// The resource as a field of a response in state of the world: a part of the same bytes.
    pub fn state_of_the_world(&self) -> Bytes {
        self.0.bytes.slice(self.0.plain..)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.bytes.len()
    }

    fn is(&self, of: ResourceType, name: &str, body: &[u8]) -> bool {
        self.0.of == of && self.name_bytes() == name.as_bytes() && self.resource().body == body
    }
}

#[derive(Debug)]
struct Held {
    frame: Frame,
    scopes: u32,
}

/// The frames that scopes hold, found by their content.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    // The order of the table is never visible.
    held: HashTable<Held>,
    hasher: RandomState,
    bytes: u64,
}

fn hash(hasher: &RandomState, of: ResourceType, name: &[u8], body: &[u8]) -> u64 {
    hasher.hash_one((of, name, body))
}

impl Frames {
    /// Returns the frame of a resource for one more scope, encoded only if no other has it.
    pub fn take(&mut self, of: ResourceType, name: &str, body: &[u8]) -> Frame {
        let Self { held, hasher, bytes } = self;
        let content = hash(hasher, of, name.as_bytes(), body);
        let rehash =
            |held: &Held| hash(hasher, held.frame.0.of, held.frame.name_bytes(), held.frame.resource().body);
        match held.entry(content, |held| held.frame.is(of, name, body), rehash) {
            Entry::Occupied(mut found) => {
                found.get_mut().scopes += 1;
                found.get().frame.clone()
            }
            Entry::Vacant(free) => {
                let frame = Frame::new(of, name, body);
                *bytes += frame.len() as u64;
                free.insert(Held { frame: frame.clone(), scopes: 1 });
                frame
            }
        }
    }

    /// Takes a frame back from a scope.
    pub fn release(&mut self, frame: &Frame) {
        let resource = frame.resource();
        let content = hash(&self.hasher, frame.0.of, frame.name_bytes(), resource.body);
        let same = |held: &Held| Arc::ptr_eq(&held.frame.0, &frame.0);
        let Ok(mut found) = self.held.find_entry(content, same) else { return };
        found.get_mut().scopes -= 1;
        if found.get().scopes == 0 {
            found.remove();
            self.bytes -= frame.len() as u64;
        }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Bytes of all frames.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_resources_have_one_frame_until_nobody_holds_it() {
        let mut frames = Frames::default();
        let one = frames.take(ResourceType::Cluster, "a", b"x");
        let two = frames.take(ResourceType::Cluster, "a", b"x");
        assert_eq!(one.delta().as_ptr(), two.delta().as_ptr());
        frames.take(ResourceType::Cluster, "b", b"x");
        frames.take(ResourceType::Cluster, "a", b"y");
        frames.take(ResourceType::Listener, "a", b"x");
        assert_eq!(frames.len(), 4);
        let bytes = frames.bytes();
        frames.release(&one);
        assert_eq!((frames.len(), frames.bytes()), (4, bytes));
        frames.release(&two);
        assert_eq!((frames.len(), frames.bytes()), (3, bytes - one.len() as u64));
    }

    #[test]
    fn the_end_of_a_delta_frame_is_the_frame_in_state_of_the_world() {
        use prost::Message;
        let frame = Frames::default().take(ResourceType::Cluster, "a/b", b"\x0a\x03a/b");
        assert_eq!((frame.name(), frame.resource().body), ("a/b", &b"\x0a\x03a/b"[..]));
        let delta = proto::discovery::DeltaDiscoveryResponse::decode(frame.delta()).unwrap();
        let whole = proto::discovery::DiscoveryResponse::decode(frame.state_of_the_world()).unwrap();
        let resource = proto::discovery::Resource::decode(delta.resources[0].clone()).unwrap();
        assert_eq!(Some(&whole.resources[0]), resource.resource.as_ref());
        assert_eq!(whole.resources[0].type_url, proto::type_url::CLUSTER);
        let start = frame.delta().as_ptr() as usize + frame.len() - frame.state_of_the_world().len();
        assert_eq!(frame.state_of_the_world().as_ptr() as usize, start);
    }
}
