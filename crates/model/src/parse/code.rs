//! The stable codes of what `parse` finds wrong; `docs/reference/diagnostics.md` explains each.

/// The input is not one JSON document.
pub const SYNTAX: &str = "KO001";
/// `metadata.name` or `metadata.namespace` is missing, or cannot be the name of an object.
pub const NAME: &str = "KO002";
/// A field has a type or a value that it cannot have.
pub const FIELD: &str = "KO003";
/// A field is not known; told of objects in files, since an API server refuses or drops it.
pub const UNKNOWN_FIELD: &str = "KO004";
/// A kind is not served under the name or version that is written; told of objects in files.
pub const NO_MATCH: &str = "KO005";
/// Objects of a kind of the mesh's APIs have no effect: the kind is not read, or configures no proxy.
pub const KIND_WITHOUT_EFFECT: &str = "KO006";
/// A field is known and not read.
pub const UNSUPPORTED_FIELD: &str = "KO007";
/// A label or annotation of the mesh has no effect on the object that has it.
pub const METADATA: &str = "KO008";
/// A field is read, and its API has given it up, or is about to.
pub const DEPRECATED_FIELD: &str = "KO009";
/// A cluster address of a `Service` is no IP address.
pub const SERVICE_ADDRESS: &str = "SV001";
/// The `resolution` of a `ServiceEntry` is not known.
pub const ENTRY_RESOLUTION: &str = "SE001";
/// The `location` of a `ServiceEntry` is not known.
pub const ENTRY_LOCATION: &str = "SE002";
/// A field of an `AuthorizationPolicy` has a type or a value that it cannot have.
pub const AUTHORIZATION_FIELD: &str = "AP001";
/// The `action` of an `AuthorizationPolicy` is not known.
pub const AUTHORIZATION_ACTION: &str = "AP002";
/// A field of a `PeerAuthentication` has a type or a value that it cannot have.
pub const AUTHENTICATION_FIELD: &str = "PA001";
/// A mutual TLS mode of a `PeerAuthentication` is not known.
pub const AUTHENTICATION_MODE: &str = "PA002";
/// A key of `portLevelMtls` is not a port.
pub const AUTHENTICATION_PORT: &str = "PA003";
/// A field of a `RequestAuthentication` has a type or a value that it cannot have.
pub const REQUEST_AUTHENTICATION_FIELD: &str = "RA001";
/// The mesh settings are not YAML, or a field of them has a type that it cannot have.
pub const SETTINGS_FIELD: &str = "MS001";
/// A label selector of the mesh settings is not valid.
pub const SETTINGS_SELECTOR: &str = "MS002";
/// An enumeration of the mesh settings has a value that is not known.
pub const SETTINGS_VALUE: &str = "MS003";
/// A trust domain, namespace or address of the mesh settings is none.
pub const SETTINGS_NAME: &str = "MS005";

/// Every code of this module, in the order of the page that explains them.
pub const ALL: &[&str] = &[
    SYNTAX,
    NAME,
    FIELD,
    UNKNOWN_FIELD,
    NO_MATCH,
    KIND_WITHOUT_EFFECT,
    UNSUPPORTED_FIELD,
    METADATA,
    DEPRECATED_FIELD,
    SERVICE_ADDRESS,
    ENTRY_RESOLUTION,
    ENTRY_LOCATION,
    AUTHORIZATION_FIELD,
    AUTHORIZATION_ACTION,
    AUTHENTICATION_FIELD,
    AUTHENTICATION_MODE,
    AUTHENTICATION_PORT,
    REQUEST_AUTHENTICATION_FIELD,
    SETTINGS_FIELD,
    SETTINGS_SELECTOR,
    SETTINGS_VALUE,
    SETTINGS_NAME,
];
