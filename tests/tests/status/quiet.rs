//! Two revisions on one cluster: each writes its own objects, and neither writes while nothing changes.

use crate::fixture::{Fixture, service};
use crate::gateways::until_written;
use crate::replica::Replica;
use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use model::Kind;
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::helm;
use pilothouse_tests::recorder::Recorder;
use serde_json::{Value, json};

/// How many edits of each kind change nothing that is written.
const EDITS: usize = 20;

/// A replica of a revision, and what it asks of the API server.
struct Writer {
    revision: &'static str,
    replica: Replica,
    recorder: Recorder,
}

impl Writer {
    async fn start(fixture: &Fixture, revision: &'static str) -> anyhow::Result<Self> {
        // Each is a release of the chart with the rights of its own.
        let values = json!({"gateways": {"enabled": true}, "revision": revision});
        let account = helm::account_with(&fixture.server, "istio-system", values).await?;
        let recorder = Recorder::before(&account, None).await?;
        let replica = replica(&recorder, revision).await?;
        Ok(Self { revision, replica, recorder })
    }

    /// Lets another replica take over, which compares everything that there is.
    async fn replaced(self) -> anyhow::Result<Self> {
        let Self { revision, replica: former, recorder } = self;
        former.stop().await?;
        let replica = replica(&recorder, revision).await?;
        Ok(Self { revision, replica, recorder })
    }

    /// What it has asked to be written, whatever the answer, as in `httproutes/shop/web`; without its locks.
    fn writes(&self) -> Vec<String> {
        let asked = self.recorder.asked();
        let is_write = |method: &str| matches!(method, "POST" | "PUT" | "PATCH" | "DELETE");
        let writes = asked.iter().filter(|asked| is_write(&asked.method));
        let paths = writes.map(|asked| asked.path.split('?').next().unwrap_or_default());
        paths.filter(|path| !path.contains("/namespaces/istio-system/")).map(object).collect()
    }
}

async fn replica(recorder: &Recorder, revision: &'static str) -> anyhow::Result<Replica> {
    let set = |settings: &mut runtime::controllers::StatusSettings| {
        settings.deploys_gateways = true;
        settings.revision = revision.to_owned();
    };
    Replica::start_with(recorder.kubeconfig(), &format!("replica-{revision}"), set).await
}

/// Returns the object of a path as `PLURAL/NAMESPACE/NAME`, or `PLURAL/NAME` of one in no namespace.
fn object(path: &str) -> String {
    let path = path.strip_suffix("/status").unwrap_or(path);
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    // `api/VERSION`, or `apis/GROUP/VERSION`.
    let rest = parts.get(if parts[0] == "api" { 2 } else { 3 }..).unwrap_or_default();
    match rest {
        ["namespaces", namespace, plural, name @ ..] => format!("{plural}/{namespace}/{}", name.join("/")),
        other => other.join("/"),
    }
}

