//! Frames of proxies' resources, each once however many scopes hold it.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use proto::ResourceType;

use crate::types::rules;
use crate::version::Version;
use crate::wire::{self, Form, ResourceRef};

/// A resource, shared by all that hold or send it. Its bytes are those that whoever made it has, not copied: what goes
/// out before them is written when it goes out.
#[derive(Clone)]
pub(crate) struct Frame(Arc<Content>);

/// Never its content: that may be a private key.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}, {} bytes", self.0.of, self.name(), self.len())
    }
}

struct Content {
    of: ResourceType,
    name: NameOf,
    /// The version, after the name if that is here.
    label: Box<str>,
    body: Arc<[u8]>,
    /// How many scopes hold it: the writer's alone.
    scopes: AtomicU32,
}

/// Where the name of a resource stands, and its length.
#[derive(Clone, Copy)]
enum NameOf {
    /// At the beginning of the label.
    Label(u32),
    /// In the message from so many bytes on, as that of Envoy's own: it is its first field.
    Body(u8, u32),
}

impl Frame {
    /// The frame of a resource; its version is that of its content.
    pub fn new(of: ResourceType, name: &str, body: Arc<[u8]>) -> Self {
        let version = if rules(of).is_versioned { Version::of(&body).to_string() } else { String::new() };
        Self::with_version(of, name, &version, body)
    }

    /// The frame of a resource with a version that says something else than its content.
    pub fn with_version(of: ResourceType, name: &str, version: &str, body: Arc<[u8]>) -> Self {
        // Names are bounded long before that.
        let len = name.len() as u32;
        let (place, label) = match wire::first_field(&body) {
            Some((at, first)) if first == name.as_bytes() => {
                (NameOf::Body(at as u8, len), version.to_owned())
            }
            _ => (NameOf::Label(len), [name, version].concat()),
        };
        Self(Arc::new(Content {
            of,
            name: place,
            label: label.into_boxed_str(),
            body,
            scopes: AtomicU32::new(0),
        }))
    }

    /// A resource with nothing but its name, which is field 1 of its message.
    pub fn empty(of: ResourceType, name: &str) -> Self {
        let mut body = Vec::new();
        wire::put_name(&mut body, name);
        Self::new(of, name, body.into())
    }

    /// Name of the resource.
    pub fn name(&self) -> &str {
        // Names entered as `&str`: the fallback is never taken.
        std::str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    /// Name of the resource, as bytes.
    pub fn name_bytes(&self) -> &[u8] {
        match self.0.name {
            NameOf::Label(len) => &self.0.label.as_bytes()[..len as usize],
            NameOf::Body(at, len) => &self.0.body[usize::from(at)..][..len as usize],
        }
    }

    /// The resource in the frame.
    pub fn resource(&self) -> ResourceRef<'_> {
        let version = match self.0.name {
            NameOf::Label(len) => &self.0.label[len as usize..],
            NameOf::Body(..) => &self.0.label,
        };
        ResourceRef { name: self.name(), version, body: &self.0.body }
    }

    /// What goes out before its content in a field of a response.
    pub fn head(&self, form: Form) -> Bytes {
        let mut head = Vec::new();
        wire::put_head(&mut head, form, self.resource(), self.0.of.type_url());
        head.into()
    }

    /// Its content, not copied.
    pub fn body(&self) -> Bytes {
        Bytes::from_owner(Arc::clone(&self.0.body))
    }

    /// Length in bytes of the field of a response.
    pub fn len_as(&self, form: Form) -> usize {
        wire::resource_len_as(form, self.resource(), self.0.of.type_url())
    }

    /// Length in bytes, as a field of a delta response.
    pub fn len(&self) -> usize {
        self.len_as(Form::Delta)
    }

    fn is(&self, of: ResourceType, name: &str, body: &[u8]) -> bool {
        self.0.of == of && self.name_bytes() == name.as_bytes() && *self.0.body == *body
    }
}

/// The frames that scopes hold, found by their content.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    // The order of the table is never visible.
    held: HashTable<Frame>,
    hasher: RandomState,
    bytes: u64,
}

fn hash(hasher: &RandomState, of: ResourceType, name: &[u8], body: &[u8]) -> u64 {
    hasher.hash_one((of, name, body))
}

