//! Ports of services at their waypoints.

use engine::{Builder, Cx, Memo, Table};
use mesh::PortProtocol;
use mesh::destination::Destinations;
use model::{Kind, Name, Str};
use std::net::IpAddr;

use crate::key::{Layer, PortKey, inbound};

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
    pub addresses: Vec<IpAddr>,
    pub protocol: PortProtocol,
}

impl Port {
    pub fn traffic(&self) -> Traffic {
        Traffic::of(self.protocol)
    }

    /// The name of its endpoints: one for all layers, since they are the same.
    pub fn endpoints(&self, port: u16) -> String {
        let layer = self.traffic().layers().first().copied().unwrap_or(Layer::Tcp);
        inbound(port, layer, &self.hostname)
    }
}

fn port(cx: &Cx<'_>, destinations: Destinations, service: &Str, port: u16) -> Option<Port> {
    let service = destinations.get(cx, service)?;
    let (_, protocol) = *service.ports.iter().find(|(number, _)| *number == port)?;
    Some(Port {
        kind: service.kind,
        object: service.object.clone(),
        hostname: service.hostname.clone(),
        addresses: service.addresses.clone(),
        protocol,
    })
}

/// Declares the ports of services at their own waypoints.
pub(crate) fn declare(b: &mut Builder, destinations: Destinations) -> Table<PortKey, Port> {
    // Services of both kinds come to one table.
    let ports =
        b.memo("waypoint_port", move |cx, key: &PortKey| port(cx, destinations, &key.service, key.port));
    for (name, table) in ["service_at_waypoints", "entry_at_waypoints"].into_iter().zip(destinations.services)
    {
        b.derive(name, table, move |cx, service, destination| {
            for waypoint in &destination.waypoints {
                for (port, _) in &destination.ports {
                    cx.memo(
                        ports,
                        &PortKey { waypoint: waypoint.clone(), service: service.clone(), port: *port },
                    );
                }
            }
            (!destination.waypoints.is_empty()).then_some(())
        });
    }
    b.in_use("waypoint_ports", ports)
}

/// Declares ports that routes of waypoints lead to without being those of their own services.
pub(crate) fn declare_outbound(b: &mut Builder, destinations: Destinations) -> Memo<PortKey, Port> {
    b.memo("outbound_port", move |cx, key: &PortKey| port(cx, destinations, &key.service, key.port))
}
