//! Who may open a stream of configuration, as which proxy, and what it may subscribe to.

use crate::authorize::{Caller, NodeAuthorizer};
use crate::identity::Identity;
use crate::refusal::{Code, Refusal};
use std::net::IpAddr;

/// Longest node id, in bytes.
const MAX_NODE_ID_BYTES: usize = 1024;

/// The kinds of proxy, as the first part of a node id names them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ProxyKind {
    /// A node's L4 proxy.
    Ztunnel,
    /// An L7 proxy of a namespace or a service.
    Waypoint,
    /// A gateway at the edge.
    Router,
    /// A proxy beside its workload.
    Sidecar,
}

/// Type URLs of workloads and services, by which proxies also name their peers.
const WORKLOAD_TYPES: &str = "type.googleapis.com/istio.workload.";

/// Type URLs of policies.
const POLICY_TYPES: &str = "type.googleapis.com/istio.security.";

impl ProxyKind {
    /// Reads the first part of a node id.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ztunnel" => Self::Ztunnel,
            "waypoint" => Self::Waypoint,
            "router" => Self::Router,
            "sidecar" => Self::Sidecar,
            _ => return None,
        })
    }

    /// Tells whether a proxy of this kind may subscribe to a type: ztunnels to workloads and
    /// policies. Any account may say that it is one of the other kinds, and nothing is made for them:
    /// so they are given nothing, workloads least of all.
    pub fn may_subscribe(self, type_url: &str) -> bool {
        let types: &[&str] = match self {
            Self::Ztunnel => &[WORKLOAD_TYPES, POLICY_TYPES],
            Self::Waypoint | Self::Router | Self::Sidecar => &[],
        };
        types.iter().any(|prefix| type_url.starts_with(prefix))
    }

    /// Checks that a node of this id may subscribe to a type.
    ///
    /// # Errors
    /// [`StreamDenial`].
    pub fn check_subscription(node_id: &str, type_url: &str) -> Result<(), StreamDenial> {
        let name = node_id.split('~').next().unwrap_or_default();
        let kind = Self::from_name(name).ok_or(StreamDenial::Kind)?;
        if kind.may_subscribe(type_url) {
            return Ok(());
        }
        Err(StreamDenial::Subscription { kind: name.to_owned(), type_url: type_url.to_owned() })
    }
}

/// The node of a stream's first request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamNode {
    /// The kind of proxy.
    pub kind: ProxyKind,
    /// The namespace whose configuration it wants: metadata `NAMESPACE`, else the first label of the
    /// id's domain; may be empty.
    pub namespace: String,
    /// Metadata `SERVICE_ACCOUNT`; may be empty.
    pub service_account: String,
    /// Metadata `NODE_NAME`; may be empty.
    pub node_name: String,
    /// The third part of the id, `POD.NAMESPACE`.
    pub pod: String,
}

impl StreamNode {
    /// Reads `node.id`, four parts `kind~address~id~domain`, and what the metadata says.
    /// `addresses` is metadata `INSTANCE_IPS`, a comma list, or empty.
    ///
    /// # Errors
    /// [`StreamDenial`] for another shape, an unknown kind, or no valid address.
    pub fn parse(
        id: &str,
        namespace: &str,
        service_account: &str,
        node_name: &str,
        addresses: &str,
    ) -> Result<Self, StreamDenial> {
        if id.len() > MAX_NODE_ID_BYTES {
            return Err(StreamDenial::NodeId);
        }
        let mut parts = id.split('~');
        let (Some(kind), Some(address), Some(pod), Some(domain), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(StreamDenial::NodeId);
        };
        let kind = ProxyKind::from_name(kind).ok_or(StreamDenial::Kind)?;
        let valid = |text: &str| text.trim().parse::<IpAddr>().is_ok();
        let given = if addresses.is_empty() { address } else { addresses };
        if !given.split(',').any(valid) {
            return Err(StreamDenial::Address);
        }
        let from_domain = domain.split('.').next().unwrap_or_default();
        Ok(Self {
            kind,
            namespace: if namespace.is_empty() { from_domain } else { namespace }.to_owned(),
            service_account: service_account.to_owned(),
            node_name: node_name.to_owned(),
            pod: pod.to_owned(),
        })
    }
}

