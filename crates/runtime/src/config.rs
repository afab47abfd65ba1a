//! Settings of the process: flags, each with an environment variable, read once.

use ca::token::IssuerRules;
use clap::Args;
use identity::SystemClock;
use ipnet::IpNet;
use server::{Bounds, Timeouts};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where objects come from.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Folder (or file) of manifests to serve instead of a cluster; may be given several times
    #[arg(long = "from", value_name = "DIR", env = "PILOTHOUSE_FROM", value_delimiter = ':')]
    pub from: Vec<PathBuf>,
    /// Kubeconfig file; without one: the pod's service account, else kubectl's default ($KUBECONFIG, ~/.kube/config)
    // Not bound to $KUBECONFIG: that may be a list, and a user who has it set may still serve a folder.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", env = "PILOTHOUSE_CONTEXT", conflicts_with = "from")]
    pub context: Option<String>,
}

/// What kind of mesh is made of them.
#[derive(Debug, Clone, Args)]
pub struct MeshArgs {
    /// Name of this cluster, part of every workload's uid
    #[arg(long, value_name = "ID", env = "CLUSTER_ID", default_value = "Kubernetes")]
    pub cluster_id: String,
    /// Namespace of the control plane, which holds the mesh settings
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "istio-system")]
    pub system_namespace: String,
    /// Revision to serve; empty serves every revision
    #[arg(long, value_name = "NAME", env = "REVISION", default_value = "")]
    pub revision: String,
    /// Write statuses of Gateway API objects that name no revision, nor their namespace; default: only without --revision
    #[arg(long, value_name = "BOOL", env = "PILOTHOUSE_OWNS_UNLABELLED", value_parser = clap::builder::BoolishValueParser::new())]
    pub owns_unlabelled: Option<bool>,
    /// Domain of service hostnames
    #[arg(long, value_name = "DOMAIN", env = "PILOTHOUSE_DOMAIN", default_value = "cluster.local")]
    pub domain: String,
    /// Send policies with the dry-run annotation; ztunnels before 1.29 enforce them
    #[arg(long, env = "AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY")]
    pub dry_run_policies: bool,
    /// Let a waypoint's own accounts through to the workloads behind it, whatever their policies
    #[arg(long, env = "PILOT_AUTO_ALLOW_WAYPOINT_POLICY")]
    pub allow_waypoints: bool,
    /// Refuse what did not come through its waypoint, where no annotation says otherwise
    #[arg(long, env = "PILOTHOUSE_REQUIRE_WAYPOINT")]
    pub require_waypoints: bool,
    /// Which endpoints clients prefer where neither a service nor its namespace chooses: PreferSameZone or PreferSameNode
    #[arg(long, value_name = "VALUE", env = "PILOTHOUSE_TRAFFIC_DISTRIBUTION")]
    pub traffic_distribution: Option<mesh::TrafficDistribution>,
    /// Give addresses to hosts of ServiceEntries that have none, and send them
    #[arg(long, value_name = "BOOL", env = "PILOT_ENABLE_IP_AUTOALLOCATE", default_value = "true",
        action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub allocate_addresses: bool,
    /// The IPv4 addresses to give; what an entry has already it keeps
    #[arg(
        long,
        value_name = "RANGE",
        env = "PILOT_IP_AUTOALLOCATE_IPV4_PREFIX",
        default_value = "240.240.0.0/16"
    )]
    pub ipv4_pool: mesh::Ipv4Pool,
    /// The IPv6 addresses to give
    #[arg(
        long,
        value_name = "RANGE",
        env = "PILOT_IP_AUTOALLOCATE_IPV6_PREFIX",
        default_value = "2001:2::/48"
    )]
    pub ipv6_pool: mesh::Ipv6Pool,
    /// Let ServiceEntries select pods
    #[arg(long, value_name = "BOOL", env = "PILOT_ENABLE_SERVICEENTRY_SELECT_PODS", default_value = "true",
        action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub entries_select_pods: bool,
    /// Let Services select WorkloadEntries
    #[arg(long, value_name = "BOOL", env = "PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES", default_value = "true",
        action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub services_select_entries: bool,
    /// Configure waypoints and gateways of our classes: their Envoys are sent services and routes, and get certificates; default: unless --shadow
    #[arg(long, value_name = "BOOL", env = "PILOTHOUSE_CONFIGURE_WAYPOINTS", value_parser = clap::builder::BoolishValueParser::new())]
    pub configure_waypoints: Option<bool>,
    /// Deploy proxies for Gateways of our classes; default: for those that are configured, and of folders, where that is played, for all
    #[arg(long, value_name = "BOOL", env = "PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER", value_parser = clap::builder::BoolishValueParser::new())]
    pub deploy_gateways: Option<bool>,
    /// Image of the upstream Envoy that they run; a Gateway chooses another by the annotation sidecar.istio.io/proxyImage
    #[arg(long, value_name = "IMAGE", env = "PILOTHOUSE_ENVOY_IMAGE", default_value_t = mesh::ProxyOptions::default().envoy_image)]
    pub envoy_image: String,
    /// Image of Pilothouse, which writes what Envoy is started with
    #[arg(long, value_name = "IMAGE", env = "PILOTHOUSE_IMAGE", default_value_t = mesh::ProxyOptions::default().pilothouse_image)]
    pub pilothouse_image: String,
    /// Reach workloads of other networks through the gateways of those networks only, and only by Services with scope GLOBAL
    #[arg(long, env = "AMBIENT_ENABLE_MULTI_NETWORK")]
    pub multi_network: bool,
    /// Namespaces whose Gateways may declare gateways of other networks, besides the system namespace; `*` for all
    #[arg(long, value_name = "NAMES", env = "PILOTHOUSE_NETWORK_GATEWAY_NAMESPACES", value_delimiter = ',')]
    pub network_gateway_namespaces: Vec<String>,
    /// How many combinations of labels an Envoy counts by: beyond, nothing new is counted
    #[arg(long, value_name = "NUMBER", env = "PILOTHOUSE_METRIC_LABEL_SETS", default_value_t = 20_000)]
    pub metric_label_sets: u32,
}

