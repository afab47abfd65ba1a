//! The table of labels and annotations: of each that belongs to a mesh, on which kinds it is read, and what becomes of
//! it elsewhere.

use super::FieldState;
use crate::{Kind, RequestLimit, did_you_mean, nearest, nearest_within};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::LazyLock;

/// Where a key stands in `metadata`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetadataPart {
    /// `labels`.
    Label,
    /// `annotations`.
    Annotation,
}

/// A label or annotation, or all with a prefix.
#[derive(Clone, Copy, Debug)]
pub struct MetadataKey {
    /// Where it stands.
    pub part: MetadataPart,
    /// Its name; `PREFIX/*` for all with that prefix that have no line of their own.
    pub name: &'static str,
    /// The kinds on which it is so; empty for every kind.
    pub kinds: &'static [Kind],
    /// What becomes of it.
    pub state: FieldState,
    /// The values that it may have; empty if there are many.
    pub values: &'static [&'static str],
}

/// Why a label or annotation of an object has no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// It is known and not supported.
    Unsupported {
        /// What to use instead.
        instead: &'static str,
    },
    /// It is read of other kinds.
    Elsewhere {
        /// Those kinds.
        kinds: &'static [Kind],
    },
    /// It is read as the other of label and annotation.
    Misplaced(MetadataPart),
    /// It has none of these values.
    Value(&'static [&'static str]),
    /// It is not written so.
    Form(&'static str),
    /// Nobody knows it.
    Unknown {
        /// What is nearly called so.
        near: Option<&'static str>,
    },
}

/// How many letters of a name may be wrong for it to be taken for another.
const MOST_WRONG: usize = 2;

/// The domains whose labels and annotations belong to a mesh, with all below them.
const DOMAINS: &[&str] = &["istio.io", "pilothouse.io", "gateway.networking.k8s.io"];

/// Says who makes an object: what stands in its metadata follows from that.
const MANAGED: &str = "gateway.istio.io/managed";

/// A group of lines of the table: names are separated by blanks.
struct Line(MetadataPart, &'static [Kind], &'static str, FieldState, &'static [&'static str]);

use MetadataPart::{Annotation, Label};

const READ: FieldState = FieldState::Read;
const ANY: &[Kind] = &[];
/// What names a waypoint for itself.
const BOUND: &[Kind] = &[Kind::Namespace, Kind::Service, Kind::ServiceEntry, Kind::WorkloadEntry, Kind::Pod];
/// What may have a canary.
const WITH_CANARY: &[Kind] = &[Kind::Namespace, Kind::Service, Kind::ServiceEntry];
const WORKLOADS: &[Kind] = &[Kind::Pod, Kind::WorkloadEntry, Kind::ServiceEntry];
const GATEWAYS: &[Kind] = &[Kind::Gateway, Kind::GatewayClass];
const POLICIES: &[Kind] = &[Kind::BackendTLSPolicy, Kind::XBackendTrafficPolicy];
/// What requests to may be limited.
const LIMITED: &[Kind] = &[Kind::HTTPRoute, Kind::GRPCRoute, Kind::Service, Kind::ServiceEntry];
/// Any case.
const BOOLEAN: &[&str] = &["true", "false", "True", "False", "TRUE", "FALSE"];
/// What Go takes for a boolean.
const GO_BOOLEAN: &[&str] =
    &["true", "false", "True", "False", "TRUE", "FALSE", "t", "f", "T", "F", "1", "0"];

const fn outside(why: &'static str) -> FieldState {
    FieldState::Outside(why)
}

const fn unsupported(instead: &'static str) -> FieldState {
    FieldState::Unsupported { instead, unless: "" }
}

