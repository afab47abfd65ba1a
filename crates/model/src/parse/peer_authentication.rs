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
        let field = format!("spec.portLevelMtls.{}", key.as_str());
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Labels;
    use serde_json::{Value, json};

    fn authentication(spec: Value) -> PeerAuthentication {
        parse(json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec}).to_string().as_bytes())
            .unwrap()
    }

    #[test]
    fn modes_and_ports_are_read_in_order_of_ports() {
        let spec = authentication(json!({
            "selector": {"matchLabels": {"app": "web"}},
            "mtls": {"mode": "STRICT"},
            "portLevelMtls": {"9000": {"mode": "DISABLE"}, "80": {"mode": 2}, "443": {}},
        }))
        .spec
        .unwrap();
        let expected = PeerAuthenticationSpec {
            selector: Some(Labels::new([("app", "web")])),
            mode: MtlsMode::Strict,
            ports: vec![(80, MtlsMode::Permissive), (443, MtlsMode::Unset), (9000, MtlsMode::Disable)],
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn what_is_absent_is_unset() {
        for spec in [
            json!({}),
            json!(null),
            json!({"mtls": null}),
            json!({"mtls": {}}),
            json!({"mtls": {"mode": null}}),
        ] {
            assert_eq!(authentication(spec).spec.unwrap(), PeerAuthenticationSpec::default());
        }
        let snake = authentication(json!({"port_level_mtls": {"80": {"mode": "STRICT"}}}));
        assert_eq!(snake.spec.unwrap().ports, [(80, MtlsMode::Strict)]);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_its_selector() {
        let web = json!({"matchLabels": {"app": "web"}});
        for (wrong, code, field) in [
            (json!({"selector": web, "mtls": {"mode": "strict"}}), "PA002", "spec.mtls.mode"),
            (json!({"selector": web, "mtls": "STRICT"}), "PA001", "spec.mtls"),
            (
                json!({"selector": web, "portLevelMtls": {"80": {"mode": "ON"}}}),
                "PA002",
                "spec.portLevelMtls.80.mode",
            ),
            (json!({"selector": web, "portLevelMtls": {"http": {}}}), "PA003", "spec.portLevelMtls.http"),
            (json!({"selector": web, "portLevelMtls": {"70000": {}}}), "PA003", "spec.portLevelMtls.70000"),
            (
                json!({"selector": web, "portLevelMtls": {"80": {}, "080": {"mode": "STRICT"}}}),
                "PA003",
                "spec.portLevelMtls.80",
            ),
            (json!({"selector": web, "portLevelMtls": {"80": null}}), "PA001", "spec.portLevelMtls.80"),
        ] {
            let refused = authentication(wrong).spec.unwrap_err();
            assert_eq!((refused.diagnostic.code, refused.diagnostic.field.as_str()), (code, field));
            assert_eq!(refused.selector, Some(Labels::new([("app", "web")])));
        }
    }
}
