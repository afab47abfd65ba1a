//! The command that writes the bootstrap of an Envoy, as manifests call it.
//!
//! Its flags have environment variables, so that the container needs no shell and takes what differs
//! between pods from the downward API. The command itself reads the same table.

/// A setting of `pilothouse bootstrap`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BootstrapSetting {
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
}

const fn setting(flag: &'static str, variable: &'static str) -> BootstrapSetting {
    BootstrapSetting { flag, variable }
}

/// The subcommand.
pub const COMMAND: &str = "bootstrap";
/// `waypoint` or `gateway`.
pub const KIND: BootstrapSetting = setting("kind", "PILOTHOUSE_PROXY_KIND");
/// The namespace of the pod, which is that of the gateway.
pub const NAMESPACE: BootstrapSetting = setting("namespace", "POD_NAMESPACE");
/// The name of the Gateway.
pub const GATEWAY: BootstrapSetting = setting("gateway", "PILOTHOUSE_GATEWAY");
/// The name of the pod.
pub const POD: BootstrapSetting = setting("pod", "POD_NAME");
/// The address of the pod.
pub const IP: BootstrapSetting = setting("ip", "INSTANCE_IP");
/// The service account of the pod.
pub const SERVICE_ACCOUNT: BootstrapSetting = setting("service-account", "SERVICE_ACCOUNT");
/// `HOST:PORT` of the control plane.
pub const XDS: BootstrapSetting = setting("xds", "PILOTHOUSE_PROXY_XDS");
/// The name that the certificate of the control plane has; that of the host without it.
pub const XDS_NAME: BootstrapSetting = setting("xds-name", "PILOTHOUSE_PROXY_XDS_NAME");
/// The file with the roots of the mesh.
pub const ROOT_CERT: BootstrapSetting = setting("root-cert", "PILOTHOUSE_PROXY_ROOT_CERT");
/// The file with the token of the pod.
pub const TOKEN_FILE: BootstrapSetting = setting("token-file", "PILOTHOUSE_PROXY_TOKEN_FILE");
/// The folder of the secrets that name both files; that of the bootstrap without it.
pub const SECRETS: BootstrapSetting = setting("secrets", "PILOTHOUSE_PROXY_SECRETS");
/// The file to write instead of standard output.
pub const FILE: BootstrapSetting = setting("file", "PILOTHOUSE_BOOTSTRAP_FILE");