const TABLE: &[Line] = &[
    Line(Label, ANY, "istio.io/rev", READ, &[]),
    Line(Label, &[Kind::Namespace, Kind::Pod], "istio.io/dataplane-mode", READ, &["ambient", "none"]),
    Line(Label, BOUND, "istio.io/use-waypoint istio.io/use-waypoint-namespace", READ, &[]),
    Line(
        Label,
        WITH_CANARY,
        "istio.io/use-waypoint-canary istio.io/use-waypoint-canary-namespace",
        READ,
        &[],
    ),
    Line(Label, WITH_CANARY, "istio.io/ingress-use-waypoint", READ, GO_BOOLEAN),
    Line(Label, GATEWAYS, "istio.io/waypoint-for", READ, &["service", "workload", "all", "none"]),
    Line(Label, ANY, "istio.io/global topology.istio.io/network", READ, &[]),
    Line(Label, ANY, "gateway.istio.io/managed gateway.networking.k8s.io/gateway-name", READ, &[]),
    Line(
        Label,
        ANY,
        "gateway.networking.k8s.io/gateway-class-name",
        outside("it says of which class the gateway of an object is"),
        &[],
    ),
    Line(Label, &[Kind::ServiceEntry], "networking.istio.io/enable-autoallocate-ip", READ, BOOLEAN),
    Line(Label, WORKLOADS, "networking.istio.io/tunnel", READ, &[]),
    Line(
        Label,
        &[Kind::Service],
        "networking.istio.io/gatewayPort",
        unsupported("write a Gateway of the class istio-remote with the port as a listener"),
        &[],
    ),
    Line(
        Label,
        ANY,
        "service.istio.io/canonical-name service.istio.io/canonical-revision service.istio.io/workload-name",
        READ,
        &[],
    ),
    Line(Label, &[Kind::Node], "topology.istio.io/subzone", READ, &[]),
    Line(
        Label,
        ANY,
        "topology.istio.io/locality",
        unsupported("region and zone are those of the Node, or `locality` of a WorkloadEntry"),
        &[],
    ),
    Line(
        Label,
        ANY,
        "topology.istio.io/cluster",
        outside("the cluster is that from which an object is read"),
        &[],
    ),
    Line(Label, ANY, "security.istio.io/tlsMode", outside("it says that a sidecar is there"), &[]),
    Line(
        Label,
        ANY,
        "sidecar.istio.io/inject",
        FieldState::Unsupported {
            instead: "no sidecars are injected: enrol the pod by the label istio.io/dataplane-mode: ambient",
            unless: "false",
        },
        GO_BOOLEAN,
    ),
    Line(Label, ANY, "istio.io/tag", outside("it is for webhooks"), &[]),
    Line(
        Label,
        ANY,
        "operator.istio.io/* install.operator.istio.io/* istio.io/config pilothouse.io/control-plane",
        outside("it says who made the object"),
        &[],
    ),
    Line(Annotation, WORKLOADS, "ambient.istio.io/redirection", READ, &["enabled", "disabled", "pending"]),
    Line(Annotation, GATEWAYS, "ambient.istio.io/waypoint-inbound-binding", READ, &[]),
    Line(Annotation, BOUND, "ambient.pilothouse.io/require-waypoint", READ, &[]),
    Line(
        Annotation,
        &[Kind::Gateway],
        "gateway.istio.io/controller-version gateway.istio.io/name-override gateway.istio.io/service-account \
         gateway.pilothouse.io/max-replicas gateway.pilothouse.io/min-available gateway.pilothouse.io/replicas \
         networking.istio.io/address-type networking.istio.io/service-type sidecar.istio.io/componentLogLevel \
         sidecar.istio.io/logLevel sidecar.istio.io/proxyImage",
        READ,
        &[],
    ),
    Line(Annotation, &[Kind::WorkloadEntry], "istio.io/autoRegistrationGroup", READ, &[]),
    Line(Annotation, &[Kind::ServiceEntry], "istio.io/connect-strategy", READ, &[]),
    Line(Annotation, &[Kind::AuthorizationPolicy], "istio.io/dry-run", READ, &[]),
    Line(Annotation, POLICIES, "istio.io/ignore-policy-attachment", READ, &[]),
    Line(Annotation, WITH_CANARY, "istio.io/use-waypoint-canary-weight", READ, &[]),
    Line(Annotation, WITH_CANARY, "networking.istio.io/traffic-distribution", READ, &[]),
    Line(Annotation, LIMITED, RequestLimit::ANNOTATION, READ, &[]),
    Line(
        Annotation,
        &[Kind::Pod],
        "ambient.istio.io/bypass-inbound-capture ambient.istio.io/dns-capture istio.io/reroute-virtual-interfaces",
        outside("it is for the CNI agent"),
        &[],
    ),
    Line(
        Annotation,
        &[Kind::WorkloadEntry],
        "istio.io/connectedAt istio.io/disconnectedAt istio.io/workloadController",
        outside("it is for the control plane at which a machine registers"),
        &[],
    ),
    Line(
        Annotation,
        ANY,
        "gateway.pilothouse.io/manifest pilothouse.io/rotate-root",
        outside("it is for the control plane itself"),
        &[],
    ),
    Line(Annotation, ANY, "galley.istio.io/analyze-suppress", outside("it is for istioctl analyze"), &[]),
    Line(
        Annotation,
        &[Kind::Service],
        "alpha.istio.io/canonical-serviceaccounts alpha.istio.io/kubernetes-serviceaccounts",
        unsupported("the accounts of a Service are those of its workloads"),
        &[],
    ),
    Line(
        Annotation,
        &[Kind::Service],
        "networking.istio.io/exportTo",
        FieldState::Unsupported {
            instead: "who sees the Service is not restricted by it: say who may call by an AuthorizationPolicy",
            unless: "*",
        },
        &[],
    ),
    Line(
        Annotation,
        &[Kind::Service],
        "traffic.istio.io/nodeSelector",
        unsupported("addresses of nodes are not sent: give the Service a load balancer"),
        &[],
    ),
    Line(
        Annotation,
        &[Kind::Namespace],
        "topology.istio.io/controlPlaneClusters",
        unsupported("this version has one cluster"),
        &[],
    ),
    Line(
        Annotation,
        ANY,
        "istio.io/rev prometheus.istio.io/merge-metrics sidecar.istio.io/inject sidecar.istio.io/status",
        outside("it is for who injects sidecars"),
        &[],
    ),
    Line(
        Annotation,
        ANY,
        "inject.istio.io/* proxy.istio.io/* readiness.status.sidecar.istio.io/* sidecar.istio.io/* \
         status.sidecar.istio.io/*",
        unsupported("there are no sidecars: it has no effect on a ztunnel"),
        &[],
    ),
    Line(
        Annotation,
        ANY,
        "traffic.sidecar.istio.io/*",
        unsupported(
            "a ztunnel takes all connections of a pod: leave out the pod by the label istio.io/dataplane-mode: none",
        ),
        &[],
    ),
];

