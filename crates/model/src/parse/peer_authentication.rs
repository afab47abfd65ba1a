use super::enumeration::Enumeration;
use super::policy::{self, Policy};
use super::selector::WorkloadSelector;
use super::text::Text;
use super::{code, wrong::Wrong};
use crate::Kind;
use crate::facts::{MtlsMode, PeerAuthentication, PeerAuthenticationSpec};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Spec<'a> {
    #[serde(borrow)]
    selector: Option<WorkloadSelector<'a>>,
    mtls: Option<MutualTls>,
    #[serde(borrow, alias = "port_level_mtls")]
    port_level_mtls: Option<BTreeMap<Text<'a>, MutualTls>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct MutualTls {
    mode: Option<Enumeration>,
}

const MODES: &[(&str, i64, MtlsMode)] = &[
    ("UNSET", 0, MtlsMode::Unset),
    ("DISABLE", 1, MtlsMode::Disable),
    ("PERMISSIVE", 2, MtlsMode::Permissive),
    ("STRICT", 3, MtlsMode::Strict),
];

/// Returns the facts of a `PeerAuthentication`.
///
/// # Errors
/// Only when the document is no JSON or names no object.
pub(super) fn parse(json: &[u8]) -> Result<PeerAuthentication, Wrong> {
    let Policy { meta, spec, .. } =
        policy::parse(Kind::PeerAuthentication, json, code::AUTHENTICATION_FIELD, lower)?;
    Ok(PeerAuthentication { meta, spec })
}

fn lower(spec: Spec<'_>) -> Result<PeerAuthenticationSpec, Wrong> {
    let mut ports = BTreeMap::new();
    for (key, mtls) in spec.port_level_mtls.unwrap_or_default() {
        let field = format!("spec.portLevelMtls[{}]", key.as_str());
        let port: u16 = key.as_str().parse().map_err(|_| {
            Wrong::new(code::AUTHENTICATION_PORT, field.clone(), format!("`{}` is no port", key.as_str()))
                .help("use a number from 1 to 65535")
        })?;
        let mode = mtls.lower(field.clone())?;
        // Two spellings of one number: neither is more right than the other.
        if ports.insert(port, mode).is_some() {
            return Err(Wrong::new(code::AUTHENTICATION_PORT, field, format!("port {port} is given twice"))
                .help("keep one entry for the port"));
        }
    }
    Ok(PeerAuthenticationSpec {
        selector: spec.selector.map(|s| s.labels()),
        mode: spec.mtls.map_or(Ok(MtlsMode::Unset), |mtls| mtls.lower("spec.mtls".to_owned()))?,
        ports: ports.into_iter().collect(),
    })
}

impl MutualTls {
    fn lower(self, field: String) -> Result<MtlsMode, Wrong> {
        match self.mode {
            Some(mode) => mode.pick(MODES, code::AUTHENTICATION_MODE, format!("{field}.mode")),
            None => Ok(MtlsMode::Unset),
        }
    }
}
