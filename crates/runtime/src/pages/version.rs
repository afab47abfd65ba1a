//! Which version of the control plane this is, as istioctl reads it.

/// The version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision of its source, and the state of that: a build does not know them.
pub(super) const REVISION: &str = "unknown";
pub(super) const STATE: &str = "unknown";

/// `VERSION-REVISION-STATE`.
pub(super) async fn version() -> String {
    format!("{VERSION}-{REVISION}-{STATE}")
}
