//! Bounds of resources and of what a client may send.

/// Longest resource name, in bytes.
pub const MAX_NAME_BYTES: usize = 4 * 1024;
/// Longest encoded resource, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;
/// Most names one stream may follow one by one.
pub const MAX_NAMES: usize = 500_000;
/// Most bytes that these names may have together.
pub const MAX_BYTES_OF_NAMES: usize = 64 * MAX_NAMES;
/// Most names an Envoy may follow of one type.
pub const MAX_PROXY_NAMES: usize = 100_000;
/// Most bytes that these names may have together.
pub const MAX_BYTES_OF_PROXY_NAMES: usize = 100 * MAX_PROXY_NAMES;
/// Most names that a client may follow of one type without any of them being there. An Envoy's stream ends beyond
/// that; of a ztunnel's, which asks for whatever its pods connect to, those are forgotten that were asked for first.
pub const MAX_UNRESOLVED_NAMES: usize = 10_000;
/// Most names a client may say it holds.
pub(crate) const MAX_OFFERED: usize = 1_000_000;
/// Longest description of a node, in bytes.
pub(crate) const MAX_NODE_BYTES: usize = 256 * 1024;
/// Longest error of a refusal that is kept, in bytes.
pub(crate) const MAX_ERROR_BYTES: usize = 1024;
