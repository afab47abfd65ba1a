//! The stable codes of what can be wrong with a folder.

/// A file cannot be read: permissions, encoding, size.
pub const UNREADABLE: &str = "FO001";
/// A document is no YAML or JSON, or has a key twice.
pub const SYNTAX: &str = "FO002";
/// A document is the source of a template.
pub const TEMPLATE: &str = "FO003";
/// A document is no Kubernetes object, or one for another tool.
pub const NOT_AN_OBJECT: &str = "FO004";
/// An object has no proper name or namespace, or a list no proper items.
pub const NAME: &str = "FO005";
/// A controller of pods, of a kind that is not Kubernetes' own, has an invalid value.
pub const CONTROLLER: &str = "FO006";
/// One object is written twice.
pub const TWICE: &str = "FO007";
/// A declared pod has no address.
pub const NO_ADDRESS: &str = "FO008";
/// A service account is used and not declared.
pub const ACCOUNT: &str = "FO009";
/// A bound on pods or addresses is reached.
pub const BOUND: &str = "FO010";
/// Two services state one cluster address.
pub const CLUSTER_ADDRESS: &str = "FO011";
/// A folder is missing or cannot be listed.
pub const FOLDER: &str = "FO012";
/// Changes of a folder cannot be watched.
pub const WATCH: &str = "FO013";
/// An object of a kind that is not known has a template of pods.
pub const GUESS: &str = "FO014";
/// A host of a ServiceEntry cannot have or keep an automatic address.
pub const AUTOMATIC_ADDRESS: &str = "FO015";
/// A kustomization cannot be built, or a file beside one is no part of it.
pub const KUSTOMIZATION: &str = "FO016";
/// An object has not what objects of its kind must have, as patches do.
pub const PATCH: &str = "FO017";
/// A policy selects no workload.
pub const SELECTS_NOTHING: &str = "FO018";
/// A namespace is not declared.
pub const NAMESPACE: &str = "FO019";
/// A policy names what is not there, and nearly what is.
pub const REFERENCE: &str = "FO020";
/// A label or annotation is nearly one of the mesh, or has a value without effect.
pub const LABEL: &str = "FO021";
/// Mesh settings have a field that they cannot have, or are where nobody reads them.
pub const SETTINGS: &str = "FO022";
/// A file that had objects has none any more.
pub const EMPTIED: &str = "FO023";

/// Every code, in order.
pub const ALL: &[&str] = &[
    UNREADABLE,
    SYNTAX,
    TEMPLATE,
    NOT_AN_OBJECT,
    NAME,
    CONTROLLER,
    TWICE,
    NO_ADDRESS,
    ACCOUNT,
    BOUND,
    CLUSTER_ADDRESS,
    FOLDER,
    WATCH,
    GUESS,
    AUTOMATIC_ADDRESS,
    KUSTOMIZATION,
    PATCH,
    SELECTS_NOTHING,
    NAMESPACE,
    REFERENCE,
    LABEL,
    SETTINGS,
    EMPTIED,
];
