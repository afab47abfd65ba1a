//! What a stream is given that no other is: secrets of its own.

use std::sync::Arc;

use proto::ResourceType;

use crate::log::{Frame, TypeView};

/// The type of which a stream has resources of its own: it is followed by name alone.
pub(super) const TYPE: ResourceType = ResourceType::Secret;

/// Resources that whoever serves a stream gives to it alone, beside those of its scope.
#[derive(Debug, Default)]
pub(super) struct OwnResources {
    /// What they are called. The scope is not asked for these.
    names: &'static [&'static str],
    all: Vec<Own>,
}

#[derive(Debug)]
struct Own {
    frame: Frame,
    /// Whether it is forgotten as soon as it is sent.
    is_once: bool,
    /// Whether nothing is left of it but its name and version.
    is_spent: bool,
}

impl OwnResources {
    /// None yet, of these names.
    pub fn of(names: &'static [&'static str]) -> Self {
        Self { names, all: Vec::new() }
    }

    /// The names.
    pub fn names(&self) -> &'static [&'static str] {
        self.names
    }

    fn get(&self, name: &str) -> Option<&Own> {
        self.all.iter().find(|own| own.frame.name() == name)
    }

    /// Tells whether a resource is there to be sent.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|own| !own.is_spent)
    }

    /// Tells whether a resource is there, sent or not.
    pub fn knows(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Puts a resource that is kept; false when it is there already.
    pub fn put(&mut self, name: &str, body: &[u8]) -> bool {
        self.insert(Own { frame: Frame::new(TYPE, name, body.into()), is_once: false, is_spent: false })
    }

    /// Puts a resource that is forgotten as soon as it is sent; without a body one that the client holds.
    pub fn put_once(&mut self, name: &str, version: &str, body: Option<&[u8]>) -> bool {
        let frame = Frame::with_version(TYPE, name, version, body.unwrap_or_default().into());
        self.insert(Own { frame, is_once: true, is_spent: body.is_none() })
    }

    fn insert(&mut self, own: Own) -> bool {
        let name = own.frame.name();
        if !self.names.contains(&name) {
            return false;
        }
        let version = |own: &Own| own.frame.resource().version.to_owned();
        if self
            .get(name)
            .is_some_and(|before| version(before) == version(&own) && before.is_spent == own.is_spent)
        {
            return false;
        }
        let at = self.all.iter().position(|before| before.frame.name() == name);
        match at {
            Some(at) => self.all[at] = own,
            None => self.all.push(own),
        }
        true
    }

    /// Forgets what of these frames is to be sent once.
    pub fn sent(&mut self, frames: &[Frame]) {
        for own in self.all.iter_mut().filter(|own| own.is_once && !own.is_spent) {
            if frames.iter().any(|frame| frame.name_bytes() == own.frame.name_bytes()) {
                let resource = own.frame.resource();
                own.frame = Frame::with_version(TYPE, resource.name, resource.version, Arc::default());
                own.is_spent = true;
            }
        }
    }

    /// A view of the scope with these resources in it.
    pub fn within(&self, scope: &TypeView) -> TypeView {
        scope.overlaid(self.all.iter().map(|own| &own.frame))
    }

    /// What is kept, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.all.iter().map(|own| own.frame.len()).sum()
    }
}
