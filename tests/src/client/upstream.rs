//! Where a ztunnel takes a connection to, by what it holds.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use proto::workload::gateway_address::Destination;
use proto::workload::{GatewayAddress, Service, TunnelProtocol, Workload};

use super::state::State;

/// The port on which HBONE is taken.
pub const HBONE_PORT: u16 = 15008;

/// What is dialled for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// An address, in plain text.
    Direct(SocketAddr),
    /// An address that takes HBONE.
    Tunnel {
        /// The address.
        to: SocketAddr,
        /// What is asked for there, as `address:port`.
        authority: String,
        /// The identities of which the peer must show one; empty: any.
        identities: Vec<String>,
    },
}

/// Why a connection is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// The service has no such port.
    Port(String),
    /// No endpoint of the service is healthy.
    Endpoints(String),
    /// The waypoint that it goes through is not there.
    Waypoint(String),
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(service) => write!(f, "{service} has no such port"),
            Self::Endpoints(service) => write!(f, "{service} has no healthy endpoint"),
            Self::Waypoint(of) => write!(f, "the waypoint of {of} is not there"),
        }
    }
}

/// The identity of a workload, as its certificate has it.
pub fn identity_of(workload: &Workload) -> String {
    let or = |text: &str, default: &'static str| if text.is_empty() { default } else { text }.to_owned();
    let domain = or(&workload.trust_domain, "cluster.local");
    let account = or(&workload.service_account, "default");
    format!("spiffe://{domain}/ns/{}/sa/{account}", workload.namespace)
}

/// What a ztunnel says of a workload that calls, in the header `baggage`.
pub fn baggage_of(workload: &Workload) -> String {
    let kind = workload.workload_type().as_str_name().to_ascii_lowercase();
    let cluster = if workload.cluster_id.is_empty() { "Kubernetes" } else { &workload.cluster_id };
    format!(
        "k8s.cluster.name={cluster},k8s.namespace.name={},k8s.{kind}.name={},service.name={},service.version={}",
        workload.namespace, workload.workload_name, workload.canonical_name, workload.canonical_revision
    )
}

impl State {
    /// The service that has this address, with its resource name.
    pub fn service_by_ip(&self, network: &str, ip: IpAddr) -> Option<(&str, &Service)> {
        self.services().find(|(_, service)| {
            service.addresses.iter().any(|of| of.network == network && super::ip(&of.address) == Some(ip))
        })
    }

    /// What is dialled for a connection of a workload of the mesh to an address; `pick` chooses one of so many.
    ///
    /// # Errors
    /// When it is refused: what is there must not be gone around.
    pub fn upstream(
        &self,
        network: &str,
        to: SocketAddr,
        pick: impl FnMut(usize) -> usize,
    ) -> Result<Upstream, Unreachable> {
        if let Some((name, service)) = self.service_by_ip(network, to.ip()) {
            let waypoint = service.waypoint.as_ref();
            return match waypoint {
                Some(waypoint) => self.through(waypoint, name, to, pick),
                None => {
                    self.endpoint(name, service, to.port(), pick).map(|(workload, to)| tunnel(workload, to))
                }
            };
        }
        let Some(workload) = self.workload_by_ip(network, to.ip()) else { return Ok(Upstream::Direct(to)) };
        match &workload.waypoint {
            Some(waypoint) => self.through(waypoint, &workload.uid, to, pick),
            None => Ok(tunnel(workload, to)),
        }
    }

    /// What is dialled for a connection of a workload that is not in the mesh, as by the rules of a node.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn plain_upstream(
        &self,
        network: &str,
        to: SocketAddr,
        pick: impl FnMut(usize) -> usize,
    ) -> Result<Upstream, Unreachable> {
        let direct = match self.service_by_ip(network, to.ip()) {
            Some((name, service)) => self.endpoint(name, service, to.port(), pick)?.1,
            None => to,
        };
        Ok(Upstream::Direct(direct))
    }

    /// One of the endpoints of a service, with its address.
    fn endpoint(
        &self,
        name: &str,
        service: &Service,
        port: u16,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Result<(&Workload, SocketAddr), Unreachable> {
        let of_service = service.ports.iter().find(|of| of.service_port == u32::from(port));
        let of_service = of_service.ok_or_else(|| Unreachable::Port(name.to_owned()))?.target_port;
        let reached = self.endpoints_of(name).into_iter().filter_map(|(_, workload)| {
            let own = workload.services.get(name)?.ports.iter();
            let own = own.filter(|of| of.service_port == u32::from(port)).map(|of| of.target_port);
            let target = own.chain([of_service]).find(|target| *target != 0)?;
            let ip = workload.addresses.iter().find_map(|bytes| super::ip(bytes))?;
            Some((workload, SocketAddr::new(ip, u16::try_from(target).ok()?)))
        });
        let all: Vec<_> = reached.collect();
        let chosen = (!all.is_empty()).then(|| pick(all.len()) % all.len());
        chosen.map(|chosen| all[chosen]).ok_or_else(|| Unreachable::Endpoints(name.to_owned()))
    }

    /// The way through a waypoint, to what `of` names.
    fn through(
        &self,
        waypoint: &GatewayAddress,
        of: &str,
        to: SocketAddr,
        mut pick: impl FnMut(usize) -> usize,
    ) -> Result<Upstream, Unreachable> {
        let absent = || Unreachable::Waypoint(of.to_owned());
        let service = match waypoint.destination.as_ref().ok_or_else(absent)? {
            Destination::Hostname(host) => format!("{}/{}", host.namespace, host.hostname),
            Destination::Address(address) => {
                let ip = super::ip(&address.address).ok_or_else(absent)?;
                if let Some((name, _)) = self.service_by_ip(&address.network, ip) {
                    name.to_owned()
                } else {
                    let workload = self.workload_by_ip(&address.network, ip).ok_or_else(absent)?;
                    return Ok(waypoint_tunnel(workload, ip, waypoint, to));
                }
            }
        };
        let endpoints = self.endpoints_of(&service);
        let reached = endpoints.into_iter().filter_map(|(_, workload)| {
            Some((workload, workload.addresses.iter().find_map(|bytes| super::ip(bytes))?))
        });
        let all: Vec<_> = reached.collect();
        let chosen = (!all.is_empty()).then(|| pick(all.len()) % all.len()).ok_or_else(absent)?;
        let (workload, ip) = all[chosen];
        Ok(waypoint_tunnel(workload, ip, waypoint, to))
    }
}

fn tunnel(workload: &Workload, to: SocketAddr) -> Upstream {
    if workload.tunnel_protocol() != TunnelProtocol::Hbone {
        return Upstream::Direct(to);
    }
    Upstream::Tunnel {
        to: SocketAddr::new(to.ip(), HBONE_PORT),
        authority: to.to_string(),
        identities: vec![identity_of(workload)],
    }
}

fn waypoint_tunnel(workload: &Workload, ip: IpAddr, waypoint: &GatewayAddress, to: SocketAddr) -> Upstream {
    let port = u16::try_from(waypoint.hbone_mtls_port).ok().filter(|port| *port != 0);
    Upstream::Tunnel {
        to: SocketAddr::new(ip, port.unwrap_or(HBONE_PORT)),
        authority: to.to_string(),
        identities: vec![identity_of(workload)],
    }
}
