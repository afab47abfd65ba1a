//! What is wrong with objects reaches the log's counters, the metrics and the pages; and settings that nothing
//! stands in for hold everything back.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use mesh::Options;
use model::{Event, Kind, Name, ObjectRef, Severity, parse};
use pilothouse_runtime::engine_thread::EngineHandle;
use pilothouse_runtime::metrics::Metrics;
use pilothouse_runtime::pages;
use pilothouse_runtime::source::folder::{FolderSettings, FolderSource};
use serde_json::{Value, json};
use server::Clients;
use server::http::{self, HttpBounds};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);

fn event(kind: Kind, object: &Value) -> Event {
    match parse(kind, object.to_string().as_bytes()) {
        Ok(parsed) => Event::Put(parsed),
        Err(diagnostic) => Event::Reject(diagnostic.object.clone().unwrap(), diagnostic),
    }
}

fn settings(mesh: &str) -> Event {
    let map = json!({"metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh}});
    event(Kind::ConfigMap, &map)
}

fn policy(name: &str, spec: &Value) -> Event {
    let policy = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    event(Kind::AuthorizationPolicy, &policy)
}

fn synced() -> impl Iterator<Item = Event> {
    Kind::ALL.iter().map(|kind| Event::Synced(*kind))
}

async fn send(engine: &EngineHandle, events: impl IntoIterator<Item = Event>) {
    engine.batches().send(events.into_iter().collect::<Vec<_>>().into()).await.unwrap();
    // A query waits for what was sent before it.
    engine.query(|_| ()).await.unwrap();
}

async fn metric(engine: &EngineHandle, name: &str) -> Option<String> {
    let text = Metrics::new(engine.clone(), Clients::default()).render().await;
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}

#[tokio::test]
async fn findings_are_counted_while_they_stand_and_refusals_for_good() {
    let engine = EngineHandle::start(Options::default()).unwrap();
    let deny = |principal: &str| json!({"action": "DENY", "rules": [{"from": [{"source": {"principals": [principal]}}]}]});
    let service = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": []});
    let events = [
        policy("refused", &json!({"action": "ALOW"})),
        policy("scheme", &deny("spiffe://cluster.local/ns/bad/sa/bad")),
        event(Kind::Service, &service),
    ];
    send(&engine, events.into_iter().chain(synced())).await;
    let standing = engine.log().active();
    assert_eq!(
        standing,
        [("AP002", Severity::Error, 1), ("AP101", Severity::Error, 1), ("KO003", Severity::Error, 1)]
    );
    assert_eq!(engine.log().refused(), 2);
    assert_eq!(metric(&engine, "pilot_total_rejected_configs").await.as_deref(), Some("2"));
    let of = "pilothouse_diagnostics{code=\"AP101\",severity=\"error\"}";
    assert_eq!(metric(&engine, of).await.as_deref(), Some("1"));

    // The same again is nothing new; then all of it ends.
    send(&engine, [policy("refused", &json!({"action": "ALOW", "rules": []}))]).await;
    assert_eq!(engine.log().active(), standing);
    let gone = |kind, name: &str| Event::Remove(ObjectRef { kind, name: Name::new("shop", name) });
    let events = [
        gone(Kind::AuthorizationPolicy, "refused"),
        policy("scheme", &deny("cluster.local/ns/bad/sa/bad")),
        gone(Kind::Service, "web"),
    ];
    send(&engine, events).await;
    assert!(engine.log().active().iter().all(|(.., count)| *count == 0));
    assert_eq!(metric(&engine, of).await.as_deref(), Some("0"));
    assert_eq!(engine.log().refused(), 2);
}

#[tokio::test]
async fn what_a_file_and_an_object_in_it_tell_is_one_finding_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let policy = |name: &str, spec: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{namespace: shop, name: {name}}}\nspec: {spec}\n---\n"
        )
    };
    let wrong = [
        policy("refused", "{action: ALOW, rules: [{}]}"),
        policy("unknown", "{Action: DENY, rules: [{}]}"),
        policy(
            "dead",
            "{action: DENY, rules: [{from: [{source: {namespaces: [a]}}], to: [{operation: {methods: [GET]}}]}]}",
        ),
    ];
    std::fs::write(folder.path().join("a.yaml"), wrong.concat()).unwrap();
    let engine = EngineHandle::start(Options::default()).unwrap();
    let settings = FolderSettings::new(vec![folder.path().to_owned()]);
    let source = FolderSource::new(settings).with_log(engine.log().clone());
    tokio::spawn(source.run(engine.batches()));
    let mut snapshots = engine.snapshots();
    timeout(LIMIT, snapshots.wait_for(Option::is_some)).await.expect("nothing is served").unwrap();
    // Of the commit that published the snapshot more is told after it.
    let found = engine.query(plane::Plane::diagnostics).await.unwrap();
    let error = |code| (code, Severity::Error, 1);
    assert_eq!(engine.log().active(), [error("AP002"), error("AP104"), error("KO004")]);
    let dead = found.into_iter().find(|found| found.code == "AP104").unwrap();
    assert_eq!(dead.place, None, "the mesh knows nothing of files");
    let place = engine.log().places().placed(dead).place.unwrap();
    assert!(place.file.ends_with("a.yaml"), "{place:?}");
    assert_eq!(place.line, 14, "that of the rules");
}

