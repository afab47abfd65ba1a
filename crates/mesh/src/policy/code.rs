//! Codes of the diagnostics that arise here.

/// A value in a rule was not understood.
pub(super) const UNCLEAR_VALUE: &str = "AP101";
/// An entry of a rule says nothing.
pub(super) const EMPTY_ENTRY: &str = "AP102";
/// The key of a condition is not known.
pub(super) const UNKNOWN_KEY: &str = "AP103";
/// Attributes of HTTP cannot be enforced by a ztunnel.
pub(super) const HTTP_ATTRIBUTE: &str = "AP104";
/// The action cannot be enforced by a ztunnel.
pub(super) const UNSUPPORTED_ACTION: &str = "AP105";
/// Dry run is not enabled.
pub(super) const DRY_RUN_DISABLED: &str = "AP106";
/// An empty selector attaches the policy to no workload.
pub(super) const EMPTY_SELECTOR: &str = "AP107";
/// Further findings about the policy were left out.
pub(super) const MORE_FINDINGS: &str = "AP108";
/// A principal is of another trust domain than the mesh.
pub(super) const OTHER_TRUST_DOMAIN: &str = "AP110";
/// An attribute is known, and waypoints do not enforce it.
pub(super) const UNREAD_ATTRIBUTE: &str = "AP113";
/// Something in a rule about tokens was not understood.
pub(super) const UNCLEAR_TOKENS: &str = "RA101";
/// A `RequestAuthentication` has no targets, and so no waypoint.
pub(super) const UNTARGETED_TOKENS: &str = "RA102";
/// Keys of an issuer cannot be fetched.
pub(super) const KEYS_NOT_FETCHED: &str = "RA103";
/// Whoever is to be asked cannot be.
pub(super) const UNANSWERED: &str = "AP115";
/// What an action comes to at waypoints.
pub(super) const WAYPOINT_ACTION: &str = "AP114";
