//! Limits of requests, at a real Envoy that is what a waypoint is configured to be.

use super::destination::{Backend, MESH};
use super::traffic::Waypoint;
use hyper::StatusCode;
use model::Kind;
use serde_json::{Value, json};

const WEB: &str = "10.96.0.1:80";

/// So many requests in an hour: none comes back while a test runs.
fn limit(requests: u32) -> Value {
    json!({"pilothouse.io/request-limit": format!("{requests}/h")})
}

fn service(annotations: &Value) -> (Kind, Value) {
    let service = json!({
        "metadata": {"namespace": "shop", "name": "web", "annotations": annotations},
        "spec": {
            "clusterIP": "10.96.0.1",
            "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "http-b", "port": 82, "targetPort": "http"}],
        },
    });
    (Kind::Service, service)
}

fn route(path: &str, annotations: &Value) -> (Kind, Value) {
    let route = json!({
        "metadata": {"namespace": "shop", "name": "web", "annotations": annotations},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "rules": [{
                "matches": [{"path": {"value": path}}],
                "backendRefs": [{"name": "web", "port": 80}],
            }],
        },
    });
    (Kind::HTTPRoute, route)
}

/// Asks so many times, and returns how many were answered as usual; all others were too many.
async fn answered(waypoint: &Waypoint, to: &str, path: &str, times: usize) -> usize {
    let mut answered = 0;
    for _ in 0..times {
        // Each on a connection of its own: what is counted is of all of them.
        let answer = waypoint.http(to).await.unwrap().get(path, &[]).await.unwrap();
        match answer.status {
            StatusCode::OK => answered += 1,
            other => assert_eq!(other, StatusCode::TOO_MANY_REQUESTS, "{}", answer.text),
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_takes_so_many_requests_at_each_port() {
    let backend = Backend::start("limited", "127.0.0.1").await.unwrap();
    let mut waypoint = Waypoint::of(&format!("{MESH}{}", backend.pod())).await.unwrap();
    assert_eq!(answered(&waypoint, WEB, "/", 6).await, 6);
    waypoint.apply(&[service(&limit(3))]).await.unwrap();
    assert_eq!(answered(&waypoint, WEB, "/", 6).await, 3);
    assert_eq!(answered(&waypoint, "10.96.0.1:82", "/", 6).await, 3);
    let counted = waypoint.stats("request_limit.http_local_rate_limit.rate_limited").await.unwrap();
    assert!(counted.contains(": 6"), "{counted}");
    // What a policy denies is not counted, and what is too many is told of nobody's else.
    waypoint.apply(&[service(&limit(2))]).await.unwrap();
    let policy = json!({
        "metadata": {"namespace": "shop", "name": "no"},
        "spec": {
            "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
            "action": "DENY",
            "rules": [{"to": [{"operation": {"paths": ["/no"]}}]}],
        },
    });
    waypoint.apply(&[(Kind::AuthorizationPolicy, policy)]).await.unwrap();
    for _ in 0..4 {
        let answer = waypoint.http(WEB).await.unwrap().get("/no", &[]).await.unwrap();
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(answered(&waypoint, WEB, "/", 4).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_takes_so_many_requests_which_do_not_count_for_the_service() {
    let backend = Backend::start("limited", "127.0.0.1").await.unwrap();
    let mut waypoint = Waypoint::of(&format!("{MESH}{}", backend.pod())).await.unwrap();
    waypoint.apply(&[service(&limit(2)), route("/few", &limit(4))]).await.unwrap();
    assert_eq!(answered(&waypoint, WEB, "/few", 6).await, 4);
    // Of the service is what no rule says more of; the rules of a port are all that it has.
    let found = waypoint.http(WEB).await.unwrap().get("/other", &[]).await.unwrap();
    assert_eq!(found.status, StatusCode::NOT_FOUND);
    // Without a limit of its own it has that of the service.
    waypoint.apply(&[route("/few", &json!({}))]).await.unwrap();
    assert_eq!(answered(&waypoint, WEB, "/few", 6).await, 2);
    // What is no limit is none, and is told.
    waypoint
        .apply(&[service(&json!({})), route("/few", &json!({"pilothouse.io/request-limit": "many"}))])
        .await
        .unwrap();
    assert_eq!(answered(&waypoint, WEB, "/few", 6).await, 6);
    let told: Vec<String> = waypoint.mesh.diagnostics().iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|of| of.contains("request-limit") && of.contains("\"many\"")), "{told:?}");
}
