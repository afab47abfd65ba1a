use super::PolicySelector;
use schemars::JsonSchema;

/// Who may reach the workloads that are selected, and who may not.
///
/// Denials go first. Where no policy allows anything, all that is not denied is allowed; where one
/// does, only what some policy allows.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "[has(self.selector), has(self.targetRef), has(self.targetRefs)].filter(given, given).size() <= 1",
        "message": "give at most one of selector, targetRef and targetRefs"
    }
]))]
pub struct AuthorizationPolicySpec {
    /// The workloads concerned. Without it, all of the namespace; in the root namespace, all of the
    /// mesh.
    pub selector: Option<PolicySelector>,
    /// Like `targetRefs`, for one target.
    pub target_ref: Option<PolicyTargetReference>,
    /// The gateways and services whose waypoints enforce the policy; ztunnels do not.
    #[schemars(length(max = 16))]
    pub target_refs: Option<Vec<PolicyTargetReference>>,
    /// What happens to a request that a rule matches; `ALLOW` if not given.
    pub action: Option<PolicyAction>,
    /// Who decides, for the action `CUSTOM`.
    pub provider: Option<AuthorizationPolicyProvider>,
    /// The rules, of which one is enough. Without any, nothing matches.
    #[schemars(length(max = 512))]
    pub rules: Option<Vec<AuthorizationPolicyRule>>,
}

/// What happens to a request that a rule matches.
#[derive(JsonSchema, Clone, Copy, PartialEq, Eq, Debug)]
#[schemars(rename_all = "UPPERCASE")]
pub enum PolicyAction {
    /// it passes
    Allow,
    /// it is refused
    Deny,
    /// it is marked for the audit log (waypoints only)
    Audit,
    /// the provider decides (waypoints only)
    Custom,
}

/// An extension that decides.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationPolicyProvider {
    /// The name in the mesh settings.
    pub name: Option<String>,
}

/// A resource that a policy is attached to.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct PolicyTargetReference {
    /// The API group; empty for the core group.
    #[schemars(
        length(max = 253),
        regex(pattern = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub group: Option<String>,
    /// The kind.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$"))]
    pub kind: String,
    /// The name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The namespace: that of the policy, so it is left out.
    #[schemars(extend("x-kubernetes-validations" = [
        {"rule": "self == ''", "message": "a policy reaches no target in another namespace: leave the namespace out"}
    ]))]
    pub namespace: Option<String>,
}

/// A rule matches a request that one of `from`, one of `to` and all of `when` match; what is not
/// given matches any.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationPolicyRule {
    /// Where the request comes from.
    #[schemars(length(max = 512))]
    pub from: Option<Vec<AuthorizationPolicyFrom>>,
    /// What it asks for.
    pub to: Option<Vec<AuthorizationPolicyTo>>,
    /// Further conditions.
    pub when: Option<Vec<AuthorizationPolicyCondition>>,
}

/// An entry of `from`.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationPolicyFrom {
    /// The source.
    pub source: Option<AuthorizationPolicySource>,
}

/// An entry of `to`.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
pub struct AuthorizationPolicyTo {
    /// The operation.
    pub operation: Option<AuthorizationPolicyOperation>,
}

/// Where a request comes from: every field that is given must match. In a field, one value is enough;
/// of a field that begins with `not`, none may match. Values may begin or end with `*`.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase", extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))",
        "message": "service accounts cannot be combined with principals or namespaces in one source"
    }
]))]
pub struct AuthorizationPolicySource {
    /// Identities of peers, such as `cluster.local/ns/shop/sa/web`.
    pub principals: Option<Vec<String>>,
    /// Not these identities.
    pub not_principals: Option<Vec<String>>,
    /// Identities from request tokens, as issuer/subject (waypoints only).
    pub request_principals: Option<Vec<String>>,
    /// Not these identities from request tokens (waypoints only).
    pub not_request_principals: Option<Vec<String>>,
    /// Namespaces of peers.
    pub namespaces: Option<Vec<String>>,
    /// Not these namespaces.
    pub not_namespaces: Option<Vec<String>>,
    /// Service accounts of peers: `account` of the policy's namespace, or `namespace/account`.
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub service_accounts: Option<Vec<String>>,
    /// Not these service accounts.
    #[schemars(length(max = 16), inner(length(max = 320)))]
    pub not_service_accounts: Option<Vec<String>>,
    /// Trust domains of peers.
    pub trust_domains: Option<Vec<String>>,
    /// Not these trust domains.
    pub not_trust_domains: Option<Vec<String>>,
    /// Addresses or networks of the peer.
    pub ip_blocks: Option<Vec<String>>,
    /// Not these addresses or networks.
    pub not_ip_blocks: Option<Vec<String>>,
    /// Addresses or networks of the client as a proxy before the peer tells it (waypoints only).
    pub remote_ip_blocks: Option<Vec<String>>,
    /// Not these addresses or networks of the client (waypoints only).
    pub not_remote_ip_blocks: Option<Vec<String>>,
}

/// What a request asks for: every field that is given must match. In a field, one value is enough; of
/// a field that begins with `not`, none may match.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug, Default)]
#[schemars(rename_all = "camelCase")]
pub struct AuthorizationPolicyOperation {
    /// Host names (waypoints only).
    pub hosts: Option<Vec<String>>,
    /// Not these host names (waypoints only).
    pub not_hosts: Option<Vec<String>>,
    /// Ports of the workload, as text.
    pub ports: Option<Vec<String>>,
    /// Not these ports.
    pub not_ports: Option<Vec<String>>,
    /// HTTP methods (waypoints only).
    pub methods: Option<Vec<String>>,
    /// Not these HTTP methods (waypoints only).
    pub not_methods: Option<Vec<String>>,
    /// HTTP paths (waypoints only).
    pub paths: Option<Vec<String>>,
    /// Not these HTTP paths (waypoints only).
    pub not_paths: Option<Vec<String>>,
}

/// A condition on one attribute of a request.
#[derive(JsonSchema, Clone, PartialEq, Eq, Debug)]
#[schemars(rename_all = "camelCase")]
pub struct AuthorizationPolicyCondition {
    /// The attribute, such as `source.ip` or `destination.port`.
    pub key: String,
    /// Values of which one must match.
    pub values: Option<Vec<String>>,
    /// Values of which none may match.
    pub not_values: Option<Vec<String>>,
}
