//! Settings of identity, as the process has read them.

use ::ca::token::IssuerRules;
use std::path::PathBuf;
use std::time::Duration;

/// What identity is to do. Names in error messages are those of the flags that set these values.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this cluster, which clients send as `clusterid`.
    pub cluster_id: String,
    /// The namespace of the control plane.
    pub system_namespace: String,
    /// The revision that is served; empty for every one.
    pub revision: String,
    /// The domain of service hostnames.
    pub domain: String,
    /// The name of this replica: that of its pod.
    pub replica: String,
    /// Never write to the cluster.
    pub shadow: bool,
    /// How many streams one client may have open.
    pub streams_per_client: usize,
    /// Audiences of the tokens that are accepted.
    pub token_audiences: Vec<String>,
    /// Ask the API server about every token instead of verifying it by the published keys.
    pub always_review_tokens: bool,
    /// Further issuers of tokens.
    pub jwt_rules: IssuerRules,
    /// Roots of the servers of their keys: PEM, or a file of it; without it, those of the system.
    pub jwt_roots: Option<String>,
    /// Accounts (`namespace/serviceaccount,…`) that get certificates for the pods of their node; without
    /// it: the `ztunnel` of the system namespace.
    pub trusted_node_accounts: Option<String>,
    /// Folder of plugged-in key material (`cacerts`).
    pub ca_dir: Option<PathBuf>,
    /// Life of a certificate that asks for none.
    pub default_cert_ttl: Duration,
    /// Longest life of a certificate.
    pub max_cert_ttl: Duration,
    /// Life of a self-signed root.
    pub root_ttl: Duration,
    /// How long old and new roots are trusted together; without it: the life of a certificate that asks
    /// for none.
    pub root_overlap: Option<Duration>,
    /// Let the roots of plugged-in key material change, where one set contains the other.
    pub several_roots: bool,
    /// The ConfigMap in which the roots are published, to find those of an existing mesh; empty for none.
    pub root_config_map: String,
    /// Whether the roots are published in a ClusterTrustBundle.
    pub trust_bundle: bool,
    /// Read revocation lists beside plugged-in key material.
    pub revocation_lists: bool,
    /// The kind of external authority; empty where our own key signs.
    pub external_ca: String,
    /// The name of the external signer.
    pub external_signer: String,
    /// The domain of the signers that a proxy may choose from; empty lets none choose.
    pub external_signer_domain: String,
    /// The file with the roots of external signers.
    pub external_root: Option<PathBuf>,
    /// How long an external signer may take for a certificate.
    pub external_signer_timeout: Duration,
    /// How many requests external signers may have at a time.
    pub external_signer_requests: usize,
    /// Further names of the serving certificate.
    pub serving_names: Vec<String>,
    /// How many certificates a second one client may ask for in the long run.
    pub certificates_per_second: u32,
}