/// Returns the table, in its order.
pub fn metadata_keys() -> impl Iterator<Item = MetadataKey> {
    TABLE.iter().flat_map(|Line(part, kinds, names, state, values)| {
        let key = |name| MetadataKey { part: *part, name, kinds, state: *state, values };
        names.split_ascii_whitespace().map(key)
    })
}

/// Tells whether a label or annotation belongs to a mesh.
pub fn is_of_mesh(name: &str) -> bool {
    let Some((domain, _)) = name.split_once('/') else { return false };
    DOMAINS
        .iter()
        .any(|of| domain.strip_suffix(of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// Tells whether a label or annotation belongs to a mesh, or to a domain that is nearly one of it.
pub fn may_be_of_mesh(name: &str) -> bool {
    let Some((domain, _)) = name.split_once('/') else { return false };
    is_of_mesh(name)
        || BY_NAME.domains.iter().any(|known| {
            known.len().abs_diff(domain.len()) <= MOST_WRONG
                && is_within(known.as_bytes(), domain.as_bytes(), MOST_WRONG)
        })
}

/// Tells whether at most `most` letters differ. Names that have little in common, as most have, cost a few steps.
fn is_within(a: &[u8], b: &[u8], most: usize) -> bool {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    match (&a[same..], &b[same..]) {
        (a, []) => a.len() <= most,
        ([], b) => b.len() <= most,
        ([_, later_a @ ..], [_, later_b @ ..]) => {
            most > 0
                && (is_within(later_a, later_b, most - 1)
                    || is_within(later_a, &b[same..], most - 1)
                    || is_within(&a[same..], later_b, most - 1))
        }
    }
}

/// Tells whether an object with this label is made of another: what stands in its metadata is then no author's.
pub fn is_made_by_controller(label: &str) -> bool {
    label == MANAGED
}

/// Tells whether an annotation is read of a kind.
pub fn reads_annotation(kind: Kind, name: &str) -> bool {
    is_of_mesh(name) && line(Some(kind), Annotation, name).is_some_and(|line| line.state == READ)
}

/// Returns why a label or annotation has no effect on an object of a kind; `None` if it has one, or belongs to others.
/// Without a kind, what a name means is judged by no kind.
pub fn doubt(kind: Option<Kind>, part: MetadataPart, name: &str, value: &str) -> Option<Doubt> {
    if !may_be_of_mesh(name) {
        return None;
    }
    if let Some(line) = line(kind, part, name) {
        return match line.state {
            FieldState::Unsupported { instead, unless } => {
                (!value.is_empty() && value != unless).then_some(Doubt::Unsupported { instead })
            }
            _ if line.name == RequestLimit::ANNOTATION => {
                value.parse::<RequestLimit>().err().map(Doubt::Form)
            }
            _ => (!line.values.is_empty() && !line.values.contains(&value))
                .then_some(Doubt::Value(line.values)),
        };
    }
    let known = || metadata_keys().filter(|line| line.is(name));
    if let Some(line) = known().find(|line| line.part == part) {
        return Some(Doubt::Elsewhere { kinds: line.kinds });
    }
    if let Some(line) = known().next() {
        return Some(Doubt::Misplaced(line.part));
    }
    let names = metadata_keys().map(|line| line.name).filter(|name| !name.ends_with('*'));
    let near = nearest_within(name, names, MOST_WRONG);
    (near.is_some() || is_of_mesh(name)).then_some(Doubt::Unknown { near })
}

/// The lines by name, and those of prefixes: most labels of most pods are looked up.
struct ByName {
    names: HashMap<&'static str, Vec<MetadataKey>>,
    prefixes: Vec<MetadataKey>,
    domains: BTreeSet<&'static str>,
}

static BY_NAME: LazyLock<ByName> = LazyLock::new(|| {
    let (mut names, mut prefixes) = (HashMap::<_, Vec<_>>::new(), Vec::new());
    for line in metadata_keys() {
        match line.name.ends_with('*') {
            true => prefixes.push(line),
            false => names.entry(line.name).or_default().push(line),
        }
    }
    let domains = metadata_keys().filter_map(|line| Some(line.name.split_once('/')?.0)).collect();
    ByName { names, prefixes, domains }
});

/// Returns the line of a key: one of its own name goes before one of its prefix.
fn line(kind: Option<Kind>, part: MetadataPart, name: &str) -> Option<&'static MetadataKey> {
    let is_it = |line: &&MetadataKey| {
        line.part == part
            && line.is(name)
            && (line.kinds.is_empty() || kind.is_none_or(|kind| line.kinds.contains(&kind)))
    };
    BY_NAME.names.get(name).into_iter().flatten().chain(&BY_NAME.prefixes).find(is_it)
}

impl MetadataKey {
    fn is(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.name == name,
        }
    }
}

impl MetadataPart {
    /// Returns the field of `metadata`.
    pub fn field(self) -> &'static str {
        match self {
            Self::Label => "labels",
            Self::Annotation => "annotations",
        }
    }
}

