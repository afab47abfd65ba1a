//! The application protocol of a service port.

use model::facts::{Protocol, ServicePort};
use proto::workload::AppProtocol;

/// Ports of protocols in which the server speaks first: without a name they are taken for TCP.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

/// What is spoken at a port, as far as its author says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum PortProtocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC in the form that browsers speak.
    GrpcWeb,
    /// TLS that ends at the service.
    Tls,
    /// Streams of bytes.
    Tcp,
    /// Streams of bytes in a protocol that a ztunnel is not told of.
    OtherTcp,
    /// Nothing is said.
    Unspecified,
}

impl PortProtocol {
    /// Returns that of a port of TCP by `appProtocol`, else by the port's name, else by its number.
    pub(crate) fn of(port: &ServicePort) -> Self {
        let named = if port.app_protocol.is_empty() { &port.name } else { &port.app_protocol };
        match named.as_str() {
            "kubernetes.io/h2c" => return Self::Http2,
            "kubernetes.io/ws" => return Self::Http,
            "kubernetes.io/wss" => return Self::Tls,
            _ => {}
        }
        let lower = named.to_ascii_lowercase();
        if lower.starts_with("grpc-web") {
            return Self::GrpcWeb;
        }
        let known = lower.split('-').next().and_then(known);
        known.unwrap_or_else(|| if SERVER_FIRST.contains(&port.port) { Self::Tcp } else { Self::Unspecified })
    }

    /// Returns that written in `ports[].protocol` of a ServiceEntry.
    pub(crate) fn of_entry(protocol: &str) -> Self {
        known(&protocol.to_ascii_lowercase()).unwrap_or(Self::Unspecified)
    }

    /// Returns what a ztunnel is told.
    pub(crate) fn app_protocol(self) -> AppProtocol {
        match self {
            Self::Http => AppProtocol::Http11,
            Self::Http2 => AppProtocol::Http2,
            Self::Grpc => AppProtocol::Grpc,
            Self::Tls => AppProtocol::Tls,
            Self::Tcp => AppProtocol::Tcp,
            Self::GrpcWeb | Self::OtherTcp | Self::Unspecified => AppProtocol::Unknown,
        }
    }
}

/// Returns what a ztunnel is told of a port.
pub(crate) fn of(port: &ServicePort) -> AppProtocol {
    match port.protocol {
        Protocol::Udp => AppProtocol::Unknown,
        _ => PortProtocol::of(port).app_protocol(),
    }
}

fn known(lower: &str) -> Option<PortProtocol> {
    Some(match lower {
        "http" => PortProtocol::Http,
        "http2" => PortProtocol::Http2,
        "grpc" => PortProtocol::Grpc,
        "https" | "tls" => PortProtocol::Tls,
        "tcp" => PortProtocol::Tcp,
        "mongo" | "mysql" | "redis" | "udp" => PortProtocol::OtherTcp,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Str;
    use model::facts::TargetPort;

    fn port(name: &str, app_protocol: &str, port: u16, protocol: Protocol) -> ServicePort {
        ServicePort {
            name: Str::from(name),
            port,
            protocol,
            target: TargetPort::Number(port),
            app_protocol: Str::from(app_protocol),
        }
    }

    #[test]
    fn protocols_follow_app_protocol_then_name_then_number() {
        let tcp = |name, app, number| of(&port(name, app, number, Protocol::Tcp));
        assert_eq!(tcp("http-web", "", 80), AppProtocol::Http11);
        assert_eq!(tcp("HTTP2", "", 80), AppProtocol::Http2);
        assert_eq!(tcp("http", "grpc", 80), AppProtocol::Grpc);
        assert_eq!(tcp("x", "kubernetes.io/h2c", 80), AppProtocol::Http2);
        assert_eq!(tcp("x", "kubernetes.io/ws", 80), AppProtocol::Http11);
        assert_eq!(tcp("x", "kubernetes.io/wss", 80), AppProtocol::Tls);
        assert_eq!(tcp("grpc-web-x", "", 80), AppProtocol::Unknown);
        assert_eq!(tcp("https", "", 443), AppProtocol::Tls);
        assert_eq!(tcp("", "", 3306), AppProtocol::Tcp);
        assert_eq!(tcp("mysql", "", 3306), AppProtocol::Unknown);
        assert_eq!(tcp("", "", 8080), AppProtocol::Unknown);
        assert_eq!(of(&port("http", "", 80, Protocol::Udp)), AppProtocol::Unknown);
    }
}
