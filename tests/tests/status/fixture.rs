//! Objects of an API server, and what their statuses hold.

use anyhow::{Context, ensure};
use kube::Client;
use model::{Kind, Name, ObjectRef, Scope};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, client_of, documents, known_crds, until};
use pilothouse_tests::{helm, statuses};
use runtime::engine_thread::EngineHandle;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// An API server with every kind installed, and a client with all rights.
pub struct Fixture {
    pub server: ApiServer,
    pub client: Client,
    /// Leads there as the chart's account, which has the chart's rights and no others.
    pub account: PathBuf,
}

/// A condition: type, status, reason, message.
pub type Condition = (String, String, String, String);

/// The same, as it is written in a test.
pub type Text<'a> = (&'a str, &'a str, &'a str, &'a str);

/// What a test says of a condition of ours: type, status, reason.
pub type Summary<'a> = (&'a str, &'a str, &'a str);

impl Fixture {
    /// Starts a server with the namespaces given, each with its labels, and `istio-system`, and with the classes
    /// that a replica would make: what is said of waypoints does not change by them while a test counts.
    pub async fn start(namespaces: &[(&str, Value)]) -> anyhow::Result<Self> {
        let fixture = Self::without_classes(namespaces).await?;
        for (name, controller) in
            [("istio", "istio.io/gateway-controller"), ("istio-waypoint", "istio.io/mesh-controller")]
        {
            fixture.put(class(name, controller)).await?;
        }
        Ok(fixture)
    }

    /// As [`Fixture::start`], without classes.
    pub async fn without_classes(namespaces: &[(&str, Value)]) -> anyhow::Result<Self> {
        Self::on(ApiServer::start().await?, namespaces).await
    }

    /// As [`Fixture::without_classes`], with the controllers of a cluster.
    pub async fn start_with_controllers(namespaces: &[(&str, Value)]) -> anyhow::Result<Self> {
        Self::on(ApiServer::with_controllers().await?, namespaces).await
    }

