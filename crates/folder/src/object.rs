//! Objects, and where they were written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::key::Key;
use crate::problem::Problem;

/// The place in the folder that an object comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The path of the file, as the caller gave it.
    pub file: Arc<str>,
    /// The line, from 1, on which the document with the object begins.
    pub line: u32,
    /// The byte in the file at which that document begins.
    pub(crate) start: usize,
    /// The lines of the file before that byte.
    pub(crate) lines_before: u32,
    /// The way from the document to the object: an index for each `List` around it.
    pub(crate) items: Vec<usize>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One object as an API server would hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// What names the object.
    pub key: Key,
    /// The `apiVersion` as written.
    pub api_version: String,
    /// The whole object, `apiVersion` and `kind` included.
    pub value: Value,
    /// Where it was written. A generated object has the place of the object that it is made for;
    /// the nodes and namespaces that every cluster has come from nowhere.
    pub origin: Option<Origin>,
    /// The object that a generated object is made for (the Deployment of a pod, the Service of a
    /// slice); `None` for an object that the folder declares.
    pub made_for: Option<Key>,
    /// Why a policy is refused; it is kept all the same, since it denies what it may select. Any other
    /// object that is refused is not there.
    pub refused: Option<Problem>,
}

impl Object {
    /// Whether the folder declares the object itself.
    pub fn is_declared(&self) -> bool {
        self.origin.is_some() && self.made_for.is_none()
    }
}

/// The objects of a cluster by their keys.
pub type Objects = BTreeMap<Key, Arc<Object>>;

/// The group of an `apiVersion`: what stands before the slash, empty for the core group.
pub(crate) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
