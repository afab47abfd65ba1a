//! Settings of identity.

use crate::clock::Clock;
use ::ca::CertificateRenewal;
use ::ca::token::IssuerRules;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Below which signing keys an intermediate of this process signs, if they are RSA and peers accept one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SigningIntermediate {
    /// Below none.
    Never,
    /// Below self-signed roots, which a control plane has made for its mesh.
    #[default]
    SelfSigned,
    /// Below plugged-in keys too.
    Always,
}

impl SigningIntermediate {
    /// Returns whether one signs below a self-signed root.
    pub(crate) fn is_self_signed(self) -> bool {
        self != Self::Never
    }

    /// Returns whether one signs below plugged-in key material.
    pub(crate) fn is_plugged_in(self) -> bool {
        self == Self::Always
    }
}

impl FromStr for SigningIntermediate {
    type Err = String;

    /// Reads `never`, `self-signed` or `always`.
    ///
    /// # Errors
    /// What to write instead.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "self-signed" => Ok(Self::SelfSigned),
            "always" => Ok(Self::Always),
            _ => Err("write never, self-signed or always".to_owned()),
        }
    }
}

/// Settings of [`Identity`](crate::Identity). Error messages name the flags that set these values.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The name of this cluster, which clients send as `clusterid`.
    pub cluster_id: String,
    /// The namespace of the control plane.
    pub system_namespace: String,
    /// The revision that is served; empty for all revisions.
    pub revision: String,
    /// The domain of service hostnames.
    pub domain: String,
    /// The name of this replica, which is the name of its pod.
    pub replica: String,
    /// Never write to the cluster.
    pub shadow: bool,
    /// Maximum number of open streams per client.
    pub streams_per_client: usize,
    /// Accepted audiences of tokens.
    pub token_audiences: Vec<String>,
    /// Review every token with the API server instead of verifying it with the published keys.
    pub always_review_tokens: bool,
    /// Additional issuers of tokens.
    pub jwt_rules: IssuerRules,
    /// Roots of the servers that publish their keys: PEM, or the path of a PEM file; `None` for the system roots.
    pub jwt_roots: Option<String>,
    /// Accounts (`namespace/serviceaccount,…`) that may request certificates for the pods on their node;
    /// `None` for `ztunnel` in the system namespace.
    pub trusted_node_accounts: Option<String>,
    /// Folder of plugged-in key material (`cacerts`).
    pub ca_dir: Option<PathBuf>,
    /// Default lifetime of a certificate.
    pub default_cert_ttl: Duration,
    /// Maximum lifetime of a certificate.
    pub max_cert_ttl: Duration,
    /// Maximum lifetime of a certificate that a proxy requests for a pod of its node; `None` for the default lifetime.
    pub max_impersonated_cert_ttl: Option<Duration>,
    /// Whose certificates renew themselves.
    pub certificate_renewal: CertificateRenewal,
    /// Lifetime of a self-signed root.
    pub root_ttl: Duration,
    /// How long the old and the new root are both trusted during a rotation; `None` for the default lifetime
    /// of certificates.
    pub root_overlap: Option<Duration>,
    /// Below which RSA keys an intermediate of this process signs.
    pub signing_intermediate: SigningIntermediate,
    /// Allow the roots of plugged-in key material to change, if one set contains the other.
    pub allow_multiple_roots: bool,
    /// The ConfigMap in which the roots are published, to detect those of an existing mesh; empty for none.
    pub root_config_map: String,
    /// Whether the roots are published in a ClusterTrustBundle.
    pub trust_bundle: bool,
    /// Read revocation lists of plugged-in key material.
    pub revocation_lists: bool,
    /// The kind of external authority; empty to sign with a key of this control plane.
    pub external_ca: String,
    /// The name of the external signer.
    pub external_signer: String,
    /// The domain of the signers that clients may choose from; empty to disallow the choice.
    pub external_signer_domain: String,
    /// The file with the roots of external signers.
    pub external_root: Option<PathBuf>,
    /// How long an external signer may take to issue a certificate.
    pub external_signer_timeout: Duration,
    /// Maximum number of pending requests to external signers.
    pub external_signer_requests: usize,
    /// Additional names of the serving certificate.
    pub serving_names: Vec<String>,
    /// Sustained rate of certificates per client and second.
    pub certificates_per_second: u32,
}