impl fmt::Display for MetadataPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => "label",
            Self::Annotation => "annotation",
        })
    }
}

impl Doubt {
    /// Tells whether something else was meant.
    pub fn is_mistake(&self) -> bool {
        !matches!(self, Self::Elsewhere { .. } | Self::Unknown { near: None })
    }

    /// Returns what is wrong with a label or annotation that has this value, as the end of a sentence.
    pub fn message(&self, value: &str) -> String {
        match self {
            Self::Unsupported { .. } => "is known and not read".to_owned(),
            Self::Elsewhere { kinds } => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                format!("has no effect here: it is read of {}", kinds.join(", "))
            }
            Self::Misplaced(part @ Label) => format!("is a {part}, and has no effect as an annotation"),
            Self::Misplaced(part @ Annotation) => format!("is an {part}, and has no effect as a label"),
            Self::Value(_) | Self::Form(_) => format!("cannot have the value {value:?}"),
            Self::Unknown { .. } => "is not known to the mesh, and has no effect".to_owned(),
        }
    }

    /// Returns what to do.
    pub fn help(&self, value: &str) -> String {
        match self {
            Self::Unsupported { instead } => (*instead).to_owned(),
            Self::Elsewhere { .. } => "take it away, or set it there".to_owned(),
            Self::Misplaced(part) => format!("write it below metadata.{}", part.field()),
            Self::Value(values) => {
                let plain = |value: &&&str| value.len() > 1 && !value.contains(char::is_uppercase);
                let plain: Vec<&str> = values.iter().filter(plain).copied().collect();
                nearest(value, plain.iter().copied())
                    .map_or_else(|| format!("use one of {}", plain.join(", ")), did_you_mean)
            }
            Self::Form(form) => format!("write {form}"),
            Self::Unknown { near: Some(near) } => did_you_mean(near),
            Self::Unknown { near: None } => "fix the name, or take it away".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_in_the_table_once_for_each_kind() {
        let all: Vec<MetadataKey> = metadata_keys().collect();
        for (n, one) in all.iter().enumerate() {
            assert!(is_of_mesh(one.name), "{}", one.name);
            for other in &all[n + 1..] {
                let same = one.part == other.part && one.name == other.name;
                let is_apart = !one.kinds.is_empty() && !other.kinds.is_empty();
                assert!(
                    !same || is_apart && one.kinds.iter().all(|kind| !other.kinds.contains(kind)),
                    "{} is there twice",
                    one.name
                );
            }
        }
    }

    #[test]
    fn what_has_no_effect_is_in_doubt() {
        let of = |part, name, value| doubt(Some(Kind::Service), part, name, value);
        let waypoint = "istio.io/use-waypoint";
        assert_eq!(of(Label, waypoint, "w"), None);
        assert_eq!(of(Annotation, waypoint, "w"), Some(Doubt::Misplaced(Label)));
        assert_eq!(of(Label, "istio.io/use-waypont", "w"), Some(Doubt::Unknown { near: Some(waypoint) }));
        assert_eq!(of(Label, "istio.io/colour", "w"), Some(Doubt::Unknown { near: None }));
        assert_eq!(of(Label, "example.org/colour", "w"), None);
        assert_eq!(of(Label, "notistio.io/colour", "w"), None);
        assert_eq!(of(Label, "isti.oo/use-waypoint", "w"), Some(Doubt::Unknown { near: Some(waypoint) }));
        assert_eq!(of(Label, "isti.oo/colour", "w"), None);
        assert_eq!(of(Label, "istio.io/ingress-use-waypoint", "yes"), Some(Doubt::Value(GO_BOOLEAN)));
        assert_eq!(of(Label, "istio.io/ingress-use-waypoint", "1"), None);
        let mode = of(Label, "istio.io/dataplane-mode", "ambient");
        assert_eq!(mode, Some(Doubt::Elsewhere { kinds: &[Kind::Namespace, Kind::Pod] }));
        let export = "networking.istio.io/exportTo";
        assert_eq!(of(Annotation, export, "*"), None);
        assert!(matches!(of(Annotation, export, "."), Some(Doubt::Unsupported { .. })));
        // On a Gateway it is read, on all else it is for sidecars.
        let image = "sidecar.istio.io/proxyImage";
        assert!(matches!(of(Annotation, image, "i"), Some(Doubt::Unsupported { .. })));
        assert_eq!(doubt(Some(Kind::Gateway), Annotation, image, "i"), None);
        assert!(reads_annotation(Kind::Gateway, image) && !reads_annotation(Kind::Pod, image));
    }
}
