//! Ports of services at their waypoints.

use engine::{Builder, Cx, Table};
use mesh::PortProtocol;
use mesh::destination::Destinations;
use model::facts::Resolution;
use model::{Kind, Name, RequestLimit, Str};
use std::net::IpAddr;

use crate::key::{Layer, PortKey};

/// What becomes of the traffic of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traffic {
    /// Requests.
    Http,
    /// Bytes.
    Tcp,
    /// Each connection is looked at.
    Either,
}

impl Traffic {
    pub fn of(protocol: PortProtocol) -> Self {
        match protocol {
            PortProtocol::Http | PortProtocol::Http2 | PortProtocol::Grpc | PortProtocol::GrpcWeb => {
                Self::Http
            }
            PortProtocol::Tls | PortProtocol::Tcp | PortProtocol::OtherTcp => Self::Tcp,
            PortProtocol::Unspecified => Self::Either,
        }
    }

    /// The layers at which there is traffic.
    pub fn layers(self) -> &'static [Layer] {
        match self {
            Self::Http => &[Layer::Http],
            Self::Tcp => &[Layer::Tcp],
            Self::Either => &[Layer::Http, Layer::Tcp],
        }
    }
}

/// A port of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Port {
    /// `Service` or `ServiceEntry`.
    pub kind: Kind,
    /// The object that the service stands for.
    pub object: Name,
    pub hostname: Str,
    /// Where it is called.
    pub addresses: Box<[IpAddr]>,
    /// Its name; empty for none.
    pub name: Str,
    pub protocol: PortProtocol,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// Whether other networks call it, too, by its name.
    pub is_for_networks: bool,
    /// How many requests it takes at each instance of its waypoint.
    pub limit: Option<RequestLimit>,
}

impl Port {
    pub fn traffic(&self) -> Traffic {
        Traffic::of(self.protocol)
    }
}

/// Returns a port of a service.
pub(crate) fn find(cx: &Cx<'_>, destinations: Destinations, service: &Str, port: u16) -> Option<Port> {
    let service = destinations.get(cx, service)?;
    let place = service.ports.iter().position(|(number, _)| *number == port)?;
    let (_, protocol) = *service.ports.get(place)?;
    Some(Port {
        kind: service.kind,
        object: service.object.clone(),
        hostname: service.hostname.clone(),
        addresses: service.addresses.clone(),
        name: service.port_names.get(place).cloned().unwrap_or_default(),
        protocol,
        resolution: service.resolution,
        is_for_networks: service.is_for_networks,
        limit: service.limit,
    })
}

/// Declares the ports of services at their own waypoints, whose clusters are wanted there.
pub(crate) fn declare(
    b: &mut Builder,
    destinations: Destinations,
    want: impl Fn(&Cx<'_>, &PortKey, PortProtocol) + Copy + Send + 'static,
) -> Table<PortKey, Port> {
    // Services of both kinds come to one table.
    let ports =
        b.memo("waypoint_port", move |cx, key: &PortKey| find(cx, destinations, &key.service, key.port));
    for (name, table) in ["service_at_waypoints", "entry_at_waypoints"].into_iter().zip(destinations.services)
    {
        b.derive(name, table, move |cx, service, destination| {
            for waypoint in &destination.waypoints {
                for (port, protocol) in &destination.ports {
                    let key = PortKey { waypoint: waypoint.clone(), service: service.clone(), port: *port };
                    cx.memo(ports, &key);
                    want(cx, &key, *protocol);
                }
            }
            (!destination.waypoints.is_empty()).then_some(())
        });
    }
    b.in_use("waypoint_ports", ports)
}
