//! What `pilothouse bootstrap` writes is what an Envoy takes.

use envoy::bootstrap::{Bootstrap, ProxyKind, ROOT_SECRET, TOKEN_SECRET};
use std::fs;

fn of(kind: ProxyKind, ip: &str, xds: &str, folder: &str) -> Bootstrap {
    Bootstrap {
        kind,
        namespace: "shop".to_owned(),
        gateway: "front".to_owned(),
        pod: "front-1".to_owned(),
        ip: ip.parse().unwrap(),
        service_account: "front".to_owned(),
        xds_host: xds.to_owned(),
        xds_port: 15_012,
        xds_name: xds.to_owned(),
        root_cert: format!("{folder}/root-cert.pem"),
        token_file: format!("{folder}/istio-token"),
        secrets: folder.to_owned(),
    }
}

#[test]
fn envoy_takes_the_bootstrap_of_each_kind_and_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for (kind, ip, xds) in [
        (ProxyKind::Waypoint, "10.0.0.1", "pilothouse.istio-system.svc"),
        (ProxyKind::Gateway, "fd00::1", "10.96.0.10"),
    ] {
        let documents = of(kind, ip, xds, path).documents();
        for (file, document) in [
            ("bootstrap.json", &documents.bootstrap),
            (TOKEN_SECRET, &documents.token_secret),
            (ROOT_SECRET, &documents.root_secret),
        ] {
            fs::write(folder.path().join(file), document.to_string()).unwrap();
        }
        pilothouse_tests::envoy::validate(&folder.path().join("bootstrap.json")).unwrap();
    }
}

#[test]
fn a_node_says_who_it_is_and_the_admin_interface_is_its_own() {
    let bootstrap =
        of(ProxyKind::Waypoint, "10.0.0.1", "pilothouse.istio-system.svc", "/etc").documents().bootstrap;
    assert_eq!(bootstrap["node"]["id"], "waypoint~10.0.0.1~front-1.shop~shop.svc.cluster.local");
    assert_eq!(bootstrap["node"]["cluster"], "front.shop");
    // At no address that a destination could have.
    assert_eq!(bootstrap["admin"]["address"]["pipe"]["path"], "@envoy-admin");
}