/// Why a stream is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamDenial {
    /// The node id has another shape.
    #[error("node id is missing or not of the form kind~address~id~domain")]
    NodeId,
    /// The node id names an unknown kind of proxy.
    #[error("node id has an unknown kind of proxy; ztunnel, waypoint, router and sidecar are known")]
    Kind,
    /// The node has no valid address.
    #[error("node has no valid address in its id or in INSTANCE_IPS")]
    Address,
    /// No identity of the caller has the namespace and account of the node.
    #[error(
        "no identity of the caller has namespace {namespace:?} and service account {service_account:?} of its node"
    )]
    Identity {
        /// The namespace that the node claims.
        namespace: String,
        /// The service account that the node claims.
        service_account: String,
    },
    /// The kind of proxy may not have resources of this type.
    #[error("a {kind} may not subscribe to {type_url}; ztunnels are served it, and no other proxies")]
    Subscription {
        /// The kind, as the node id names it.
        kind: String,
        /// The type that was asked for.
        type_url: String,
    },
    /// The caller is not trusted to be a ztunnel.
    #[error("caller {0} is not a trusted node account and cannot be a ztunnel")]
    NotZtunnel(String),
    /// The kind of proxy is neither a gateway's nor a waypoint's.
    #[error("a {0} is not served what Envoys of gateways and waypoints are")]
    NotEnvoy(String),
    /// The caller has shown nothing that is bound to a pod.
    #[error(
        "caller {0} has shown no token that is bound to a pod; an Envoy of a gateway or waypoint shows that of \
         its own pod"
    )]
    NoPod(String),
    /// The caller's pod is no instance of a gateway.
    #[error(
        "pod {0} of the caller is no instance of a gateway or waypoint: it has no label \
         gateway.networking.k8s.io/gateway-name"
    )]
    NoGateway(String),
    /// The node claims another gateway than the caller's pod is an instance of.
    #[error("pod of the caller is an instance of the gateway {actual:?}, not of {claimed:?}")]
    OtherGateway {
        /// The gateway of the caller's pod.
        actual: String,
        /// The gateway that was claimed.
        claimed: String,
    },
    /// The node claims to be another pod than the caller's.
    #[error("token of the caller is of pod {actual:?}, not of {claimed:?} as its node id says")]
    OtherPod {
        /// The caller's pod, `POD.NAMESPACE`.
        actual: String,
        /// The pod that was claimed.
        claimed: String,
    },
    /// The caller's credential does not tell which node it is on.
    #[error(
        "caller {0} is a ztunnel whose credential proves no node; show a token that is bound to a scheduled pod \
         (without a cluster: pilothouse token --node)"
    )]
    NodeUnproven(String),
    /// The node claims another node than the caller's pod is on.
    #[error("caller is on node {actual}, not on {claimed}")]
    OtherNode {
        /// The node where the caller's pod is.
        actual: String,
        /// The node that was claimed.
        claimed: String,
    },
}

impl Refusal for StreamDenial {
    fn code(&self) -> Code {
        match self {
            Self::NodeId | Self::Kind | Self::Address => Code::InvalidArgument,
            _ => Code::PermissionDenied,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NodeId => "node_id",
            Self::Kind => "node_kind",
            Self::Address => "node_address",
            Self::Identity { .. } => "node_identity",
            Self::Subscription { .. } => "subscription",
            Self::NotZtunnel(_) => "not_ztunnel",
            Self::NotEnvoy(_) => "not_envoy",
            Self::NoPod(_) => "no_pod",
            Self::NoGateway(_) => "no_gateway",
            Self::OtherGateway { .. } => "other_gateway",
            Self::OtherPod { .. } => "other_pod",
            Self::NodeUnproven(_) => "node_unproven",
            Self::OtherNode { .. } => "other_node",
        }
    }
}

/// Which checks of a stream are on.
#[derive(Clone, Copy, Debug)]
pub struct StreamPolicy<'a> {
    /// Whether the node must match an identity (`PILOT_ENABLE_XDS_IDENTITY_CHECK`).
    pub check_identity: bool,
    /// Whose accounts may be ztunnels; nothing lets any account be one.
    pub ztunnels: Option<&'a NodeAuthorizer>,
}

/// Decides whether a caller with `identities` may open a stream as `node`, and returns the identity
/// that it is served as.
///
/// `pod_node` is the node of the caller's pod, where its credential tells one. No ztunnel is served
/// without: what it may name as its node would be anybody's. The trust domain is not compared: it was,
/// when the credential was verified.
///
/// # Errors
/// [`StreamDenial`].
pub fn authorize_stream(
    identities: &[Identity],
    pod_node: Option<&str>,
    node: &StreamNode,
    policy: &StreamPolicy<'_>,
) -> Result<Option<Identity>, StreamDenial> {
    let matches = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
    let verified = identities.iter().find(|identity| {
        matches(&node.namespace, identity.namespace())
            && matches(&node.service_account, identity.service_account())
    });
    if verified.is_none() && policy.check_identity {
        return Err(StreamDenial::Identity {
            namespace: node.namespace.clone(),
            service_account: node.service_account.clone(),
        });
    }
    if node.kind == ProxyKind::Ztunnel {
        if let Some(authorizer) = policy.ztunnels {
            let trusted = verified.is_some_and(|i| authorizer.trusts(i.namespace(), i.service_account()));
            if !trusted {
                let caller = verified.map_or_else(String::new, Identity::to_string);
                return Err(StreamDenial::NotZtunnel(caller));
            }
        }
        let Some(actual) = pod_node.filter(|actual| !actual.is_empty()) else {
            let caller = verified.map_or_else(String::new, Identity::to_string);
            return Err(StreamDenial::NodeUnproven(caller));
        };
        if !matches(&node.node_name, actual) {
            return Err(StreamDenial::OtherNode {
                actual: actual.to_owned(),
                claimed: node.node_name.clone(),
            });
        }
    }
    Ok(verified.cloned())
}