impl MeshArgs {
    /// Returns the addresses to give to hosts that have none.
    pub fn pools(&self) -> mesh::Pools {
        mesh::Pools { v4: self.ipv4_pool, v6: self.ipv6_pool }
    }

    /// Tells whether waypoints are configured, unless beside another control plane.
    fn configures_waypoints(&self) -> bool {
        self.configure_waypoints.unwrap_or(true)
    }

    /// Tells whether proxies are deployed for gateways, of folders or of a cluster.
    pub fn deploys_gateways(&self, of_folders: bool) -> bool {
        self.deploy_gateways.unwrap_or(of_folders || self.configures_waypoints())
    }

    /// Returns the options of a mesh of folders, or of a cluster.
    pub fn options(&self, of_folders: bool) -> mesh::Options {
        mesh::Options {
            cluster_id: self.cluster_id.clone(),
            system_namespace: self.system_namespace.clone(),
            revision: self.revision.clone(),
            owns_unlabelled: self.owns_unlabelled,
            domain_suffix: self.domain.clone(),
            dry_run_policies: self.dry_run_policies,
            allow_waypoints: self.allow_waypoints,
            require_waypoints: self.require_waypoints,
            traffic_distribution: self.traffic_distribution,
            allocates_addresses: self.allocate_addresses,
            entries_select_pods: self.entries_select_pods,
            services_select_entries: self.services_select_entries,
            multi_network: self.multi_network,
            network_gateway_namespaces: self.network_gateway_namespaces.clone(),
            gateway_api: true,
            configures_waypoints: self.configures_waypoints(),
            is_one_machine: of_folders,
            metric_label_sets: self.metric_label_sets,
            proxies: self.deploys_gateways(of_folders).then(|| mesh::ProxyOptions {
                envoy_image: self.envoy_image.clone(),
                pilothouse_image: self.pilothouse_image.clone(),
                configured_only: self.deploy_gateways.is_none() && !of_folders,
                ..mesh::ProxyOptions::default()
            }),
        }
    }
}

