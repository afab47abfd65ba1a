//! Whose doing each resource of a waypoint is, should an Envoy refuse it.

use super::cases;
use super::input::Input;
use super::traffic::objects;
use plane::{Plane, ResourceChange};
use proto::{ResourceType, Scope};
use std::fs;

/// What authors want of `web`, and of nothing else.
const WANTED: &str = "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: web}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: any}
spec: {host: any, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: web}
spec: {targetRefs: [{group: \"\", kind: Service, name: web}], rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: all}
spec: {action: DENY, targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], rules: [{to: [{operation: {methods: [PUT]}}]}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {namespace: shop, name: db}
spec: {targetRefs: [{group: \"\", kind: Service, name: db}], jwtRules: [{issuer: a, jwks: '{\"keys\": []}'}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {namespace: shop, name: db, generation: 1}
spec: {targetRefs: [{group: \"\", kind: Service, name: db}], validation: {hostname: db.example.com, wellKnownCACertificates: System}}
";

#[test]
fn a_resource_for_one_place_is_the_doing_of_its_authors_too() {
    let (_, input) = cases().into_iter().find(|(case, _)| case == "localities").unwrap();
    let mesh = input.apply_at_once(input.events.clone());
    let name = "inbound-vip|80|http|api.example.org";
    let waypoint = Scope::proxy("shop/waypoint");
    let is_cluster = |of: &&ResourceChange| of.name == name && of.resource_type == ResourceType::Cluster;
    let resources = mesh.resources();
    let scopes: Vec<String> = resources.iter().filter(is_cluster).map(|of| of.scope.to_string()).collect();
    assert_eq!(scopes, ["shop/waypoint@zone=r/a", "shop/waypoint@zone=r/b"]);
    let found = mesh.made_from(ResourceType::Cluster, &waypoint, name);
    assert!(found.services.iter().any(|of| of.kind == model::Kind::ServiceEntry), "{found:?}");
    assert!(!found.authors.is_empty(), "{found:?}");
}

#[test]
fn each_resource_is_the_doing_of_those_that_say_something_of_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, objects(1, 2, 3) + WANTED).unwrap();
    let input = Input::read(file.path());
    let mesh: Plane = input.apply_at_once(input.events.clone());
    let authors = |of, name: &str| {
        let found = mesh.made_from(of, &Scope::proxy("shop/waypoint"), name).authors;
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let host = |port: &str, name: &str| format!("inbound-vip|{port}|{name}.shop.svc.cluster.local");
    for (of, name, expected) in [
        (ResourceType::Cluster, host("80|http", "web"), "DestinationRule shop/web"),
        (ResourceType::Cluster, host("80|http", "web-v2"), "Service shop/web-v2"),
        (ResourceType::Cluster, host("3306|tcp", "db"), "BackendTLSPolicy shop/db"),
        (
            ResourceType::ScopedRoute,
            host("80|http", "web"),
            "HTTPRoute shop/web, AuthorizationPolicy shop/all, AuthorizationPolicy shop/web, DestinationRule shop/web",
        ),
        (ResourceType::Cluster, "connect_originate".to_owned(), ""),
        (ResourceType::Cluster, "not there".to_owned(), ""),
    ] {
        let mut expected: Vec<&str> = expected.split(", ").collect();
        let found = authors(of, &name);
        let mut found: Vec<&str> = found.split(", ").collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{of:?} {name}");
    }
    let web =
        mesh.made_from(ResourceType::ScopedRoute, &Scope::proxy("shop/waypoint"), &host("80|http", "web"));
    let services: Vec<String> = web.services.iter().map(ToString::to_string).collect();
    assert!(services.contains(&"Service shop/web".to_owned()), "{services:?}");
    assert!(
        mesh.made_from(ResourceType::Cluster, &Scope::proxy("bank/waypoint"), &host("80|http", "web"))
            .authors
            .is_empty()
    );
    assert!(mesh.made_from(ResourceType::Cluster, &Scope::Mesh, &host("80|http", "web")).authors.is_empty());
}
