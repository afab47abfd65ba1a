use std::net::IpAddr;

use proto::security::{Authorization, Scope};
use proto::type_url;
use proto::workload::load_balancing::HealthPolicy;
use proto::workload::{LoadBalancing, NetworkMode, PortList, Service, WorkloadStatus};

use super::{addresses, pod, policies, policy_resource, response, service_resource, web, workload_resource};
use crate::client::{Node, State, Violation};

fn policy(name: &str) -> Authorization {
    Authorization {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        scope: Scope::WorkloadSelector.into(),
        ..Default::default()
    }
}

/// A state that took one clean response of each type and holds pod `a`, which names `shop/p`.
fn ready() -> State {
    let mut state = State::new(false);
    state.apply(&policies("p1", vec![policy_resource(&policy("p"))]));
    state.apply(&addresses("a1", vec![workload_resource("v1", &pod("a", [10, 0, 0, 1], &["shop/p"]))]));
    assert!(state.is_ready());
    assert_eq!(state.violations(), []);
    state
}

#[test]
fn a_fresh_client_asks_for_everything_address_first() {
    let requests = State::new(false).initial_requests(&Node::default());
    let urls: Vec<_> = requests.iter().map(|request| request.type_url.as_str()).collect();
    assert_eq!(urls, [type_url::ADDRESS, type_url::AUTHORIZATION]);
    for request in requests {
        assert_eq!(request.node.unwrap().id, Node::default().id());
        assert!(request.resource_names_subscribe.is_empty());
        assert!(request.initial_resource_versions.is_empty());
    }
}

#[test]
fn a_reconnecting_client_offers_the_versions_it_holds() {
    let requests = ready().initial_requests(&Node::default());
    let offered = |index: usize| requests[index].initial_resource_versions.clone();
    assert_eq!(offered(0), [("Kubernetes//Pod/shop/a".to_owned(), "v1".to_owned())].into());
    assert_eq!(offered(1), [("shop/p".to_owned(), String::new())].into());
}

#[test]
fn a_refused_update_keeps_the_old_resource_and_is_not_offered() {
    let mut state = ready();
    let mut broken = pod("a", [10, 0, 0, 2], &[]);
    broken.services.insert("no-slash".to_owned(), PortList::default());
    let good = pod("b", [10, 0, 0, 3], &[]);
    let reply =
        state.apply(&addresses("a2", vec![workload_resource("v2", &broken), workload_resource("v1", &good)]));
    assert_eq!(reply.response_nonce, "a2");
    assert!(reply.error_detail.unwrap().message.starts_with("Kubernetes//Pod/shop/a: services: key"));
    assert_eq!(state.addresses()["Kubernetes//Pod/shop/a"].version, "v1");
    assert!(state.workload("Kubernetes//Pod/shop/b").is_some());
    let offered = state.initial_requests(&Node::default())[0].initial_resource_versions.clone();
    assert_eq!(offered.keys().collect::<Vec<_>>(), ["Kubernetes//Pod/shop/b"]);
}

#[test]
fn one_refused_resource_keeps_the_client_unready_until_a_clean_response() {
    let mut state = State::new(false);
    state.apply(&policies("p1", vec![]));
    let broken = super::resource(type_url::ADDRESS, "x", "v", vec![]);
    state.apply(&addresses("a1", vec![broken]));
    assert!(!state.is_ready());
    state.apply(&addresses("a2", vec![]));
    assert!(state.is_ready());
}

#[test]
fn removals_are_applied_and_free_the_address() {
    let mut state = ready();
    let ip = IpAddr::from([10, 0, 0, 1]);
    assert_eq!(state.workload_by_ip("", ip).unwrap().name, "a");
    let reply = state.apply(&response(type_url::ADDRESS, "a2", vec![], &["Kubernetes//Pod/shop/a", "none"]));
    assert_eq!(reply.error_detail, None);
    assert!(state.workload_by_ip("", ip).is_none());
    assert_eq!(state.violations(), []);
}