/// Asks the health port of an engine.
async fn ready(engine: &EngineHandle) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = pages::health(engine, Default::default(), Default::default());
    let stop = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, router, HttpBounds::default(), stop.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    stop.cancel();
    timeout(LIMIT, server).await.expect("the port stays open").unwrap();
    answer
}

#[tokio::test]
async fn nothing_is_served_with_settings_that_nothing_stands_in_for() {
    for (wrong, trusted) in [
        ("trustDomain: Corp.Test", "corp.test"),
        // Nothing is wrong with the trust domain, which is not set any more.
        ("rootNamespace: istio_system", "cluster.local"),
        ("trustDomain: [", "corp.test"),
    ] {
        let engine = EngineHandle::start(Options::default()).unwrap();
        let deny = policy("deny", &json!({"action": "DENY", "rules": [{}]}));
        send(&engine, [settings(wrong), deny].into_iter().chain(synced())).await;
        assert!(engine.snapshots().borrow().is_none(), "{wrong}");
        let why = engine.log().awaited().expect(wrong);
        assert_eq!(engine.log().active(), [(why.code, Severity::Error, 1)], "{wrong}");
        let answer = ready(&engine).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(why.code), "{answer}");

        // What comes meanwhile is not lost.
        send(&engine, [policy("more", &json!({"action": "DENY", "rules": [{}]}))]).await;
        assert!(engine.snapshots().borrow().is_none(), "{wrong}");
        send(&engine, [settings("trustDomain: corp.test")]).await;
        let policies = |engine: &EngineHandle| {
            let snapshot = engine.snapshots().borrow().clone();
            snapshot.map(|snapshot| snapshot.mesh().len(xds::ResourceType::Authorization))
        };
        assert_eq!(policies(&engine), Some(2), "{wrong}");
        assert_eq!(engine.log().awaited(), None);
        assert!(engine.log().active().iter().all(|(.., count)| *count == 0), "{wrong}");
        assert!(ready(&engine).await.starts_with("HTTP/1.1 200"), "{wrong}");

        // From now on there are last good ones.
        send(&engine, [settings(wrong)]).await;
        assert_eq!((policies(&engine), engine.log().awaited()), (Some(2), None), "{wrong}");
        assert!(ready(&engine).await.starts_with("HTTP/1.1 200"), "{wrong}");
        assert_eq!(engine.log().active().iter().map(|(.., count)| count).sum::<u64>(), 1, "{wrong}");
        let trust = engine.query(|mesh| mesh.identity().settings().trust_domain.to_string()).await;
        assert_eq!(trust.as_deref(), Some(trusted), "{wrong}");
    }
}

#[tokio::test]
async fn a_part_that_something_stands_in_for_leaves_the_others_active_at_a_start() {
    let engine = EngineHandle::start(Options::default()).unwrap();
    let half = "
trustDomain: corp.test
rootNamespace: mesh-root
serviceEntryVisibility:
  policies:
  - visibility: PUBLIC
    matchingRules: [{namespaceSelector: {matchExpressions: [{key: team, operator: Near}]}}]
";
    let strict = json!({
        "metadata": {"name": "strict", "namespace": "mesh-root"}, "spec": {"mtls": {"mode": "STRICT"}},
    });
    let pod = json!({
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"ambient.istio.io/redirection": "enabled"}},
        "spec": {"serviceAccountName": "web", "nodeName": "a"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
    });
    let events = [settings(half), event(Kind::PeerAuthentication, &strict), event(Kind::Pod, &pod)];
    send(&engine, events.into_iter().chain(synced())).await;
    assert!(ready(&engine).await.starts_with("HTTP/1.1 200"));
    assert_eq!(engine.log().active(), [("MS002", Severity::Error, 1)]);
    let of = "pilothouse_diagnostics{code=\"MS002\",severity=\"error\"}";
    assert_eq!(metric(&engine, of).await.as_deref(), Some("1"));
    let sent = engine.query(|mesh| mesh.resources()).await.unwrap();
    let pod = sent.iter().find(|resource| resource.name.ends_with("/Pod/shop/web")).expect("the pod");
    let body = pod.body.clone().unwrap();
    let holds = |text: &str| body.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("corp.test") && holds("mesh-root/istio_converted_static_strict"));
}
