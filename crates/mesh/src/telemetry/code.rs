//! Codes of the diagnostics that arise here.

/// A part has no effect.
pub(super) const IGNORED: &str = "TM101";
/// It is for nobody, since gateways are not selected by labels.
pub(super) const SELECTED: &str = "TM102";
/// An older one is for the same.
pub(super) const OLDER: &str = "TM103";
/// A provider cannot be used.
pub(super) const PROVIDER: &str = "TM104";
/// A metric is not counted by gateways.
pub(super) const METRIC: &str = "TM105";