#[test]
fn a_moved_workload_is_found_at_its_new_address_only() {
    let mut state = ready();
    state.apply(&addresses("a2", vec![workload_resource("v2", &pod("a", [10, 0, 0, 9], &["shop/p"]))]));
    assert!(state.workloads_by_ip("", IpAddr::from([10, 0, 0, 1])).is_empty());
    assert_eq!(state.workload_by_ip("", IpAddr::from([10, 0, 0, 9])).unwrap().name, "a");
}

#[test]
fn a_pod_address_belongs_to_the_pod_not_to_one_on_the_host() {
    let mut state = State::new(false);
    let mut host = pod("a-host", [10, 0, 0, 1], &[]);
    host.network_mode = NetworkMode::HostNetwork.into();
    let own = pod("own", [10, 0, 0, 1], &[]);
    state.apply(&addresses("a1", vec![workload_resource("1", &host), workload_resource("1", &own)]));
    assert_eq!(state.workload_by_ip("", IpAddr::from([10, 0, 0, 1])).unwrap().name, "own");
}

#[test]
fn services_and_endpoints_are_found_from_each_other() {
    let mut state = State::new(false);
    let mut endpoint = pod("a", [10, 0, 0, 1], &[]);
    let key = "shop/web.shop.svc.cluster.local";
    endpoint.services.insert(key.to_owned(), PortList::default());
    endpoint.services.insert("shop/absent".to_owned(), PortList::default());
    state.apply(&addresses("a1", vec![workload_resource("1", &endpoint), service_resource("1", &web())]));
    let services = state.services_of(state.workload(&endpoint.uid).unwrap());
    assert_eq!(services.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [key]);
    assert_eq!(state.endpoints_of(key).len(), 1);
}

#[test]
fn an_unhealthy_endpoint_is_forgotten_until_it_comes_again_to_a_service_that_wants_all() {
    let mut state = State::new(false);
    let key = "shop/web.shop.svc.cluster.local";
    let mut endpoint = pod("a", [10, 0, 0, 1], &[]);
    endpoint.services.insert(key.to_owned(), PortList::default());
    endpoint.status = WorkloadStatus::Unhealthy.into();
    let all = LoadBalancing { health_policy: HealthPolicy::AllowAll.into(), ..LoadBalancing::default() };
    let wants_all = Service { load_balancing: Some(all), ..web() };
    let workload = || workload_resource("1", &endpoint);
    // Before its service it is put aside.
    state.apply(&addresses("a1", vec![workload()]));
    assert_eq!(state.endpoints_of(key).len(), 0);
    state.apply(&addresses("a2", vec![service_resource("2", &wants_all)]));
    assert_eq!(state.endpoints_of(key).len(), 1);
    state.apply(&addresses("a3", vec![service_resource("1", &web())]));
    assert_eq!((state.endpoints_of(key).len(), state.forgotten().len()), (0, 0));
    state.apply(&addresses("a4", vec![service_resource("2", &wants_all)]));
    assert_eq!(state.endpoints_of(key).len(), 0);
    assert_eq!(state.forgotten(), [(key, endpoint.uid.as_str())]);
    state.apply(&addresses("a5", vec![workload()]));
    assert_eq!((state.endpoints_of(key).len(), state.forgotten().len()), (1, 0));
    state.apply(&response(type_url::ADDRESS, "a6", vec![], &[endpoint.uid.as_str()]));
    assert_eq!(state.endpoints_of(key).len(), 0);
}

#[test]
fn naming_an_absent_policy_is_a_violation_once_ready() {
    let mut state = State::new(false);
    state.apply(&addresses("a1", vec![workload_resource("v1", &pod("a", [10, 0, 0, 1], &["shop/p"]))]));
    assert_eq!(state.violations(), []);
    state.apply(&policies("p1", vec![]));
    let hole = |nonce: &str| Violation::AbsentPolicy {
        workload: "Kubernetes//Pod/shop/a".to_owned(),
        policy: "shop/p".to_owned(),
        nonce: nonce.to_owned(),
    };
    assert_eq!(state.violations(), [hole("p1")]);
    // the policy comes and goes while the workload still names it
    state.apply(&policies("p2", vec![policy_resource(&policy("p"))]));
    state.apply(&response(type_url::AUTHORIZATION, "p3", vec![], &["shop/p"]));
    assert_eq!(state.violations(), [hole("p1"), hole("p3")]);
}