    async fn on(server: ApiServer, namespaces: &[(&str, Value)]) -> anyhow::Result<Self> {
        let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/base/crds");
        for entry in std::fs::read_dir(&crds)? {
            server.apply(&std::fs::read_to_string(entry?.path())?).await?;
        }
        let known = tokio::task::spawn_blocking(known_crds).await??;
        for definition in known.gateway_standard {
            server.apply(&serde_yaml::to_string(&definition)?).await?;
        }
        let client = client_of(&server.kubeconfig()).await?;
        let mut fixture = Self { server, client, account: PathBuf::new() };
        let system = ("istio-system", json!({}));
        for (name, labels) in namespaces.iter().chain([&system]) {
            let metadata = json!({"name": name, "labels": labels});
            fixture.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})).await?;
        }
        fixture.account = helm::account(&fixture.server, "istio-system").await?;
        Ok(fixture)
    }

    /// Creates or changes an object.
    pub async fn put(&self, object: Value) -> anyhow::Result<Value> {
        self.patch(&object, "", "tests").await
    }

    /// Creates or changes the objects of a YAML text; a status in it is set too.
    pub async fn put_all(&self, yaml: &str) -> anyhow::Result<()> {
        for object in documents(yaml)? {
            self.put(object.clone()).await?;
            if object.get("status").is_some() {
                self.patch(&object, "/status", "tests").await?;
            }
        }
        Ok(())
    }

    /// Applies the status of an object under a field manager.
    pub async fn put_status(&self, object: &Value, manager: &str) -> anyhow::Result<Value> {
        self.patch(object, "/status", manager).await
    }

    async fn patch(&self, object: &Value, part: &str, manager: &str) -> anyhow::Result<Value> {
        let path = path_of(object)?;
        let request = http::Request::patch(format!("{path}{part}?fieldManager={manager}&force=true"))
            .header("content-type", "application/apply-patch+yaml")
            .body(object.to_string().into_bytes())?;
        self.client.request(request).await.with_context(|| format!("cannot apply {object}"))
    }

    /// Returns an object.
    pub async fn get(&self, kind: Kind, ns: &str, name: &str) -> anyhow::Result<Value> {
        let request = http::Request::get(path(kind, ns, name)).body(Vec::new())?;
        Ok(self.client.request(request).await?)
    }

    /// Deletes an object.
    pub async fn delete(&self, kind: Kind, ns: &str, name: &str) -> anyhow::Result<()> {
        let request = http::Request::delete(path(kind, ns, name)).body(Vec::new())?;
        self.client.request_text(request).await?;
        Ok(())
    }

    /// Returns the conditions of an object, by type.
    pub async fn conditions(&self, kind: Kind, ns: &str, name: &str) -> anyhow::Result<Vec<Condition>> {
        let object = self.get(kind, ns, name).await?;
        let list =
            object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut all: Vec<Condition> = list
            .iter()
            .map(|c| {
                let text = |field: &str| c[field].as_str().unwrap_or_default().to_owned();
                (text("type"), text("status"), text("reason"), text("message"))
            })
            .collect();
        all.sort();
        Ok(all)
    }

    /// Waits until the conditions of an object are these, each with the message that `mesh` computed: what
    /// the messages say is for the golden cases.
    pub async fn until_conditions(
        &self,
        mesh: &EngineHandle,
        object: (Kind, &str, &str),
        expected: &[Summary<'_>],
    ) -> anyhow::Result<()> {
        self.until_conditions_beside(mesh, object, expected, &[]).await
    }

    /// As [`Fixture::until_conditions`], with conditions besides that others have written.
    pub async fn until_conditions_beside(
        &self,
        mesh: &EngineHandle,
        (kind, ns, name): (Kind, &str, &str),
        expected: &[Summary<'_>],
        of_others: &[Text<'_>],
    ) -> anyhow::Result<()> {
        let own = |text: &str| text.to_owned();
        let mut summaries: Vec<_> = expected.iter().map(|(t, s, r)| (own(t), own(s), own(r))).collect();
        summaries.sort();
        let others = of_others.iter().map(|(t, s, r, m)| (own(t), own(s), own(r), own(m)));
        let (mut stored, mut computed) = (Vec::new(), Vec::new());
        let are_there = async || {
            computed = computed_conditions(mesh, kind, ns, name).await?;
            let as_expected = computed.iter().map(|(t, s, r, _)| (t.clone(), s.clone(), r.clone()));
            if !as_expected.eq(summaries.iter().cloned()) {
                return Ok(None);
            }
            stored = self.conditions(kind, ns, name).await?;
            let mut all: Vec<Condition> = computed.iter().cloned().chain(others.clone()).collect();
            all.sort();
            Ok((stored == all).then_some(()))
        };
        let waited = until(LIMIT, are_there).await;
        waited.with_context(|| {
            format!("{kind} {ns}/{name}: {stored:#?}, computed {computed:#?}, instead of {summaries:?}")
        })
    }

    /// Returns `status.addresses` of a ServiceEntry: (host, value).
    pub async fn addresses(&self, ns: &str, name: &str) -> anyhow::Result<Vec<(String, String)>> {
        Ok(addresses_of(&self.get(Kind::ServiceEntry, ns, name).await?))
    }

    /// Waits until the API server has counted this many writes of statuses, and checks that it has
    /// counted no more. It counts a write only after its answer, so what is seen may not be counted yet.
    pub async fn has_written(&self, count: u64) -> anyhow::Result<()> {
        let enough = async || Ok(Some(self.writes().await?).filter(|n| *n >= count));
        let counted = until(LIMIT, enough).await.with_context(|| format!("not {count} writes"))?;
        anyhow::ensure!(counted == count, "{counted} writes instead of {count}");
        Ok(())
    }

    /// Returns how many statuses of kinds of ours were written so far, as the API server counts.
    pub async fn writes(&self) -> anyhow::Result<u64> {
        Ok(statuses::writes(&self.client).await?.into_values().sum())
    }
}

/// Returns `status.addresses` of an object: (host, value).
pub fn addresses_of(object: &Value) -> Vec<(String, String)> {
    let list = object.pointer("/status/addresses").and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |a: &Value, field: &str| a[field].as_str().unwrap_or_default().to_owned();
    list.iter().map(|a| (text(a, "host"), text(a, "value"))).collect()
}

/// Returns the path of the objects of a kind in a namespace.
pub fn collection(kind: Kind, ns: &str) -> String {
    let (group, version) = (kind.group(), kind.version());
    let api = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    match kind.scope() {
        Scope::Cluster => format!("{api}/{}", kind.plural()),
        Scope::Namespaced => format!("{api}/namespaces/{ns}/{}", kind.plural()),
    }
}

fn path(kind: Kind, ns: &str, name: &str) -> String {
    format!("{}/{name}", collection(kind, ns))
}

fn path_of(object: &Value) -> anyhow::Result<String> {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let kind = Kind::from_manifest(text("/apiVersion"), text("/kind"));
    let name = text("/metadata/name");
    ensure!(!name.is_empty(), "no name: {object}");
    Ok(path(kind.with_context(|| format!("no kind of ours: {object}"))?, text("/metadata/namespace"), name))
}

/// Returns a class of gateways.
pub fn class(name: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": name}, "spec": {"controllerName": controller},
    })
}