/// Certificates, tokens and the secure port.
#[derive(Debug, Clone, Args)]
pub struct IdentityArgs {
    /// Accepted audiences of tokens
    #[arg(
        long,
        value_name = "NAMES",
        env = "TOKEN_AUDIENCES",
        default_value = "istio-ca",
        value_delimiter = ','
    )]
    pub token_audiences: Vec<String>,
    /// Review every token with the API server instead of verifying it with the published keys
    #[arg(long, env = "PILOTHOUSE_ALWAYS_REVIEW_TOKENS")]
    pub always_review_tokens: bool,
    /// Additional issuers of tokens, as JSON: `{"issuer","jwks_uri","audiences"}`, or a list of these
    #[arg(long, value_name = "JSON", env = "JWT_RULE", default_value = "", value_parser = IssuerRules::parse,
        hide_default_value = true)]
    pub jwt_rules: IssuerRules,
    /// Roots of the servers that --jwt-rules names: PEM, or the path of a PEM file; default: the system roots
    #[arg(long, value_name = "PEM", env = "PILOTHOUSE_JWT_ROOTS")]
    pub jwt_roots: Option<String>,
    /// Accounts (`namespace/serviceaccount,…`) that may request certificates for the pods on their node; default: `ztunnel` in the system namespace
    #[arg(long, value_name = "ACCOUNTS", env = "CA_TRUSTED_NODE_ACCOUNTS")]
    pub trusted_node_accounts: Option<String>,
    /// Folder of plugged-in key material (`cacerts`); Secrets are used without it, or if it is empty
    #[arg(long, value_name = "DIR", env = "ROOT_CA_DIR")]
    pub ca_dir: Option<PathBuf>,
    /// Default lifetime of a certificate
    #[arg(
        long,
        value_name = "TIME",
        env = "DEFAULT_WORKLOAD_CERT_TTL",
        default_value = "24h",
        value_parser = duration
    )]
    pub default_cert_ttl: Duration,
    /// Maximum lifetime of a certificate; requests for more are refused
    #[arg(
        long,
        value_name = "TIME",
        env = "MAX_WORKLOAD_CERT_TTL",
        default_value = "2160h",
        value_parser = duration
    )]
    pub max_cert_ttl: Duration,
    /// Maximum lifetime of a certificate that a ztunnel requests for a pod of its node; requests for more get this one; default: the default lifetime of a certificate
    #[arg(long, value_name = "TIME", env = "PILOTHOUSE_MAX_IMPERSONATED_CERT_TTL", value_parser = at_least_a_second)]
    pub max_impersonated_cert_ttl: Option<Duration>,
    /// For which accounts a client certificate alone is enough to get the next one: `workload-entries`, those that a WorkloadEntry names, or `all`, those of pods too
    #[arg(
        long,
        value_name = "ACCOUNTS",
        env = "PILOTHOUSE_RENEWAL_BY_CERTIFICATE",
        default_value = "workload-entries"
    )]
    pub renewal_by_certificate: ca::CertificateRenewal,
    /// Lifetime of a self-signed root
    #[arg(
        long,
        value_name = "TIME",
        env = "CITADEL_SELF_SIGNED_CA_CERT_TTL",
        default_value = "87600h",
        value_parser = duration
    )]
    pub root_ttl: Duration,
    /// How long both roots are trusted before and after the new one signs: at least the longest lifetime of certificates in use; default and minimum: the default lifetime of a certificate
    #[arg(long, value_name = "TIME", env = "PILOTHOUSE_ROOT_OVERLAP", value_parser = duration)]
    pub root_overlap: Option<Duration>,
    /// Where to sign with a P-256 intermediate of this process instead of a slower RSA key: `never`, below `self-signed` roots as istiod makes them, or `always`, below plugged-in keys too
    #[arg(
        long,
        value_name = "WHERE",
        env = "PILOTHOUSE_SIGNING_INTERMEDIATE",
        default_value = "self-signed"
    )]
    pub signing_intermediate: identity::SigningIntermediate,
    /// Allow the roots of plugged-in key material to change, if one set contains the other
    #[arg(long, env = "ISTIO_MULTIROOT_MESH")]
    pub allow_multiple_roots: bool,
    /// ConfigMap with the roots in every namespace; empty to write none
    #[arg(long, value_name = "NAME", env = "PILOT_CA_CERT_CONFIGMAP", default_value = "istio-ca-root-cert")]
    pub root_config_map: String,
    /// Publish the roots in the ClusterTrustBundle `istio.io:istiod-ca:root-cert` instead of ConfigMaps, if the cluster serves it
    #[arg(long, env = "ENABLE_CLUSTER_TRUST_BUNDLE_API")]
    pub trust_bundle: bool,
    /// Read the revocation lists (`ca-crl.pem`) of plugged-in key material: refuse the client certificates on them, and publish them
    #[arg(long, value_name = "BOOL", env = "PILOT_ENABLE_CA_CRL", default_value = "true",
        action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub revocation_lists: bool,
    /// ConfigMap with the revocation lists in every namespace, also while there are none; empty to write none
    #[arg(long, value_name = "NAME", env = "PILOT_CRL_CONFIGMAP", default_value = "istio-ca-crl")]
    pub crl_config_map: String,
    /// External authority that signs: `ISTIOD_RA_KUBERNETES_API` for CertificateSigningRequests to --external-signer; empty to sign with the key of this control plane
    #[arg(long, value_name = "KIND", env = "EXTERNAL_CA", default_value = "")]
    pub external_ca: String,
    /// Name of the external signer, as in `clusterissuers.cert-manager.io/mesh`
    #[arg(long, value_name = "NAME", env = "K8S_SIGNER", default_value = "")]
    pub external_signer: String,
    /// Domain of the signers that a proxy may choose from (`CertSigner`); empty to disallow the choice
    #[arg(long, value_name = "DOMAIN", env = "CERT_SIGNER_DOMAIN", default_value = "")]
    pub external_signer_domain: String,
    /// File with the roots of external signers; default: `caCertificates` of the mesh settings, else the root of the chain that the signer returns
    #[arg(long, value_name = "FILE", env = "PILOTHOUSE_EXTERNAL_ROOT")]
    pub external_root: Option<PathBuf>,
    /// How long an external signer may take to issue a certificate
    #[arg(
        long,
        value_name = "TIME",
        env = "PILOTHOUSE_EXTERNAL_SIGNER_TIMEOUT",
        default_value = "60s",
        value_parser = at_least_a_second
    )]
    pub external_signer_timeout: Duration,
    /// Maximum number of pending requests to external signers; one client may have a quarter of them
    #[arg(
        long,
        value_name = "NUMBER",
        env = "PILOTHOUSE_EXTERNAL_SIGNER_REQUESTS",
        default_value = "256",
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub external_signer_requests: u16,
    /// Additional names of the serving certificate
    #[arg(long, value_name = "NAMES", env = "ISTIOD_CUSTOM_HOST", value_delimiter = ',')]
    pub serving_names: Vec<String>,
    /// Sustained rate of certificates per client and second
    #[arg(long, value_name = "NUMBER", env = "PILOTHOUSE_CERTIFICATES_PER_SECOND", default_value = "500")]
    pub certificates_per_second: u32,
}

