use super::{Meta, Refused};
use crate::Labels;

/// `mtls.mode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MtlsMode {
    /// `UNSET`, or absent: inherited.
    #[default]
    Unset,
    /// `DISABLE`.
    Disable,
    /// `PERMISSIVE`.
    Permissive,
    /// `STRICT`.
    Strict,
}

/// The understood `spec` of a `PeerAuthentication`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerAuthenticationSpec {
    /// `selector.matchLabels`; `Some` even when the selector is written empty.
    pub selector: Option<Labels>,
    /// `mtls.mode`.
    pub mode: MtlsMode,
    /// `portLevelMtls`, ascending by port, one entry a port.
    pub ports: Vec<(u16, MtlsMode)>,
}

/// Facts of a `PeerAuthentication`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAuthentication {
    /// Metadata.
    pub meta: Meta,
    /// `spec`, or why it was not understood.
    pub spec: Result<PeerAuthenticationSpec, Refused>,
}