/// Returns a service with these labels.
pub fn service(ns: &str, name: &str, labels: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": ns, "labels": labels},
        "spec": {"ports": [{"port": 80}], "selector": {"app": name}},
    })
}

/// Returns a service entry of these hosts with an endpoint.
pub fn entry(ns: &str, name: &str, hosts: &[&str]) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": ns},
        "spec": {
            "hosts": hosts, "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [{"address": "192.0.2.1"}],
        },
    })
}

/// Returns a waypoint that is ready, as another control plane says of it, open to the namespaces of `from` (`Same` or
/// `All`).
pub fn waypoint(ns: &str, name: &str, from: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{labels: {{istio.io/rev: elsewhere}}, name: {name}, namespace: {ns}}}
spec:
  gatewayClassName: istio-waypoint
  listeners:
  - name: mesh
    port: 15008
    protocol: HBONE
    allowedRoutes: {{namespaces: {{from: {from}}}}}
status:
  addresses: [{{type: Hostname, value: {name}.{ns}.svc.cluster.local}}]
"
    )
}

/// Returns the conditions that a mesh computed of an object, by type.
async fn computed_conditions(
    mesh: &EngineHandle,
    kind: Kind,
    ns: &str,
    name: &str,
) -> anyhow::Result<Vec<Condition>> {
    let object = ObjectRef { kind, name: Name::new(ns, name) };
    let found = mesh.query(move |mesh| mesh.conditions_of(&object)).await.context("the engine ended")?;
    let mut all: Vec<Condition> = found
        .iter()
        .flat_map(|of| of.conditions.iter())
        .map(|c| {
            let status = if c.status { "True" } else { "False" };
            (c.kind.to_owned(), status.to_owned(), c.reason.to_owned(), c.message.clone())
        })
        .collect();
    all.sort();
    Ok(all)
}

/// Returns a workload entry.
pub fn workload_entry(ns: &str, name: &str, labels: Value, annotations: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {"name": name, "namespace": ns, "labels": labels, "annotations": annotations},
        "spec": {"address": "192.0.2.7"},
    })
}

/// Returns an entry that takes no address of the pool, which would be one more write.
pub fn unaddressed(mut entry: Value) -> Value {
    entry["metadata"]["labels"]["networking.istio.io/enable-autoallocate-ip"] = json!("false");
    entry
}
