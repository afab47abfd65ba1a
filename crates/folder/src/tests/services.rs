//! Services get addresses and endpoint slices.

use super::*;

fn service(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n{spec}")
}

fn slices_of<'r>(resolved: &'r Resolved, service: &str) -> Vec<&'r Value> {
    all(resolved, "EndpointSlice")
        .into_iter()
        .map(|slice| &slice.value)
        .filter(|slice| text(slice, "/metadata/labels/kubernetes.io~1service-name") == service)
        .collect()
}

#[test]
fn service_gets_an_address_and_the_defaults_of_an_api_server() {
    let resolved = resolve(&service("web", "  selector: {app: web}\n  ports: [{port: 80}]\n"));
    let value = get(&resolved, "", "Service", "shop", "web");
    let address: std::net::Ipv4Addr = text(value, "/spec/clusterIP").parse().unwrap();
    assert_eq!(address.octets()[0], 10);
    assert!((96..112).contains(&address.octets()[1]));
    assert_eq!(text(value, "/spec/clusterIPs/0"), address.to_string());
    assert_eq!(text(value, "/spec/ipFamilies/0"), "IPv4");
    assert_eq!(text(value, "/spec/ports/0/protocol"), "TCP");
    assert_eq!(value.pointer("/spec/ports/0/targetPort"), Some(&Value::from(80)));
}

#[test]
fn headless_external_and_stated_addresses_stay() {
    let resolved = resolve(&format!(
        "{}{}{}{}",
        service("none", "  clusterIP: None\n"),
        service("outside", "  type: ExternalName\n  externalName: example.com\n"),
        service("stated", "  clusterIP: 10.96.0.10\n  ports: [{port: 80}]\n"),
        service("six", "  ipFamilies: [IPv6]\n  ports: [{port: 80}]\n"),
    ));
    let spec = |name: &str| get(&resolved, "", "Service", "shop", name)["spec"].clone();
    assert_eq!(spec("none")["clusterIPs"], serde_json::json!(["None"]));
    assert_eq!(spec("outside").get("clusterIP"), None);
    assert_eq!(spec("stated")["clusterIPs"], serde_json::json!(["10.96.0.10"]));
    assert!(spec("six")["clusterIP"].as_str().unwrap().starts_with("fd00:10:96:"));
}

#[test]
fn stated_address_is_given_to_no_other() {
    let free = resolve(&service("web", "  ports: [{port: 80}]\n"));
    let address = text(get(&free, "", "Service", "shop", "web"), "/spec/clusterIP").to_owned();
    let resolved = resolve(&format!(
        "{}{}{}",
        service("web", "  ports: [{port: 80}]\n"),
        service("zone", &format!("  clusterIP: {address}\n  ports: [{{port: 80}}]\n")),
        service("zwei", &format!("  clusterIP: {address}\n  ports: [{{port: 80}}]\n")),
    ));
    assert_ne!(text(get(&resolved, "", "Service", "shop", "web"), "/spec/clusterIP"), address);
    assert!(complaints(&resolved)[0].contains("belongs to Service shop/zone already"));
}

#[test]
fn slices_name_the_selected_pods_and_resolve_named_ports() {
    let resolved = resolve(&format!(
        "{}{}",
        deployment("shop", "web", 2),
        service(
            "web",
            "  selector: {app: web}\n  ports:\n  - {name: http, port: 80, targetPort: http}\n  - {name: gone, port: 81, targetPort: gone}\n"
        ),
    ));
    let slices = slices_of(&resolved, "web");
    assert_eq!(slices.len(), 1);
    let slice = slices[0];
    assert_eq!(slice["ports"], serde_json::json!([{"name": "http", "protocol": "TCP", "port": 8080}]));
    assert_eq!(slice["addressType"], "IPv4");
    let endpoints = slice["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2);
    for endpoint in endpoints {
        let pod = get(&resolved, "", "Pod", "shop", text(endpoint, "/targetRef/name"));
        assert_eq!(text(endpoint, "/targetRef/uid"), text(pod, "/metadata/uid"));
        assert_eq!(text(endpoint, "/addresses/0"), text(pod, "/status/podIP"));
        assert_eq!(text(endpoint, "/nodeName"), text(pod, "/spec/nodeName"));
        assert!(text(endpoint, "/zone").starts_with("zone-"));
        assert_eq!(endpoint["conditions"]["ready"], true);
    }
}

#[test]
fn declared_slices_replace_generated_ones() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: mine, namespace: shop, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\nendpoints: [{addresses: [192.0.2.1]}]\n";
    let resolved = resolve(&format!(
        "{}{}{slice}",
        deployment("shop", "web", 2),
        service("web", "  selector: {app: web}\n  ports: [{port: 80}]\n"),
    ));
    assert_eq!(names(&resolved, "EndpointSlice"), ["shop/mine"]);
}

#[test]
fn pods_that_are_not_ready_are_endpoints_that_are_not() {
    let pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop, labels: {app: web}}\nspec: {containers: [{name: a, image: a}]}\nstatus:\n  phase: Running\n  podIP: 192.0.2.5\n  conditions: [{type: Ready, status: 'False'}]\n";
    let plain = service("web", "  selector: {app: web}\n  ports: [{port: 80}]\n");
    let resolved = resolve(&format!("{pod}{plain}"));
    assert_eq!(slices_of(&resolved, "web")[0]["endpoints"][0]["conditions"]["ready"], false);
    let published = plain.replace("spec:\n", "spec:\n  publishNotReadyAddresses: true\n");
    let resolved = resolve(&format!("{pod}{published}"));
    assert_eq!(slices_of(&resolved, "web")[0]["endpoints"][0]["conditions"]["ready"], true);
    let failed = pod.replace("Running", "Failed");
    assert!(slices_of(&resolve(&format!("{failed}{plain}")), "web").is_empty());
}

#[test]
fn many_endpoints_are_cut_into_slices() {
    let resolved = resolve(&format!(
        "{}{}",
        deployment("shop", "web", 2_500),
        service("web", "  selector: {app: web}\n  ports: [{port: 80}]\n"),
    ));
    let mut sizes: Vec<usize> = slices_of(&resolved, "web")
        .iter()
        .map(|slice| slice["endpoints"].as_array().unwrap().len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [500, 1000, 1000]);
}

#[test]
fn endpoints_object_is_mirrored() {
    let endpoints = "---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: db, namespace: shop}\nsubsets:\n- addresses: [{ip: 192.0.2.9}, {ip: '2001:db8::1'}]\n  ports: [{name: sql, port: 5432}]\n";
    let resolved = resolve(&format!("{}{endpoints}", service("db", "  ports: [{name: sql, port: 5432}]\n")));
    let mut types: Vec<&str> =
        slices_of(&resolved, "db").iter().map(|slice| text(slice, "/addressType")).collect();
    types.sort_unstable();
    assert_eq!(types, ["IPv4", "IPv6"]);
}

#[test]
fn service_with_wrong_types_is_refused_and_hurts_nobody() {
    let resolved = resolve(&format!(
        "{}{}{}",
        service("bad", "  selector: [a]\n  ports: yes\n  clusterIP: 5\n"),
        service("worse", "").replace("spec:\n", "spec: text\n"),
        service("good", "  ports: [{port: 80}]\n"),
    ));
    assert_eq!(names(&resolved, "Service"), ["shop/good"]);
    text(get(&resolved, "", "Service", "shop", "good"), "/spec/clusterIP");
    let fields: Vec<&str> = resolved.problems.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["spec.selector", "spec.ports", "spec.clusterIP", "spec"]);
}