/// Where keys of issuers are fetched that RequestAuthentications name.
#[derive(Debug, Clone, Args)]
pub struct KeyArgs {
    /// After which time keys of issuers that RequestAuthentications name are fetched again, a tenth sooner or later
    #[arg(
        long,
        value_name = "TIME",
        env = "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL",
        default_value = "20m",
        value_parser = at_least_a_second
    )]
    pub jwks_refresh_interval: Duration,
    /// Networks besides public addresses from which such keys may be fetched, as in `10.96.0.0/12,fd00::/8`: whoever may write a RequestAuthentication chooses where in them
    #[arg(long, value_name = "NETWORKS", env = "PILOTHOUSE_JWKS_NETWORKS", value_delimiter = ',')]
    pub jwks_networks: Vec<IpNet>,
    /// File with the roots that the servers of such keys are verified with, instead of those of the system
    #[arg(long, value_name = "FILE", env = "PILOTHOUSE_JWKS_ROOTS")]
    pub jwks_roots: Option<String>,
}

/// What API servers ask before an object is written.
#[derive(Debug, Clone, Args)]
pub struct WebhookArgs {
    /// Keep ValidatingWebhookConfigurations that are labelled with this revision: their roots, and that they fail closed once the webhook works. Any text but none, as istiod has it
    #[arg(
        long,
        value_name = "NAME",
        env = "VALIDATION_WEBHOOK_CONFIG_NAME",
        default_value = "istio-validator"
    )]
    pub validation_webhooks: String,
    /// Let pods start without a sidecar where a webhook asks to inject one; they are refused otherwise, since none is injected
    #[arg(long, env = "PILOTHOUSE_ADMIT_WITHOUT_SIDECAR")]
    pub admit_without_sidecar: bool,
}

