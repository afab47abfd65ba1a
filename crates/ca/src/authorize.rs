//! Who may ask for a certificate of somebody else: a node's proxy, for pods on its own node.

use crate::identity::{Identity, IdentityError};
use crate::pods::{Pods, RunningPod};
use crate::refusal::{Code, Refusal};
use crate::token::{BoundObject, ServiceAccountToken};
use model::TrustDomain;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// A setting of trusted accounts that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("trusted node account {0:?} is not of the form namespace/serviceaccount")]
pub struct TrustedAccountsError(String);

/// Why a request for another identity is refused. The client is told none of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denial {
    /// No account is trusted to impersonate.
    #[error("impersonation is disabled; set CA_TRUSTED_NODE_ACCOUNTS to enable it")]
    Disabled,
    /// The caller did not present a token that is bound to a pod.
    #[error("caller {caller} has no bound pod; impersonation needs a token bound to a pod")]
    Unbound {
        /// Namespace and account of the caller.
        caller: String,
    },
    /// The caller's account is not on the list.
    #[error("caller {caller} is not a trusted node account")]
    CallerNotTrusted {
        /// Namespace and account of the caller.
        caller: String,
    },
    /// The requested identity cannot be read.
    #[error("requested {0}")]
    Identity(#[from] IdentityError),
    /// The requested identity belongs to another mesh.
    #[error("requested trust domain {0} is not one of this mesh")]
    TrustDomain(String),
    /// The caller's pod is not known in its cluster.
    #[error("pod {pod} of the caller is not known")]
    PodUnknown {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// The caller's pod has gone, and another has its name.
    #[error("pod {pod} of the caller has another UID than the token")]
    PodReplaced {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// The caller's pod has been deleted, and is still there a minute after its time.
    #[error("pod {pod} of the caller is gone: a minute has passed since its deletionTimestamp")]
    PodDeleted {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// The caller's pod runs under another account.
    #[error("pod {pod} of the caller has another service account than the token")]
    PodAccount {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// The caller's pod is on no node as far as is known, though its token names one.
    #[error("pod {pod} of the caller is not known to be on the node that the token says")]
    PodUnplaced {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// The caller's pod is on another node than its token says.
    #[error("pod {pod} of the caller is on another node than the token says")]
    PodNode {
        /// Namespace and name of the pod.
        pod: String,
    },
    /// Nothing runs any more as the account of a certificate.
    #[error("neither a pod nor a WorkloadEntry has the account {account} of the caller's certificate")]
    AccountGone {
        /// Namespace and account of the caller.
        account: String,
    },
    /// The account of a certificate is one of pods, which have tokens.
    #[error(
        "a certificate alone renews accounts of WorkloadEntries, and {account} is one of pods; show a token, or let certificates of pods renew themselves (--renewal-by-certificate=all)"
    )]
    AccountOfPods {
        /// Namespace and account of the caller.
        account: String,
    },
    /// No pod with the requested account is on the caller's node.
    #[error("no pod of {requested} runs on node {node} of the caller")]
    NotOnNode {
        /// The requested identity.
        requested: String,
        /// The node of the caller's pod.
        node: String,
    },
}

impl Denial {
    /// Tells whether the same request may succeed once news of pods have arrived: a request commonly
    /// races the event that its pod is on the node. A token is only given to a pod that has one, and one of
    /// another UID may be that of a pod which follows the known one under its name.
    pub fn may_pass_soon(&self) -> bool {
        matches!(
            self,
            Self::PodUnknown { .. }
                | Self::PodReplaced { .. }
                | Self::PodUnplaced { .. }
                | Self::NotOnNode { .. }
        )
    }
}

impl Refusal for Denial {
    fn code(&self) -> Code {
        // Not PermissionDenied: clients know this code from the service that this one replaces.
        Code::Unauthenticated
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Disabled => "impersonation_disabled",
            Self::Unbound { .. } => "caller_unbound",
            Self::CallerNotTrusted { .. } => "caller_not_trusted",
            Self::Identity(_) => "identity_invalid",
            Self::TrustDomain(_) => "trust_domain",
            Self::PodUnknown { .. } => "pod_unknown",
            Self::PodReplaced { .. } => "pod_replaced",
            Self::PodDeleted { .. } => "pod_deleted",
            Self::PodAccount { .. } => "pod_account",
            Self::PodUnplaced { .. } => "pod_unplaced",
            Self::PodNode { .. } => "pod_node",
            Self::AccountGone { .. } => "account_gone",
            Self::AccountOfPods { .. } => "account_of_pods",
            Self::NotOnNode { .. } => "not_on_node",
        }
    }
}

/// Whose certificate is enough to get the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CertificateRenewal {
    /// That of accounts which a WorkloadEntry names: what is outside of the cluster may have nothing else.
    #[default]
    WorkloadEntries,
    /// That of accounts which pods have, too.
    All,
}

impl FromStr for CertificateRenewal {
    type Err = String;

    /// Reads `workload-entries` or `all`.
    ///
    /// # Errors
    /// What to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "workload-entries" => Ok(Self::WorkloadEntries),
            "all" => Ok(Self::All),
            _ => Err("write workload-entries or all".to_owned()),
        }
    }
}

/// A caller as its credential describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The namespace of its service account.
    pub namespace: String,
    /// Its service account.
    pub service_account: String,
    /// The pod that its token is bound to; nothing for other credentials.
    pub pod: Option<BoundObject>,
    /// The node that its token names.
    pub node: Option<String>,
}

