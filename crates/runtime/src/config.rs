//! Settings of the process: flags, each with an environment variable, read once.

use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where objects come from.
#[derive(Debug, Clone, Default, Args)]
pub struct SourceArgs {
    /// Folder (or file) of manifests to serve instead of a cluster; may be given several times
    #[arg(long = "from", value_name = "DIR", env = "PILOTHOUSE_FROM", value_delimiter = ':')]
    pub from: Vec<PathBuf>,
    /// Kubeconfig file; without one: the pod's service account, else kubectl's default ($KUBECONFIG, ~/.kube/config)
    // Not bound to $KUBECONFIG: that may be a list, and whoever has it set may still serve a folder.
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
    /// Domain of service hostnames
    #[arg(long, value_name = "DOMAIN", env = "PILOTHOUSE_DOMAIN", default_value = "cluster.local")]
    pub domain: String,
    /// Send policies with the dry-run annotation; ztunnels before 1.29 enforce them
    #[arg(long, env = "AMBIENT_ENABLE_DRY_RUN_AUTHORIZATION_POLICY")]
    pub dry_run_policies: bool,
    /// Let a waypoint's own accounts through to the workloads behind it, whatever their policies
    #[arg(long, env = "PILOT_AUTO_ALLOW_WAYPOINT_POLICY")]
    pub allow_waypoints: bool,
}

impl MeshArgs {
    /// Returns the options of the mesh.
    pub fn options(&self) -> mesh::Options {
        mesh::Options {
            cluster_id: self.cluster_id.clone(),
            system_namespace: self.system_namespace.clone(),
            revision: self.revision.clone(),
            domain_suffix: self.domain.clone(),
            dry_run_policies: self.dry_run_policies,
            allow_waypoints: self.allow_waypoints,
        }
    }
}

/// Settings of `pilothouse serve`. Everything binds loopback unless told otherwise.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub source: SourceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub mesh: MeshArgs,
    /// Folder for what must outlive the process when there is no cluster to keep it
    #[arg(long, value_name = "DIR", env = "PILOTHOUSE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Watch and serve, but never write to the cluster: to run beside another control plane
    #[arg(long, env = "PILOTHOUSE_SHADOW")]
    pub shadow: bool,
    /// Address of plaintext xDS
    #[arg(long, value_name = "ADDR", env = "PILOTHOUSE_XDS_ADDR", default_value = "127.0.0.1:15010")]
    pub xds_addr: SocketAddr,
    /// Address of /ready and /healthz
    #[arg(long, value_name = "ADDR", env = "PILOTHOUSE_HTTP_ADDR", default_value = "127.0.0.1:8080")]
    pub http_addr: SocketAddr,
    /// Address of /metrics, /debug and /version
    #[arg(long, value_name = "ADDR", env = "PILOTHOUSE_MONITORING_ADDR", default_value = "127.0.0.1:15014")]
    pub monitoring_addr: SocketAddr,
    /// Log lines as JSON objects
    #[arg(long, env = "PILOTHOUSE_LOG_JSON")]
    pub log_json: bool,
    /// Log level, or a filter such as `info,pilothouse_runtime=debug`
    #[arg(long, value_name = "FILTER", env = "PILOTHOUSE_LOG", default_value = "info")]
    pub log: String,
}