/// A gateway and a route to it, both of this name.
fn pair(ns: &str, name: &str, labels: &Value) -> [Value; 2] {
    let metadata = json!({"name": name, "namespace": ns, "labels": labels});
    let api = "gateway.networking.k8s.io/v1";
    [
        json!({"apiVersion": api, "kind": "Gateway", "metadata": metadata, "spec": {
            "gatewayClassName": "istio", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        }}),
        json!({"apiVersion": api, "kind": "HTTPRoute", "metadata": metadata, "spec": {
            "parentRefs": [{"name": name}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        }}),
    ]
}

/// Waits until the gateway is programmed, and the statuses of it and of its route are as the replica wants them.
async fn until_settled(fixture: &Fixture, writer: &Writer, ns: &str, name: &str) -> anyhow::Result<()> {
    let is_programmed = async || {
        let conditions = fixture.conditions(Kind::Gateway, ns, name).await?;
        let programmed = conditions.iter().find(|(kind, ..)| kind == "Programmed");
        Ok(programmed.filter(|(_, status, ..)| status == "True").map(drop))
    };
    until(LIMIT, is_programmed).await.with_context(|| format!("{ns}/{name} is not programmed"))?;
    for kind in [Kind::Gateway, Kind::HTTPRoute] {
        until_written(fixture, writer.replica.engine(), (kind, ns, name)).await?;
    }
    Ok(())
}

/// Changes what nobody's status or deployment depends on.
async fn edit(fixture: &Fixture, n: usize) -> anyhow::Result<()> {
    let note = json!({"metadata": {"annotations": {"example.com/edit": n.to_string()}}});
    for (ns, name) in [("shop", "own"), ("shop", "blue"), ("azure", "inherits")] {
        let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{ns}/httproutes/{name}");
        let patch = http::Request::patch(path).header("content-type", "application/merge-patch+json");
        fixture.client.request::<Value>(patch.body(note.to_string().into_bytes())?).await?;
        // Drift that is nobody's: a field that is not ours.
        let deployments = Api::<Deployment>::namespaced(fixture.client.clone(), ns);
        let params = PatchParams::default();
        deployments.patch(&format!("{name}-istio"), &params, &Patch::Merge(&note)).await?;
    }
    fixture.put(service("shop", "other", json!({"edit": n.to_string()}))).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_revisions_write_each_its_own_objects_and_nothing_while_nothing_changes() -> anyhow::Result<()> {
    let blue = json!({"istio.io/rev": "blue"});
    let fixture = Fixture::start_with_controllers(&[("shop", json!({})), ("azure", blue.clone())]).await?;
    let one = Writer::start(&fixture, "").await?;
    let two = Writer::start(&fixture, "blue").await?;
    for ns in ["shop", "azure"] {
        fixture.put(service(ns, "web", json!({}))).await?;
    }
    let objects =
        [("shop", "own", json!({})), ("shop", "blue", blue.clone()), ("azure", "inherits", json!({}))];
    for (ns, name, labels) in &objects {
        for object in pair(ns, name, labels) {
            fixture.put(object).await?;
        }
    }
    until_settled(&fixture, &one, "shop", "own").await?;
    until_settled(&fixture, &two, "shop", "blue").await?;
    until_settled(&fixture, &two, "azure", "inherits").await?;
    for class in ["istio", "istio-waypoint"] {
        until_written(&fixture, one.replica.engine(), (Kind::GatewayClass, "", class)).await?;
    }
    let is_of = |write: &String, names: &[&str]| {
        let name = write.rsplit('/').next().unwrap_or_default();
        names.iter().any(|own| name == *own || name == format!("{own}-istio"))
    };
    // Whoever is first makes the classes.
    let is_class = |write: &String| write.starts_with("gatewayclasses");
    for (writer, names) in [(&one, &["own"][..]), (&two, &["blue", "inherits"])] {
        let writes = writer.writes();
        let foreign: Vec<_> = writes.iter().filter(|of| !is_of(of, names) && !is_class(of)).collect();
        ensure!(!writes.is_empty() && foreign.is_empty(), "{:?} writes {foreign:?}", writer.revision);
    }
    let classes = two.writes().into_iter().filter(|of| of.starts_with("gatewayclasses/"));
    assert_eq!(classes.collect::<Vec<_>>(), [""; 0], "statuses of classes are those of the other one");

    // Edits that change nothing for them, and new leaders that compare everything.
    let before = (one.writes().len(), two.writes().len());
    for n in 0..EDITS {
        edit(&fixture, n).await?;
    }
    let (one, two) = (one.replaced().await?, two.replaced().await?);
    for n in EDITS..2 * EDITS {
        edit(&fixture, n).await?;
    }
    // Both have heard of all that by what follows it.
    for (name, labels) in [("last-own", json!({})), ("last-blue", blue)] {
        for object in pair("shop", name, &labels) {
            fixture.put(object).await?;
        }
    }
    until_settled(&fixture, &one, "shop", "last-own").await?;
    until_settled(&fixture, &two, "shop", "last-blue").await?;
    for (writer, before, last) in [(&one, before.0, "last-own"), (&two, before.1, "last-blue")] {
        let writes = writer.writes().split_off(before);
        let (new, others): (Vec<_>, Vec<_>) = writes.into_iter().partition(|of| is_of(of, &[last]));
        ensure!(!new.is_empty() && others.is_empty(), "{:?} writes {others:?}", writer.revision);
    }
    one.replica.stop().await?;
    two.replica.stop().await
}