#[test]
fn an_arriving_workload_that_names_an_absent_policy_is_a_violation() {
    let mut state = ready();
    state.apply(&addresses("a2", vec![workload_resource("v1", &pod("b", [10, 0, 0, 2], &["shop/q"]))]));
    assert!(matches!(&state.violations()[0], Violation::AbsentPolicy { policy, .. } if policy == "shop/q"));
}

#[test]
fn misnamed_repeated_and_contradictory_resources_are_violations() {
    let mut state = ready();
    let again = workload_resource("v1", &pod("a", [10, 0, 0, 1], &["shop/p"]));
    state.apply(&addresses("a2", vec![again.clone(), again.clone()]));
    state.apply(&response(type_url::ADDRESS, "a3", vec![again], &["Kubernetes//Pod/shop/a"]));
    let body = prost::Message::encode_to_vec(&policy("q"));
    state.apply(&policies(
        "p2",
        vec![super::resource(type_url::AUTHORIZATION, "shop/other", "", body.clone())],
    ));
    state.apply(&policies("p3", vec![super::resource(type_url::ADDRESS, "shop/q", "", body)]));
    let kinds: Vec<String> = state.violations().iter().map(ToString::to_string).collect();
    assert_eq!(
        kinds,
        [
            "response a2 holds Kubernetes//Pod/shop/a twice",
            "response a3 sends and removes Kubernetes//Pod/shop/a",
            "resource shop/other should be named shop/q",
            "resource shop/q carries a payload of type \"type.googleapis.com/istio.workload.Address\"",
        ]
    );
}

#[test]
fn digest_and_yaml_tell_content_not_history() {
    let first = ready();
    let mut second = State::new(false);
    second.apply(&addresses("x", vec![workload_resource("v1", &pod("z", [1, 1, 1, 1], &[]))]));
    second.apply(&addresses("y", vec![workload_resource("v1", &pod("a", [10, 0, 0, 1], &["shop/p"]))]));
    assert_ne!(first.digest(), second.digest());
    second.apply(&response(type_url::ADDRESS, "z", vec![], &["Kubernetes//Pod/shop/z"]));
    second.apply(&policies("p", vec![policy_resource(&policy("p"))]));
    assert_eq!(first.digest(), second.digest());
    assert_eq!(first.to_yaml(), second.to_yaml());
    let yaml = first.to_yaml();
    assert!(yaml.contains("addresses:\n    - 10.0.0.1\n"), "{yaml}");
    assert!(yaml.contains("scope: WORKLOAD_SELECTOR"), "{yaml}");
}

#[test]
fn each_response_is_recorded_with_what_it_held() {
    let state = ready();
    let received = &state.received()[1];
    assert_eq!((received.type_url.as_str(), received.nonce.as_str()), (type_url::ADDRESS, "a1"));
    assert_eq!(received.names(), ["Kubernetes//Pod/shop/a"]);
    assert_eq!(received.resources[0].version, "v1");
    assert!(received.bytes > received.resources[0].bytes);
}

#[test]
fn on_demand_subscribes_to_nothing_and_offers_awaited_names_without_version() {
    let mut state = State::new(true);
    let first = state.initial_requests(&Node::default());
    assert_eq!(
        (&first[0].resource_names_subscribe[..], &first[0].resource_names_unsubscribe[..]),
        (&["*".to_owned()][..], &["*".to_owned()][..])
    );
    assert!(first[1].resource_names_subscribe.is_empty());
    let request = state.demand(&["/10.0.0.1", "Kubernetes//Pod/shop/a"]);
    assert_eq!(request.resource_names_subscribe.len(), 2);
    state.apply(&addresses("a1", vec![workload_resource("v1", &pod("a", [10, 0, 0, 1], &[]))]));
    let offered = state.initial_requests(&Node::default())[0].initial_resource_versions.clone();
    assert_eq!(offered["/10.0.0.1"], "");
    assert_eq!(offered["Kubernetes//Pod/shop/a"], "v1");
    // only the wildcard type decides on readiness
    assert!(!state.is_ready());
    state.apply(&policies("p1", vec![]));
    assert!(state.is_ready());
}