/// What one client may take before it is refused.
#[derive(Debug, Clone, Args)]
pub struct BoundArgs {
    /// Connections of one client (a pod, or a certificate) at once on the secure port: its newest ones stay
    #[arg(long, value_name = "NUMBER", env = "PILOTHOUSE_CONNECTIONS_PER_CLIENT", default_value = "32",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_per_client: u32,
    /// Connections of one address at once on the plaintext port; more where many clients are behind one translated address
    #[arg(long, value_name = "NUMBER", env = "PILOTHOUSE_CONNECTIONS_PER_ADDRESS", default_value = "1024",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub connections_per_address: u32,
    /// TLS handshakes of one address at once, and its connections on which nobody has shown a good credential yet
    #[arg(long, value_name = "NUMBER", env = "PILOTHOUSE_HANDSHAKES_PER_ADDRESS", default_value = "256",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub handshakes_per_address: u32,
    /// Streams that one client (a pod, or a certificate) has open at once
    #[arg(long, value_name = "NUMBER", env = "PILOTHOUSE_STREAMS_PER_CLIENT", default_value = "32",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub streams_per_client: u32,
    /// How long a client may leave a piece of a response unread before its connection is ended
    #[arg(long, value_name = "TIME", env = "PILOTHOUSE_READ_DEADLINE", default_value = "30s",
        value_parser = some_time)]
    pub read_deadline: Duration,
    /// How old a connection becomes, a tenth more or less, so that clients come to be spread over the replicas; 0 for any age
    #[arg(long, value_name = "TIME", env = "PILOTHOUSE_CONNECTION_AGE", default_value = "30m",
        value_parser = duration)]
    pub connection_age: Duration,
}

impl BoundArgs {
    /// Returns the bounds of the ports.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            connections_of_client: self.connections_per_client as usize,
            connections_of_address: self.connections_per_address as usize,
            handshakes_of_address: self.handshakes_per_address as usize,
            ..Bounds::default()
        }
    }

    /// Returns how long clients are waited for.
    pub fn timeouts(&self) -> Timeouts {
        let age = Some(self.connection_age).filter(|age| !age.is_zero());
        Timeouts { read: self.read_deadline, age, ..Timeouts::default() }
    }
}

/// Reads a length of time that is not zero.
fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("write a length of time above zero, such as 30s".to_owned()),
        time => Ok(time),
    }
}

/// Reads a length of time as Go writes it: `24h`, `1h30m`, `45s`, `500ms`.
///
/// # Errors
/// A message for another form, or more than a `Duration` holds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no length of time; write one such as 24h, 1h30m or 45s");
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let unit = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(unit);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let part = match unit {
            "h" => number.checked_mul(3600).map(Duration::from_secs),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "s" => Some(Duration::from_secs(number)),
            "ms" => Some(Duration::from_millis(number)),
            _ => None,
        };
        sum = part.and_then(|part| sum.checked_add(part)).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}

/// Reads a length of time of a second or more.
///
/// # Errors
/// As [`duration`], and a message for a shorter one.
pub fn at_least_a_second(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is shorter than 1s");
    duration(text).and_then(|read| Some(read).filter(|read| read.as_secs() > 0).ok_or_else(wrong))
}

/// Who may see debug pages from elsewhere than this machine.
#[derive(Debug, Clone, Args)]
pub struct DebugArgs {
    /// Namespaces whose accounts see every debug page, besides the root namespace of the mesh; others see their own proxies
    #[arg(long, value_name = "LIST", env = "DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES", value_delimiter = ',')]
    pub debug_namespaces: Vec<String>,
    /// Serve debug pages on the monitoring port; off, they are on the secure port alone
    #[arg(long, value_name = "BOOL", env = "ENABLE_DEBUG_ON_HTTP", default_value = "true",
        action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new())]
    pub debug_on_http: bool,
}

