//! Objects that are read only while something refers to them.

use super::material::{KeyPair, Roots};
use crate::{Labels, Name, Ns, Str};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What is read only while something refers to it. Nothing lists it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Referent {
    /// A Secret.
    Secret(Name),
    /// A ConfigMap.
    ConfigMap(Name),
    /// The ConfigMaps of a namespace that hold what gateways of a class have by default: those that have the
    /// label [`CLASS_DEFAULTS`].
    ClassDefaults(Ns),
}

/// The label of ConfigMaps with defaults of gateways; its value is the name of the class.
pub const CLASS_DEFAULTS: &str = "gateway.istio.io/defaults-for-class";

impl fmt::Display for Referent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
            Self::ClassDefaults(ns) => write!(f, "ConfigMaps of namespace {ns} labelled {CLASS_DEFAULTS}"),
        }
    }
}

/// What a source found where a reference leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A Secret.
    Secret(Arc<Secret>),
    /// A ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// ConfigMaps, ascending by name.
    ConfigMaps(Vec<Arc<ConfigMap>>),
    /// There is no such object.
    Absent,
    /// It cannot be read: why, and what to do about it, in words.
    Unreadable(Str),
}

/// Facts of a `Secret` that something refers to. Of what else it holds nothing is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// Namespace and name.
    pub name: Name,
    /// `tls.crt` and `tls.key`, or else `cert` and `key`.
    ///
    /// # Errors
    /// What is wrong with them; nothing of them is in the text.
    pub key_pair: Result<KeyPair, String>,
    /// `ca.crt`, or else `cacert`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub roots: Result<Roots, String>,
}

/// Facts of a `ConfigMap` that something refers to. That with the mesh settings is read besides, as
/// [`MeshSettings`](super::MeshSettings).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigMap {
    /// Namespace and name.
    pub name: Name,
    /// `metadata.creationTimestamp`, in seconds since 1970; 0 when unset.
    pub created: i64,
    /// All labels.
    pub labels: Labels,
    /// `data`.
    pub data: BTreeMap<Str, Str>,
    /// `ca.crt` of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub roots: Result<Roots, String>,
}

impl ConfigMap {
    /// Tells whether it holds what gateways of a class have by default, for a control plane whose namespace is
    /// `system`.
    pub fn is_class_default(&self, system: &Ns) -> bool {
        self.name.ns == *system && self.labels.get(CLASS_DEFAULTS).is_some()
    }
}
