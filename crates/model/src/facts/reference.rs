use crate::{Name, Ns, Str};

/// A reference to one object, with the defaults of its field filled in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct ObjectReference {
    /// `group`; empty for the core group.
    pub group: Str,
    /// `kind`.
    pub kind: Str,
    /// `namespace` as written; empty for that of the referring object.
    pub namespace: Str,
    /// `name`.
    pub name: Str,
}

impl ObjectReference {
    /// Tells whether it refers to a kind.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Returns the name of the object, for a reference in an object of namespace `own`.
    pub fn target(&self, own: &Ns) -> Name {
        let ns = if self.namespace.is_empty() { own.clone() } else { own.beside(&self.namespace) };
        Name { ns, name: self.name.clone() }
    }
}