/// Decides of which gateway the caller is an Envoy: of the one that its pod is an instance of, which is
/// `gateway`. What the node says decides nothing. It may name the pod and the gateway (`claimed`; empty when it
/// names none), and has to name the right ones: who says otherwise is not who it believes to be.
///
/// That the pod lives, and with the account of the token, was checked when the stream was opened.
///
/// # Errors
/// [`StreamDenial`].
pub fn authorize_gateway<'g>(
    caller: &Caller,
    gateway: Option<&'g str>,
    node: &StreamNode,
    claimed: &str,
) -> Result<&'g str, StreamDenial> {
    if let ProxyKind::Ztunnel | ProxyKind::Sidecar = node.kind {
        return Err(StreamDenial::NotEnvoy(format!("{:?}", node.kind).to_lowercase()));
    }
    let Some(pod) = &caller.pod else {
        return Err(StreamDenial::NoPod(format!("{}/{}", caller.namespace, caller.service_account)));
    };
    let own = format!("{}.{}", pod.name, caller.namespace);
    if node.pod != own {
        return Err(StreamDenial::OtherPod { actual: own, claimed: node.pod.clone() });
    }
    let Some(gateway) = gateway.filter(|gateway| !gateway.is_empty()) else {
        return Err(StreamDenial::NoGateway(format!("{}/{}", caller.namespace, pod.name)));
    };
    if !claimed.is_empty() && claimed != gateway {
        return Err(StreamDenial::OtherGateway { actual: gateway.to_owned(), claimed: claimed.to_owned() });
    }
    Ok(gateway)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::token::BoundObject;
    use model::TrustDomain;

    const ZTUNNEL: &str = "ztunnel~10.0.0.1~ztunnel-a.istio-system~istio-system.svc.cluster.local";

    fn identity(namespace: &str, account: &str) -> Identity {
        Identity::new(&TrustDomain::parse("td").unwrap(), namespace, account).unwrap()
    }

    fn node(id: &str) -> StreamNode {
        StreamNode::parse(id, "", "", "", "").unwrap()
    }

    fn authorizer() -> NodeAuthorizer {
        NodeAuthorizer::new("istio-system/ztunnel", [TrustDomain::parse("td").unwrap()]).unwrap()
    }

    #[test]
    fn namespace_comes_from_metadata_then_from_the_domain() {
        assert_eq!(node(ZTUNNEL).namespace, "istio-system");
        assert_eq!(StreamNode::parse(ZTUNNEL, "other", "", "", "").unwrap().namespace, "other");
    }

    #[test]
    fn malformed_node_ids_are_refused() {
        let parse = |id: &str, ips: &str| StreamNode::parse(id, "", "", "", ips).unwrap_err();
        for id in ["", "ztunnel", "a~b~c", "ztunnel~10.0.0.1~a~b~c", &"x".repeat(2000)] {
            assert_eq!(parse(id, ""), StreamDenial::NodeId);
        }
        assert_eq!(parse("agent~10.0.0.1~a~b", ""), StreamDenial::Kind);
        assert_eq!(parse("ztunnel~~a~b", ""), StreamDenial::Address);
        assert_eq!(parse("ztunnel~10.0.0.1~a~b", "nonsense"), StreamDenial::Address);
        assert_eq!(parse("ztunnel~x~a~b", "").code(), Code::InvalidArgument);
        assert!(StreamNode::parse("ztunnel~~a~b", "", "", "", "nonsense, fd00::1").is_ok());
    }

    #[test]
    fn node_must_match_an_identity() {
        let policy = StreamPolicy { check_identity: true, ztunnels: None };
        let identities = [identity("shop", "a"), identity("shop", "b")];
        let waypoint = |namespace: &str, account: &str| {
            StreamNode::parse("waypoint~10.0.0.1~w~x.svc", namespace, account, "", "").unwrap()
        };
        let verified = authorize_stream(&identities, None, &waypoint("shop", "b"), &policy).unwrap();
        assert_eq!(verified, Some(identity("shop", "b")));
        for other in [waypoint("", ""), waypoint("other", ""), waypoint("shop", "c")] {
            let denied = authorize_stream(&identities, None, &other, &policy).unwrap_err();
            assert_eq!((denied.code(), denied.reason()), (Code::PermissionDenied, "node_identity"));
        }
        let unchecked = StreamPolicy { check_identity: false, ztunnels: None };
        assert_eq!(authorize_stream(&[], None, &waypoint("other", ""), &unchecked), Ok(None));
    }

    #[test]
    fn only_trusted_accounts_are_ztunnels() {
        let authorizer = authorizer();
        let policy = StreamPolicy { check_identity: true, ztunnels: Some(&authorizer) };
        let own = [identity("istio-system", "ztunnel")];
        assert!(authorize_stream(&own, Some("n1"), &node(ZTUNNEL), &policy).is_ok());
        let other = [identity("istio-system", "other")];
        let denied = authorize_stream(&other, Some("n1"), &node(ZTUNNEL), &policy);
        assert!(matches!(denied, Err(StreamDenial::NotZtunnel(_))));
    }

    #[test]
    fn ztunnel_cannot_claim_another_node() {
        let authorizer = authorizer();
        let policy = StreamPolicy { check_identity: true, ztunnels: Some(&authorizer) };
        let claimed = StreamNode::parse(ZTUNNEL, "", "", "n2", "").unwrap();
        let own = [identity("istio-system", "ztunnel")];
        assert!(authorize_stream(&own, Some("n2"), &claimed, &policy).is_ok());
        let denied = authorize_stream(&own, Some("n1"), &claimed, &policy);
        assert!(matches!(denied, Err(StreamDenial::OtherNode { .. })));
        for unproven in [None, Some("")] {
            for claimed in [&claimed, &node(ZTUNNEL)] {
                let denied = authorize_stream(&own, unproven, claimed, &policy).unwrap_err();
                assert_eq!((denied.code(), denied.reason()), (Code::PermissionDenied, "node_unproven"));
            }
        }
    }

    #[test]
    fn the_pod_of_the_token_decides_which_gateway_an_envoy_is_of() {
        let pod = |name: &str| Some(BoundObject { name: name.to_owned(), uid: "u".to_owned() });
        let caller = |pod| Caller {
            namespace: "shop".to_owned(),
            service_account: "front".to_owned(),
            pod,
            node: None,
        };
        let (own, none) = (caller(pod("front-1")), caller(None));
        let waypoint = node("waypoint~10.0.0.1~front-1.shop~shop.svc.cluster.local");
        let decide = |caller, gateway, node: &StreamNode, claimed| {
            authorize_gateway(caller, gateway, node, claimed).map_err(|denial| denial.reason())
        };
        assert_eq!(decide(&own, Some("front"), &waypoint, ""), Ok("front"));
        assert_eq!(decide(&own, Some("front"), &waypoint, "front"), Ok("front"));
        assert_eq!(decide(&own, Some("front"), &waypoint, "back"), Err("other_gateway"));
        assert_eq!(decide(&own, None, &waypoint, "front"), Err("no_gateway"));
        assert_eq!(decide(&own, Some(""), &waypoint, ""), Err("no_gateway"));
        assert_eq!(decide(&none, Some("front"), &waypoint, "front"), Err("no_pod"));
        for (id, reason) in [
            ("router~10.0.0.1~front-2.shop~shop.svc", "other_pod"),
            ("waypoint~10.0.0.1~front-1.bank~shop.svc", "other_pod"),
            ("ztunnel~10.0.0.1~front-1.shop~shop.svc", "not_envoy"),
            ("sidecar~10.0.0.1~front-1.shop~shop.svc", "not_envoy"),
        ] {
            assert_eq!(decide(&own, Some("front"), &node(id), ""), Err(reason), "{id}");
        }
    }

    #[test]
    fn kind_decides_what_may_be_subscribed_to() {
        let address = "type.googleapis.com/istio.workload.Address";
        let cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
        let policy = "type.googleapis.com/istio.security.Authorization";
        assert!(ProxyKind::Ztunnel.may_subscribe(address) && ProxyKind::Ztunnel.may_subscribe(policy));
        assert!(!ProxyKind::Ztunnel.may_subscribe(cluster));
        for other in [ProxyKind::Waypoint, ProxyKind::Router, ProxyKind::Sidecar] {
            for type_url in [address, policy, cluster, "example.com/secret"] {
                assert!(!other.may_subscribe(type_url), "{other:?} {type_url}");
            }
        }
        let denied = ProxyKind::check_subscription("sidecar~10.0.0.1~a~b", address).unwrap_err();
        assert_eq!((denied.code(), denied.reason()), (Code::PermissionDenied, "subscription"));
        assert_eq!(ProxyKind::check_subscription("", address), Err(StreamDenial::Kind));
    }
}
