//! How what is deployed for a gateway is called.

use model::facts::Gateway;
use model::{Name, Str, shared};
use xxhash_rust::xxh3::xxh3_64;

use crate::class::Class;

/// The annotation with the name of Deployment and Service.
pub(crate) const NAME_OVERRIDE: &str = "gateway.istio.io/name-override";
/// The annotation with the name of the service account.
pub(crate) const ACCOUNT: &str = "gateway.istio.io/service-account";

/// The most characters of a Service's name, and of a label's value.
pub(crate) const MAX_LABEL: usize = 63;
/// How many characters of a digest a shortened name ends in.
const DIGEST: usize = 8;

/// Returns the name of Deployment and Service.
pub(crate) fn of_gateway(gateway: &Gateway, class: Class) -> Str {
    written(gateway, NAME_OVERRIDE).unwrap_or_else(|| default(gateway, class))
}

/// Returns the name of the service account.
pub(crate) fn of_account(gateway: &Gateway, class: Class) -> Str {
    written(gateway, ACCOUNT).unwrap_or_else(|| default(gateway, class))
}

/// Returns the Service of a gateway that is deployed here.
pub(crate) fn service(gateway: &Gateway, class: Class) -> Name {
    Name { ns: gateway.meta.name.ns.clone(), name: of_gateway(gateway, class) }
}

fn written(gateway: &Gateway, annotation: &str) -> Option<Str> {
    gateway.annotations.get(annotation).filter(|name| !name.is_empty()).cloned()
}

fn default(gateway: &Gateway, class: Class) -> Str {
    let own = gateway.meta.name.name.as_str();
    match class {
        Class::Gateway | Class::Remote => shared(&shortened(&format!("{own}-{}", gateway.class))),
        Class::Waypoint | Class::EastWest => shared(&shortened(own)),
    }
}

/// Returns a name that a Service can have: a longer one is cut and ends in a digest of itself.
fn shortened(name: &str) -> String {
    if name.len() <= MAX_LABEL {
        return name.to_owned();
    }
    let kept: String = name.chars().take(MAX_LABEL - DIGEST - 1).collect();
    let digest = format!("{:016x}", xxh3_64(name.as_bytes()));
    format!("{}-{}", kept.trim_end_matches(['-', '.']), &digest[..DIGEST])
}

/// Tells whether a text is a name of one part, as Services have.
pub(crate) fn is_label(text: &str) -> bool {
    let is_alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= MAX_LABEL
        && text.starts_with(is_alphanumeric)
        && text.ends_with(is_alphanumeric)
        && text.chars().all(|c| is_alphanumeric(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_stays_apart_from_others() {
        let long = |end: &str| format!("{}{end}", "a".repeat(70));
        assert_eq!(shortened("gw-istio"), "gw-istio");
        for name in [long("x"), long("y"), long("-"), format!("{}-{}", "b".repeat(53), "c".repeat(20))] {
            let short = shortened(&name);
            assert!(is_label(&short) && short.len() <= MAX_LABEL, "{short}");
        }
        assert_ne!(shortened(&long("x")), shortened(&long("y")));
    }

    #[test]
    fn names_of_several_parts_are_none_of_services() {
        assert!(is_label("gw-1") && is_label("1"));
        for wrong in ["", "a.b", "-a", "a-", "A", "a_b", &"a".repeat(64)] {
            assert!(!is_label(wrong), "{wrong}");
        }
    }
}
