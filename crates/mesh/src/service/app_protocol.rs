//! The application protocol of a service port.

use model::facts::{Protocol, ServicePort};
use proto::workload::AppProtocol;

/// Ports of protocols in which the server speaks first: without a name they are taken for TCP.
const SERVER_FIRST: [u16; 4] = [25, 53, 3306, 27017];

/// Returns the protocol by `appProtocol`, else by the port's name, else by its number.
pub(crate) fn of(port: &ServicePort) -> AppProtocol {
    if port.protocol == Protocol::Udp {
        return AppProtocol::Unknown;
    }
    let named = if port.app_protocol.is_empty() { &port.name } else { &port.app_protocol };
    match named.as_str() {
        "kubernetes.io/h2c" => return AppProtocol::Http2,
        "kubernetes.io/ws" => return AppProtocol::Http11,
        "kubernetes.io/wss" => return AppProtocol::Tls,
        _ => {}
    }
    let lower = named.to_ascii_lowercase();
    if lower.starts_with("grpc-web") {
        return AppProtocol::Unknown;
    }
    let known = lower.split('-').next().and_then(known);
    known.unwrap_or_else(|| {
        if SERVER_FIRST.contains(&port.port) { AppProtocol::Tcp } else { AppProtocol::Unknown }
    })
}

/// Returns the protocol written in `ports[].protocol` of a ServiceEntry.
pub(crate) fn of_entry(protocol: &str) -> AppProtocol {
    known(&protocol.to_ascii_lowercase()).unwrap_or(AppProtocol::Unknown)
}

fn known(lower: &str) -> Option<AppProtocol> {
    Some(match lower {
        "http" => AppProtocol::Http11,
        "http2" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "https" | "tls" => AppProtocol::Tls,
        "tcp" => AppProtocol::Tcp,
        // Known, but nothing that a ztunnel tells apart.
        "mongo" | "mysql" | "redis" | "udp" => AppProtocol::Unknown,
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
