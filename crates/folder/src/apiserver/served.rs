//! Which kind a manifest means by its `apiVersion` and `kind`.

use super::catalog::catalog;
use model::{did_you_mean, nearest};

/// The groups whose kinds make the mesh: what is not served there is a mistake.
const GROUPS: [&str; 8] = [
    "",
    "apps",
    "batch",
    "discovery.k8s.io",
    "gateway.networking.k8s.io",
    "gateway.networking.x-k8s.io",
    "networking.istio.io",
    "security.istio.io",
];

/// A group that Kubernetes gave up, with the kinds that moved.
const GIVEN_UP: &str = "extensions";

/// What an API server says to an `apiVersion` and `kind`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It serves the kind.
    Served,
    /// It may or may not serve the kind, which is none of the mesh's.
    Other,
    /// It does not serve the kind, which was meant to be one of the mesh's.
    NoMatch {
        /// What an API server says.
        message: String,
        /// What was meant most likely.
        help: String,
        /// The group and kind that was meant most likely.
        meant: Option<(&'static str, &'static str)>,
    },
}

/// Looks a kind up.
pub(crate) fn lookup(api_version: &str, kind: &str) -> Lookup {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if let Some(served) = catalog().kind(group, kind) {
        if served.versions.iter().any(|one| one == version) {
            return Lookup::Served;
        }
        let help = format!("served versions of {kind} are {}", versions_of(group, &served.versions));
        return match in_catalog(group, kind) {
            Some(meant) if is_read(group) => no_match(api_version, kind, help, Some(meant)),
            _ => Lookup::Other,
        };
    }
    if is_read(group) && !(group.is_empty() && version.contains('.')) {
        let kinds = catalog().kinds().filter(|(one, ..)| *one == group).map(|(_, kind, _)| kind);
        let meant = nearest(kind, kinds).and_then(|near| in_catalog(group, near));
        let help = match meant {
            Some((_, near)) => did_you_mean(near),
            None => elsewhere(kind).unwrap_or_default(),
        };
        return no_match(api_version, kind, help, meant);
    }
    // A group without a version (`security.istio.io`), or one that is misspelt.
    let written = if group.is_empty() { version } else { group };
    let groups = catalog().kinds().map(|(group, ..)| group).filter(|group| group.contains('.'));
    let meant = nearest(written, groups).filter(|near| is_read(near)).and_then(|near| {
        let kinds = catalog().kinds().filter(|(one, ..)| *one == near).map(|(_, kind, _)| kind);
        nearest(kind, kinds).and_then(|kind| in_catalog(near, kind))
    });
    if let Some((near, kind_meant)) = meant {
        let versions = catalog().kind(near, kind_meant).map(|served| served.versions.as_slice());
        let help =
            format!("did you mean {kind_meant} of {}?", versions_of(near, versions.unwrap_or_default()));
        return no_match(api_version, kind, help, meant);
    }
    match elsewhere(kind) {
        Some(help) if group == GIVEN_UP || group.is_empty() => no_match(api_version, kind, help, None),
        _ => Lookup::Other,
    }
}

/// Tells whether objects of a kind live in a namespace; those of kinds that are not known do.
pub(crate) fn is_namespaced(group: &str, kind: &str) -> bool {
    catalog().kind(group, kind).is_none_or(|served| served.is_namespaced)
}

fn no_match(
    api_version: &str,
    kind: &str,
    help: String,
    meant: Option<(&'static str, &'static str)>,
) -> Lookup {
    let message = format!("no matches for kind {kind:?} in version {api_version:?}");
    Lookup::NoMatch { message, help, meant }
}

fn is_read(group: &str) -> bool {
    GROUPS.contains(&group)
}

fn in_catalog(group: &str, kind: &str) -> Option<(&'static str, &'static str)> {
    catalog()
        .kinds()
        .find(|(one, other, _)| *one == group && *other == kind)
        .map(|(group, kind, _)| (group, kind))
}

fn versions_of(group: &str, versions: &[String]) -> String {
    let all: Vec<String> = versions
        .iter()
        .map(|version| if group.is_empty() { version.clone() } else { format!("{group}/{version}") })
        .collect();
    all.join(", ")
}

/// Where a kind of exactly this name is served.
fn elsewhere(kind: &str) -> Option<String> {
    let all: Vec<String> = catalog()
        .kinds()
        .filter(|(group, one, _)| *one == kind && is_read(group))
        .map(|(group, _, served)| versions_of(group, &served.versions))
        .collect();
    (!all.is_empty()).then(|| format!("{kind} is a kind of {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(api_version: &str, kind: &str) -> Option<(&'static str, &'static str)> {
        match lookup(api_version, kind) {
            Lookup::NoMatch { meant, message, .. } => {
                assert_eq!(message, format!("no matches for kind \"{kind}\" in version \"{api_version}\""));
                meant
            }
            other => panic!("{api_version} {kind}: {other:?}"),
        }
    }

    #[test]
    fn wrong_names_and_versions_are_told_with_what_was_meant() {
        let policy = Some(("security.istio.io", "AuthorizationPolicy"));
        assert_eq!(meant("security.istio.io/v1", "authorizationPolicy"), policy);
        assert_eq!(meant("security.istio.io/v1", "AuthorizationPolicys"), policy);
        assert_eq!(meant("security.istio.io", "AuthorizationPolicy"), policy);
        assert_eq!(meant("security.istio.io/v2", "AuthorizationPolicy"), policy);
        assert_eq!(meant("Security.istio.io/v1", "AuthorizationPolicy"), policy);
        assert_eq!(meant("security.isto.io/v1", "AuthorizationPolicy"), policy);
        assert_eq!(meant("v1", "service"), Some(("", "Service")));
        assert_eq!(meant("apps/v1beta1", "Deployment"), Some(("apps", "Deployment")));
        assert_eq!(meant("extensions/v1beta1", "Deployment"), None);
        assert_eq!(meant("v1", "Deployment"), None);
        assert_eq!(meant("v2", "Pod"), Some(("", "Pod")));
    }

    #[test]
    fn kinds_of_others_are_none_of_the_mesh() {
        for (api_version, kind) in [
            ("argoproj.io/v1alpha1", "Rollout"),
            ("serving.knative.dev/v1", "Service"),
            ("policy.linkerd.io/v1alpha1", "AuthorizationPolicy"),
            ("policy/v1beta1", "PodSecurityPolicy"),
            ("networking.gke.io/v1", "ManagedCertificate"),
        ] {
            assert_eq!(lookup(api_version, kind), Lookup::Other, "{api_version} {kind}");
        }
    }

    #[test]
    fn served_kinds_are_served_in_every_version() {
        for (api_version, kind) in [
            ("v1", "Pod"),
            ("apps/v1", "Deployment"),
            ("security.istio.io/v1beta1", "AuthorizationPolicy"),
            ("networking.istio.io/v1alpha3", "VirtualService"),
            ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ] {
            assert_eq!(lookup(api_version, kind), Lookup::Served, "{api_version} {kind}");
        }
        assert!(!is_namespaced("", "Node") && is_namespaced("", "Pod") && is_namespaced("x.io", "Thing"));
    }
}
