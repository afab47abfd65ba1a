//! Where a ztunnel takes a connection to.

use std::net::SocketAddr;

use proto::workload::gateway_address::Destination;
use proto::workload::{
    GatewayAddress, NamespacedHostname, NetworkAddress, Port, PortList, Service, TunnelProtocol, Workload,
    WorkloadStatus,
};

use super::{addresses, pod, service_resource, web, workload_resource};
use crate::client::{State, Unreachable, Upstream};

const WEB: &str = "shop/web.shop.svc.cluster.local";

fn port(service_port: u32, target_port: u32) -> Port {
    Port { service_port, target_port, ..Default::default() }
}

fn service(name: &str, ip: [u8; 4], ports: &[Port]) -> Service {
    Service {
        name: name.to_owned(),
        hostname: format!("{name}.shop.svc.cluster.local"),
        addresses: vec![NetworkAddress { address: ip.to_vec().into(), ..Default::default() }],
        ports: ports.to_vec(),
        ..web()
    }
}

fn endpoint(name: &str, ip: [u8; 4], of: &str, ports: &[Port]) -> Workload {
    let services = [(of.to_owned(), PortList { ports: ports.to_vec() })];
    Workload {
        service_account: name.to_owned(),
        tunnel_protocol: TunnelProtocol::Hbone.into(),
        services: services.into(),
        ..pod(name, ip, &[])
    }
}

fn behind(hostname: &str) -> Option<GatewayAddress> {
    let host = NamespacedHostname { namespace: "shop".to_owned(), hostname: hostname.to_owned() };
    Some(GatewayAddress { hbone_mtls_port: 15008, destination: Some(Destination::Hostname(host)) })
}

fn state(services: &[Service], workloads: &[Workload]) -> State {
    let mut state = State::new(false);
    let services = services.iter().map(|service| service_resource("1", service));
    let all = services.chain(workloads.iter().map(|workload| workload_resource("1", workload)));
    state.apply(&addresses("a", all.collect()));
    state
}

fn to(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn tunnel(at: &str, authority: &str, account: &str) -> Result<Upstream, Unreachable> {
    let identities = vec![format!("spiffe://cluster.local/ns/shop/sa/{account}")];
    Ok(Upstream::Tunnel { to: to(at), authority: authority.to_owned(), identities })
}

#[test]
fn a_service_leads_to_one_of_its_endpoints_and_their_ports() {
    let ports = [port(80, 8080)];
    let first = endpoint("a", [10, 0, 0, 1], WEB, &ports);
    // Its own port goes before the service's.
    let second = endpoint("b", [10, 0, 0, 2], WEB, &[port(80, 9090)]);
    let sick =
        Workload { status: WorkloadStatus::Unhealthy.into(), ..endpoint("c", [10, 0, 0, 3], WEB, &ports) };
    let state = state(&[service("web", [10, 96, 0, 1], &ports)], &[first, second, sick]);
    let ask = |number: usize| state.upstream("", to("10.96.0.1:80"), |count| number.min(count - 1));
    assert_eq!(ask(0), tunnel("10.0.0.1:15008", "10.0.0.1:8080", "a"));
    assert_eq!(ask(9), tunnel("10.0.0.2:15008", "10.0.0.2:9090", "b"));
    assert_eq!(state.upstream("", to("10.96.0.1:81"), |_| 0), Err(Unreachable::Port(WEB.to_owned())));
    let plain = state.plain_upstream("", to("10.96.0.1:80"), |_| 0);
    assert_eq!(plain, Ok(Upstream::Direct(to("10.0.0.1:8080"))));
}

#[test]
fn what_is_not_in_the_mesh_is_reached_in_plain_text() {
    let plain = Workload { tunnel_protocol: TunnelProtocol::None.into(), ..pod("a", [10, 0, 0, 1], &[]) };
    let state = state(&[], &[plain]);
    for at in ["10.0.0.1:80", "192.0.2.1:443"] {
        assert_eq!(state.upstream("", to(at), |_| 0), Ok(Upstream::Direct(to(at))));
    }
}

#[test]
fn a_waypoint_is_not_gone_around() {
    let proxy = "shop/proxy.shop.svc.cluster.local";
    let ports = [port(80, 8080)];
    let web = Service {
        waypoint: behind("proxy.shop.svc.cluster.local"),
        ..service("web", [10, 96, 0, 1], &ports)
    };
    let of_web = endpoint("a", [10, 0, 0, 1], WEB, &ports);
    let named = service("proxy", [10, 96, 0, 2], &[port(15008, 15008)]);
    let own = endpoint("proxy", [10, 0, 0, 9], proxy, &[port(15008, 15008)]);
    let of_pod =
        Workload { waypoint: behind("proxy.shop.svc.cluster.local"), ..pod("b", [10, 0, 0, 2], &[]) };

    let with = state(&[web.clone(), named.clone()], &[of_web.clone(), own, of_pod]);
    assert_eq!(
        with.upstream("", to("10.96.0.1:80"), |_| 0),
        tunnel("10.0.0.9:15008", "10.96.0.1:80", "proxy")
    );
    assert_eq!(with.upstream("", to("10.0.0.2:77"), |_| 0), tunnel("10.0.0.9:15008", "10.0.0.2:77", "proxy"));
    // The address of an endpoint is not that of the service.
    assert_eq!(with.upstream("", to("10.0.0.1:8080"), |_| 0), tunnel("10.0.0.1:15008", "10.0.0.1:8080", "a"));
    let without = state(&[web, named], &[of_web]);
    assert_eq!(without.upstream("", to("10.96.0.1:80"), |_| 0), Err(Unreachable::Waypoint(WEB.to_owned())));
}
