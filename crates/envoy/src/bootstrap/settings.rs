//! What differs between Envoys.

use std::net::IpAddr;

/// The file of the secret that names the token, beside the bootstrap.
pub const TOKEN_SECRET: &str = "xds-token.json";
/// The file of the secret that names the roots, beside the bootstrap.
pub const ROOT_SECRET: &str = "xds-root.json";

/// What an Envoy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyKind {
    /// A waypoint, or a gateway between networks.
    Waypoint,
    /// A gateway at the edge of the mesh.
    Gateway,
}

/// What differs between Envoys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bootstrap {
    /// What it is.
    pub kind: ProxyKind,
    /// The namespace of the pod, which is that of the gateway.
    pub namespace: String,
    /// The name of the Gateway.
    pub gateway: String,
    /// The name of the pod.
    pub pod: String,
    /// The address of the pod.
    pub ip: IpAddr,
    /// The service account of the pod.
    pub service_account: String,
    /// The host of the control plane, a name or an address.
    pub xds_host: String,
    /// The port of secure xDS there.
    pub xds_port: u16,
    /// The name that the certificate of the control plane has.
    pub xds_name: String,
    /// The file with the roots of the mesh.
    pub root_cert: String,
    /// The file with the token of the pod.
    pub token_file: String,
    /// The folder of [`TOKEN_SECRET`] and [`ROOT_SECRET`].
    pub secrets: String,
}