impl Frames {
    /// Returns the frame of a resource for one more scope, made only if no other has it.
    pub fn take(&mut self, of: ResourceType, name: &str, body: &Arc<[u8]>) -> Frame {
        let Self { held, hasher, bytes } = self;
        let content = hash(hasher, of, name.as_bytes(), body);
        let rehash = |held: &Frame| hash(hasher, held.0.of, held.name_bytes(), &held.0.body);
        let frame = match held.entry(content, |held| held.is(of, name, body), rehash) {
            Entry::Occupied(found) => found.get().clone(),
            Entry::Vacant(free) => {
                let frame = Frame::new(of, name, Arc::clone(body));
                *bytes += frame.len() as u64;
                free.insert(frame.clone());
                frame
            }
        };
        frame.0.scopes.fetch_add(1, Relaxed);
        frame
    }

    /// Takes a frame back from a scope.
    pub fn release(&mut self, frame: &Frame) {
        if frame.0.scopes.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        let content = hash(&self.hasher, frame.0.of, frame.name_bytes(), &frame.0.body);
        if let Ok(found) = self.held.find_entry(content, |held| Arc::ptr_eq(&held.0, &frame.0)) {
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

    fn of(body: &[u8]) -> Arc<[u8]> {
        body.into()
    }

    #[test]
    fn equal_resources_have_one_frame_until_nobody_holds_it() {
        let mut frames = Frames::default();
        let one = frames.take(ResourceType::Cluster, "a", &of(b"x"));
        let two = frames.take(ResourceType::Cluster, "a", &of(b"x"));
        assert!(Arc::ptr_eq(&one.0, &two.0));
        frames.take(ResourceType::Cluster, "b", &of(b"x"));
        frames.take(ResourceType::Cluster, "a", &of(b"y"));
        frames.take(ResourceType::Listener, "a", &of(b"x"));
        assert_eq!(frames.len(), 4);
        let bytes = frames.bytes();
        frames.release(&one);
        assert_eq!((frames.len(), frames.bytes()), (4, bytes));
        frames.release(&two);
        assert_eq!((frames.len(), frames.bytes()), (3, bytes - one.len() as u64));
    }

    #[test]
    fn a_name_is_not_kept_beside_a_message_that_begins_with_it() {
        for (name, body) in
            [("a/b", &b"\x0a\x03a/b\x10\x01"[..]), ("a/b", b"\x0a\x03a/c"), ("a", b"x"), ("a", b"")]
        {
            let frame = Frame::new(ResourceType::Cluster, name, of(body));
            let version = Version::of(body).to_string();
            assert_eq!(frame.resource(), ResourceRef { name, version: &version, body });
            assert_eq!(frame.0.label.len() == version.len(), body.starts_with(b"\x0a\x03a/b"));
        }
        let long = "n".repeat(300);
        let frame = Frame::empty(ResourceType::Cluster, &long);
        assert_eq!((frame.name(), frame.0.label.len()), (long.as_str(), frame.resource().version.len()));
    }

    #[test]
    fn head_and_body_are_the_field_of_a_response_of_either_variant() {
        use prost::Message;
        let body = of(b"\x0a\x03a/b");
        let frame = Frames::default().take(ResourceType::Cluster, "a/b", &body);
        assert_eq!((frame.name(), frame.resource().body), ("a/b", &*body));
        assert_eq!(frame.body().as_ptr(), body.as_ptr(), "the bytes are not copied");
        let field = |form| {
            let field = [frame.head(form), frame.body()].concat();
            assert_eq!(field.len(), frame.len_as(form));
            field
        };
        let delta = proto::discovery::DeltaDiscoveryResponse::decode(&*field(Form::Delta)).unwrap();
        let whole = proto::discovery::DiscoveryResponse::decode(&*field(Form::StateOfTheWorld)).unwrap();
        let resource = proto::discovery::Resource::decode(delta.resources[0].clone()).unwrap();
        assert_eq!((resource.name.as_str(), resource.version), ("a/b", Version::of(&body).to_string()));
        assert_eq!(Some(&whole.resources[0]), resource.resource.as_ref());
        assert_eq!(whole.resources[0].type_url, proto::type_url::CLUSTER);
        assert_eq!(whole.resources[0].value, *body);
    }
}