impl From<&ServiceAccountToken> for Caller {
    fn from(token: &ServiceAccountToken) -> Self {
        Self {
            namespace: token.namespace.clone(),
            service_account: token.service_account.clone(),
            pod: token.pod.clone(),
            node: token.node.as_ref().map(|node| node.name.clone()),
        }
    }
}

impl Caller {
    fn account(&self) -> String {
        format!("{}/{}", self.namespace, self.service_account)
    }

    /// Checks that something runs as the caller's account, where a certificate is all that it shows: one
    /// that was taken along must not give itself successors for ever.
    ///
    /// # Errors
    /// [`Denial::AccountGone`], [`Denial::AccountOfPods`].
    pub fn live_account(&self, pods: &dyn Pods, renewal: CertificateRenewal) -> Result<(), Denial> {
        if pods.has_outside(&self.namespace, &self.service_account) {
            return Ok(());
        }
        match (pods.has_pod(&self.namespace, &self.service_account), renewal) {
            (true, CertificateRenewal::All) => Ok(()),
            (true, CertificateRenewal::WorkloadEntries) => {
                Err(Denial::AccountOfPods { account: self.account() })
            }
            (false, _) => Err(Denial::AccountGone { account: self.account() }),
        }
    }

    /// Checks that the pod of the caller's token lives, as the token says, and returns it. Also for
    /// streams that are open, whenever pods change.
    ///
    /// # Errors
    /// [`Denial`]: no bound pod, an unknown or another pod, another account or node.
    pub fn live_pod<'p>(&self, pods: &'p dyn Pods) -> Result<RunningPod<'p>, Denial> {
        let bound = self.pod.as_ref().ok_or_else(|| Denial::Unbound { caller: self.account() })?;
        let name = || format!("{}/{}", self.namespace, bound.name);
        let pod = pods.pod(&self.namespace, &bound.name).ok_or_else(|| Denial::PodUnknown { pod: name() })?;
        if bound.uid.is_empty() || pod.uid != bound.uid.as_str() {
            return Err(Denial::PodReplaced { pod: name() });
        }
        if pod.is_gone {
            return Err(Denial::PodDeleted { pod: name() });
        }
        if pod.service_account != self.service_account {
            return Err(Denial::PodAccount { pod: name() });
        }
        // The token's node is told by newer API servers only.
        match self.node.as_deref() {
            Some(node) if node == pod.node => Ok(pod),
            Some(_) if pod.node.is_empty() => Err(Denial::PodUnplaced { pod: name() }),
            Some(_) => Err(Denial::PodNode { pod: name() }),
            None => Ok(pod),
        }
    }
}

/// The rule by which a proxy of a node gets certificates for the pods of that node.
#[derive(Clone, Debug, Default)]
pub struct NodeAuthorizer {
    /// Service accounts by namespace.
    trusted: BTreeMap<String, BTreeSet<String>>,
    trust_domains: BTreeSet<TrustDomain>,
}

impl NodeAuthorizer {
    /// Builds the rule from the setting `CA_TRUSTED_NODE_ACCOUNTS`, a comma list of
    /// `namespace/serviceaccount`, and the trust domains of this mesh. Empty entries are passed
    /// over; an empty list disables impersonation.
    ///
    /// # Errors
    /// [`TrustedAccountsError`] for the first entry of another form.
    pub fn new(
        trusted_accounts: &str,
        trust_domains: impl IntoIterator<Item = TrustDomain>,
    ) -> Result<Self, TrustedAccountsError> {
        let mut trusted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for entry in trusted_accounts.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry.split_once('/') {
                Some((namespace, account))
                    if !namespace.is_empty() && !account.is_empty() && !account.contains('/') =>
                {
                    trusted.entry(namespace.to_owned()).or_default().insert(account.to_owned());
                }
                _ => return Err(TrustedAccountsError(entry.to_owned())),
            }
        }
        Ok(Self { trusted, trust_domains: trust_domains.into_iter().collect() })
    }

    /// Tells whether an account is trusted to act for the pods of its node.
    pub fn trusts(&self, namespace: &str, service_account: &str) -> bool {
        self.trusted.get(namespace).is_some_and(|accounts| accounts.contains(service_account))
    }

    /// Decides whether `caller` may have a certificate for `requested`, a SPIFFE id, given the pods
    /// of the caller's cluster, and returns the identity that it is for.
    ///
    /// # Errors
    /// [`Denial`]; the first check that fails, in the order of its variants.
    pub fn authorize(&self, caller: &Caller, requested: &str, pods: &dyn Pods) -> Result<Identity, Denial> {
        if self.trusted.is_empty() {
            return Err(Denial::Disabled);
        }
        if caller.pod.is_none() {
            return Err(Denial::Unbound { caller: caller.account() });
        }
        if !self.trusts(&caller.namespace, &caller.service_account) {
            return Err(Denial::CallerNotTrusted { caller: caller.account() });
        }
        let identity = Identity::parse(requested)?;
        if !self.trust_domains.contains(identity.trust_domain()) {
            return Err(Denial::TrustDomain(identity.trust_domain().to_string()));
        }
        let pod = caller.live_pod(pods)?;
        if !pods.runs_on(pod.node, identity.namespace(), identity.service_account()) {
            return Err(Denial::NotOnNode { requested: identity.to_string(), node: pod.node.to_owned() });
        }
        Ok(identity)
    }
}

#[cfg(test)]
mod tests;