/// Settings of `pilothouse serve`. Everything binds loopback unless set otherwise.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten, next_help_heading = "Where the mesh comes from")]
    #[allow(missing_docs)]
    pub source: SourceArgs,
    #[command(flatten, next_help_heading = "The mesh")]
    #[allow(missing_docs)]
    pub mesh: MeshArgs,
    #[command(flatten, next_help_heading = "Certificates and tokens")]
    #[allow(missing_docs)]
    pub identity: IdentityArgs,
    #[command(flatten, next_help_heading = "Tokens of requests")]
    #[allow(missing_docs)]
    pub keys: KeyArgs,
    #[command(flatten, next_help_heading = "Webhooks")]
    #[allow(missing_docs)]
    pub webhooks: WebhookArgs,
    #[command(flatten, next_help_heading = "Bounds of one client")]
    #[allow(missing_docs)]
    pub bounds: BoundArgs,
    #[command(flatten, next_help_heading = "Debug pages")]
    #[allow(missing_docs)]
    pub debug: DebugArgs,
    /// Folder for what must outlive the process when there is no cluster to keep it
    #[arg(long, help_heading = "Certificates and tokens", value_name = "DIR", env = "PILOTHOUSE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Watch and serve, but never write to the cluster: to run beside another control plane
    #[arg(long, help_heading = "This process", env = "PILOTHOUSE_SHADOW")]
    pub shadow: bool,
    /// Name of this replica, unlike that of any other; without one: the name of the machine and the process
    #[arg(long, help_heading = "This process", value_name = "NAME", env = "POD_NAME")]
    pub replica_name: Option<String>,
    /// Address of plaintext xDS
    #[arg(long, help_heading = "Addresses", value_name = "ADDR", env = "PILOTHOUSE_XDS_ADDR", default_value = "127.0.0.1:15010", value_parser = address)]
    pub xds_addr: SocketAddr,
    /// Address of xDS and certificates over TLS; without a cluster only with --state-dir
    #[arg(
        long,
        help_heading = "Addresses",
        value_name = "ADDR",
        env = "PILOTHOUSE_SECURE_ADDR",
        default_value = "127.0.0.1:15012",
        value_parser = address
    )]
    pub secure_addr: SocketAddr,
    /// Address of /ready and /healthz
    #[arg(long, help_heading = "Addresses", value_name = "ADDR", env = "PILOTHOUSE_HTTP_ADDR", default_value = "127.0.0.1:8080", value_parser = address)]
    pub http_addr: SocketAddr,
    /// Address of the validation webhook, over TLS; in a cluster only
    #[arg(long, help_heading = "Addresses", value_name = "ADDR", env = "PILOTHOUSE_WEBHOOK_ADDR", default_value = "127.0.0.1:15017", value_parser = address)]
    pub webhook_addr: SocketAddr,
    /// Address of /metrics, /debug and /version
    #[arg(long, help_heading = "Addresses", value_name = "ADDR", env = "PILOTHOUSE_MONITORING_ADDR", default_value = "127.0.0.1:15014", value_parser = address)]
    pub monitoring_addr: SocketAddr,
    /// Log lines as JSON objects
    #[arg(long, help_heading = "Log", env = "PILOTHOUSE_LOG_JSON")]
    pub log_json: bool,
    /// Log level, or a filter such as `info,pilothouse_server=debug`
    #[arg(long, help_heading = "Log", value_name = "FILTER", env = "PILOTHOUSE_LOG", default_value = "info")]
    pub log: String,
}

impl ServeArgs {
    /// Returns the name of this replica among those that write to the cluster.
    pub fn replica(&self) -> String {
        self.replica_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| {
            let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let lot = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), ()) as u16;
            format!("{}-{}-{lot:04x}", machine.trim(), std::process::id())
        })
    }
}

