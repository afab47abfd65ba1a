//! Fields of the kinds whose definitions are ours too (`crate::crd`), as of Istio 1.31.

use super::line::Line::{self, Outside, Read, Unsupported, Within};

const WRITTEN: &str = "conditions are written here; nothing of them is read";

pub(super) const AUTHORIZATION_POLICY: &[Line] = &[
    Read("spec", "selector.matchLabels.* action provider.name"),
    Within("spec.targetRef", TARGET),
    Within("spec.targetRefs[]", TARGET),
    Read(
        "spec.rules[].from[].source",
        "principals[] notPrincipals[] requestPrincipals[] notRequestPrincipals[] namespaces[] notNamespaces[] \
         serviceAccounts[] notServiceAccounts[] trustDomains[] notTrustDomains[] ipBlocks[] notIpBlocks[] \
         remoteIpBlocks[] notRemoteIpBlocks[]",
    ),
    Read(
        "spec.rules[].to[].operation",
        "hosts[] notHosts[] ports[] notPorts[] methods[] notMethods[] paths[] notPaths[]",
    ),
    Read("spec.rules[].when[]", "key values[] notValues[]"),
    Outside("status", "", WRITTEN),
];

const TARGET: &[Line] = &[Read("", "group kind name namespace")];

pub(super) const PEER_AUTHENTICATION: &[Line] = &[
    Read("spec", "selector.matchLabels.* mtls.mode portLevelMtls.*.mode"),
    Outside("status", "", "conditions are written by nobody; nothing of them is read"),
];

pub(super) const SERVICE_ENTRY: &[Line] = &[
    Read("spec", "hosts[] addresses[] resolution subjectAltNames[] workloadSelector.labels.*"),
    Read("spec.ports[]", "number name protocol targetPort"),
    Within("spec.endpoints[]", ENTRY),
    Outside("spec", "location", "a ztunnel treats hosts inside and outside of the mesh alike; it is checked"),
    Unsupported(
        "spec.exportTo",
        "",
        "who sees the entry is not restricted by it: use serviceEntryVisibility of the mesh settings",
    ),
    Read("status.addresses[]", "value host"),
    Outside("status", "", WRITTEN),
];

pub(super) const WORKLOAD_ENTRY: &[Line] = &[Within("spec", ENTRY), Outside("status", "", WRITTEN)];

const ENTRY: &[Line] = &[Read("", "address ports.* labels.* network locality weight serviceAccount")];
