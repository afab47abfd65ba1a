#![allow(clippy::unwrap_used)]

use super::*;
use axum::http::Request;
use plane::Options;
use serde_json::{Value, json};
use tower::ServiceExt;

fn webhook(admits: bool) -> Webhook {
    Webhook::new(Judge::new(Options::default()), Arc::default(), admits)
}

async fn ask(webhook: &Webhook, method: &str, path: &str, content: &str, body: Body) -> (StatusCode, String) {
    let request =
        Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, content).body(body).unwrap();
    let peer = Peer::of([10, 0, 0, 1].into());
    let router = webhook.clone().router().layer(Extension(peer));
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), LONGEST_BODY).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn review(kind: &str, object: Value) -> String {
    let kind = json!({"group": "security.istio.io", "version": "v1", "kind": kind});
    let request =
        json!({"uid": "u", "kind": kind, "operation": "CREATE", "namespace": "shop", "object": object});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string()
}

const JSON: &str = "application/json; charset=utf-8";

#[tokio::test]
async fn what_is_no_review_is_answered_with_a_status_and_counted() {
    let webhook = webhook(false);
    let long = vec![b' '; LONGEST_BODY + 1];
    let deep = "[".repeat(LONGEST_BODY);
    for (method, path, content, body, status) in [
        ("GET", "/validate", JSON, Vec::new(), 405),
        ("PUT", "/validate", JSON, b"{}".to_vec(), 405),
        ("POST", "/nowhere", JSON, b"{}".to_vec(), 404),
        ("POST", "/validate", "text/plain", b"{}".to_vec(), 415),
        ("POST", "/validate", "", b"{}".to_vec(), 415),
        ("POST", "/validate/", JSON, Vec::new(), 400),
        ("POST", "/validate", JSON, b"{".to_vec(), 400),
        ("POST", "/validate", JSON, vec![0xff; 1000], 400),
        ("POST", "/validate", JSON, deep.into_bytes(), 400),
        ("POST", "/validate", JSON, long, 413),
        ("POST", "/inject", JSON, b"[]".to_vec(), 400),
    ] {
        let (answered, why) = ask(&webhook, method, path, content, Body::from(body)).await;
        assert_eq!(answered.as_u16(), status, "{method} {path}: {why}");
    }
    assert_eq!(webhook.stats.statuses(), [(400, 5), (413, 1), (415, 2)]);
    assert_eq!(webhook.bodies.held(), 0);
    let (ready, _) = ask(&webhook, "GET", "/ready", JSON, Body::empty()).await;
    assert_eq!(ready, StatusCode::OK);
}

#[tokio::test]
async fn decisions_are_counted_by_kinds_that_are_known() {
    let webhook = webhook(false);
    let object = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"mtls": {"mode": "SOME"}}});
    let body = review("PeerAuthentication", object);
    let (status, answer) = ask(&webhook, "POST", "/validate", JSON, Body::from(body)).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (StatusCode::OK, &json!(false)));
    assert_eq!(answer["response"]["uid"], "u");
    let body = review("Whatever", json!({"metadata": {}}));
    ask(&webhook, "POST", "/validate", JSON, Body::from(body)).await;
    let body = review("PeerAuthentication", json!({"metadata": {"name": "a", "namespace": "b"}}));
    ask(&webhook, "POST", "/validate", JSON, Body::from(body)).await;
    let of = ["security.istio.io", "v1", "peerauthentications"];
    assert_eq!(webhook.stats.passed(), [(of, 1)]);
    let failed = [([""; 3], admission::Reason::UnknownKind, 1), (of, admission::Reason::Invalid, 1)];
    assert_eq!(webhook.stats.failed(), failed);
}

#[tokio::test]
async fn no_pod_starts_without_the_sidecar_that_it_asks_for_unless_that_was_asked_for() {
    for admits in [false, true] {
        let body = review("Pod", json!({"metadata": {"name": "a"}}));
        let (_, answer) = ask(&webhook(admits), "POST", "/inject/cluster/a", JSON, Body::from(body)).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let response = &answer["response"];
        assert_eq!((&response["allowed"], &response["patch"]), (&json!(admits), &Value::Null));
        assert!(answer.to_string().contains("istio.io/dataplane-mode: ambient"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_with_many_large_bodies_takes_from_itself_alone() {
    let webhook = webhook(false);
    let mut held: Vec<_> = (0..8).map(|_| webhook.bodies.open("10.0.0.9".into(), || ())).collect();
    for charge in &mut held {
        charge.set(LONGEST_BODY as u64).unwrap();
    }
    let large =
        Body::from(format!("{}{}", " ".repeat(LONGEST_BODY - 4000), review("PeerAuthentication", json!({}))));
    let (status, answer) = ask(&webhook, "POST", "/validate", JSON, large).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}