impl ServeArgs {
    /// Returns the options of the mesh.
    pub fn mesh_options(&self) -> mesh::Options {
        let mut options = self.mesh.options(!self.source.from.is_empty());
        // Beside another control plane its waypoints are that one's, unless they are wished for.
        options.configures_waypoints &= !self.shadow || self.mesh.configure_waypoints.is_some();
        if let Some(proxies) = &mut options.proxies
            && !self.identity.root_config_map.is_empty()
        {
            proxies.root_config_map.clone_from(&self.identity.root_config_map);
        }
        options
    }

    /// Returns the settings of identity.
    pub fn identity_settings(&self) -> identity::Settings {
        let (mesh, of) = (&self.mesh, &self.identity);
        identity::Settings {
            clock: Arc::new(SystemClock::default()),
            cluster_id: mesh.cluster_id.clone(),
            system_namespace: mesh.system_namespace.clone(),
            revision: mesh.revision.clone(),
            domain: mesh.domain.clone(),
            replica: self.replica(),
            shadow: self.shadow,
            streams_per_client: self.bounds.streams_per_client as usize,
            token_audiences: of.token_audiences.clone(),
            always_review_tokens: of.always_review_tokens,
            jwt_rules: of.jwt_rules.clone(),
            jwt_roots: of.jwt_roots.clone(),
            trusted_node_accounts: of.trusted_node_accounts.clone(),
            ca_dir: of.ca_dir.clone(),
            default_cert_ttl: of.default_cert_ttl,
            max_cert_ttl: of.max_cert_ttl,
            max_impersonated_cert_ttl: of.max_impersonated_cert_ttl,
            certificate_renewal: of.renewal_by_certificate,
            root_ttl: of.root_ttl,
            root_overlap: of.root_overlap,
            signing_intermediate: of.signing_intermediate,
            allow_multiple_roots: of.allow_multiple_roots,
            root_config_map: of.root_config_map.clone(),
            trust_bundle: of.trust_bundle,
            revocation_lists: of.revocation_lists,
            external_ca: of.external_ca.clone(),
            external_signer: of.external_signer.clone(),
            external_signer_domain: of.external_signer_domain.clone(),
            external_root: of.external_root.clone(),
            external_signer_timeout: of.external_signer_timeout,
            external_signer_requests: usize::from(of.external_signer_requests),
            serving_names: of.serving_names.clone(),
            certificates_per_second: of.certificates_per_second,
        }
    }
}

/// Reads `IP:port`, `localhost:port`, or a port alone, which is one of this machine only.
fn address(text: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = local.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    text.parse().map_err(|_| "write IP:port, such as 127.0.0.1:15010 or [::]:15010".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_addresses_that_is_none_is_refused_by_the_name_of_its_flag() {
        let read = |args: &[&str]| {
            let command = ServeArgs::augment_args(clap::Command::new("serve"));
            let matches = command.try_get_matches_from([&["serve"], args].concat());
            matches.map_err(|error| error.to_string()).and_then(|matches| {
                let args = <ServeArgs as clap::FromArgMatches>::from_arg_matches(&matches);
                args.map(|args| args.mesh.pools()).map_err(|error| error.to_string())
            })
        };
        assert_eq!(read(&[]), Ok(mesh::Pools::default()));
        let v4 = "10.9.0.0/24".parse();
        assert_eq!(read(&["--ipv4-pool", "10.9.0.0/24"]).map(|pools| pools.v4), v4);
        for (flag, text, help) in [
            ("--ipv4-pool", "ten", "write one such as 240.240.0.0/16"),
            ("--ipv4-pool", "10.9.0.1/24", "write 10.9.0.0/24"),
            ("--ipv6-pool", "fd00::/120", "from 16 to 96"),
        ] {
            let error = read(&[flag, text]).err().unwrap_or_default();
            assert!(error.contains(flag) && error.contains(help), "{error}");
        }
    }

    #[test]
    fn lengths_of_time_are_read_as_go_writes_them() {
        let read = |text| duration(text).ok();
        assert_eq!(read("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(read("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(read("2s500ms"), Some(Duration::from_millis(2500)));
        for wrong in ["", "24", "h", "1d", "-1h", "1.5h", "99999999999999999999h", "18446744073709551615h"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
