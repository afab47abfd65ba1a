//! Objects of an API server, written one request each.

use anyhow::{Context, bail};
use kube::Client;
use model::{Kind, Scope};
use pilothouse_tests::apiserver::{ApiServer, KnownCrds, LIMIT, client_of, known_crds, until};
use serde_json::{Value, json};
use std::path::Path;

/// The mesh settings: the name of their ConfigMap.
pub const SETTINGS: &str = "istio";

/// Writes objects with all rights.
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Writes to this server.
    pub async fn of(server: &ApiServer) -> anyhow::Result<Self> {
        Ok(Self { client: client_of(&server.kubeconfig()).await? })
    }

    /// Returns the client with which it writes.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates an object, or makes it what is written; returns it as stored.
    pub async fn apply(&self, object: &Value) -> anyhow::Result<Value> {
        self.patch(object, "").await
    }

    /// Sets the status of an object to what is written of it.
    pub async fn apply_status(&self, object: &Value) -> anyhow::Result<Value> {
        self.patch(object, "/status").await
    }

    async fn patch(&self, object: &Value, part: &str) -> anyhow::Result<Value> {
        let path = path_of(object)?;
        let request = http::Request::patch(format!("{path}{part}?fieldManager=tests&force=true"))
            .header("content-type", "application/apply-patch+yaml")
            .body(object.to_string().into_bytes())?;
        self.client.request(request).await.with_context(|| format!("cannot apply {object}"))
    }

    /// Deletes an object at once.
    pub async fn delete(&self, object: &Value) -> anyhow::Result<()> {
        self.delete_with(object, &json!({"gracePeriodSeconds": 0})).await
    }

    /// Asks for the end of a pod, which somebody else has to bring about: it stays, terminating.
    pub async fn terminate(&self, pod: &Value) -> anyhow::Result<()> {
        self.delete_with(pod, &json!({"gracePeriodSeconds": 600})).await
    }

    async fn delete_with(&self, object: &Value, options: &Value) -> anyhow::Result<()> {
        let path = path_of(object)?;
        let request = http::Request::delete(&path)
            .header("content-type", "application/json")
            .body(options.to_string().into_bytes())?;
        self.client.request_text(request).await.with_context(|| format!("cannot delete {path}")).map(drop)
    }

    /// Creates a namespace with these labels in which pods can be created.
    pub async fn namespace(&self, name: &str, labels: Value) -> anyhow::Result<()> {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        }))
        .await?;
        until(LIMIT, async || {
            let request = http::Request::get(format!("/api/v1/namespaces/{name}/serviceaccounts/default"));
            match self.client.request::<Value>(request.body(Vec::new())?).await {
                Ok(_) => Ok(Some(())),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
        .context("no service account")
    }

    /// Creates or changes a pod and its status; returns it as stored.
    pub async fn pod(&self, pod: &Value) -> anyhow::Result<Value> {
        let stored = self.apply(pod).await?;
        self.apply_status(&status_of(pod)).await?;
        Ok(stored)
    }

    /// Installs the chart's definitions.
    pub async fn install_chart(&self, server: &ApiServer) -> anyhow::Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/base/crds");
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            server.apply(&std::fs::read_to_string(entry?.path())?).await?;
        }
        Ok(())
    }

    /// Installs the Gateway API's definitions.
    pub async fn install_gateway_api(&self, server: &ApiServer) -> anyhow::Result<()> {
        let KnownCrds { gateway_standard, .. } =
            tokio::task::spawn_blocking(known_crds).await.context("reading definitions")??;
        for definition in gateway_standard {
            server.apply(&serde_yaml::to_string(&definition)?).await?;
        }
        Ok(())
    }
}

/// Returns the ConfigMap with the mesh settings.
pub fn settings(namespace: &str, mesh: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": SETTINGS, "namespace": namespace},
        "data": {"mesh": mesh},
    })
}

/// Returns a running pod that the CNI agent has captured.
pub fn pod(namespace: &str, name: &str, app: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {"app": app},
            "annotations": {"ambient.istio.io/redirection": "enabled"},
        },
        "spec": {
            "containers": [
                {"name": "main", "image": "main", "ports": [{"name": "http", "containerPort": 8080}]},
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "podIP": ip, "podIPs": [{"ip": ip}],
        },
    })
}

/// Returns a service of the pods of an app.
pub fn service(namespace: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": app, "namespace": namespace},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

/// Returns an AuthorizationPolicy for the pods of an app.
pub fn policy(namespace: &str, name: &str, app: &str, action: &str, rules: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": app}}, "action": action, "rules": rules},
    })
}

/// Returns a Service that most meshes make GLOBAL, of what has its name as label `app`.
pub fn global_service(namespace: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": app, "namespace": namespace, "labels": {"istio.io/global": "true"}},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

/// Returns a WorkloadEntry of `network`, with a weight of 3.
pub fn remote_entry(network: &str, namespace: &str, app: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {"name": app, "namespace": namespace, "labels": {"app": app}},
        "spec": {"address": "10.2.0.1", "network": network, "serviceAccount": "vm", "weight": 3},
    })
}

/// Returns a gateway through which `network` is reached, with its address.
pub fn remote_gateway(network: &str, namespace: &str, name: &str, ip: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace, "labels": {"topology.istio.io/network": network}},
        "spec": {
            "gatewayClassName": "istio-remote",
            "addresses": [{"type": "IPAddress", "value": ip}],
            "listeners": [{
                "name": "cross", "port": 15008, "protocol": "HBONE", "tls": {"mode": "Terminate", "options": {
                    "gateway.istio.io/tls-terminate-mode": "ISTIO_MUTUAL",
                }},
            }],
        },
        "status": {"addresses": [{"type": "IPAddress", "value": ip}]},
    })
}

/// Returns a waypoint that is ready.
pub fn waypoint(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
        },
        "status": {"addresses": [
            {"type": "Hostname", "value": format!("{name}.{namespace}.svc.cluster.local")},
        ]},
    })
}

/// Returns what a status is written with: the object's name and its status.
pub fn status_of(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut name = json!({"name": metadata["name"]});
    if let Some(namespace) = metadata.get("namespace") {
        name["namespace"] = namespace.clone();
    }
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"],
        "metadata": name, "status": object["status"],
    })
}

/// Returns the path of an object of a kind that Pilothouse reads.
fn path_of(object: &Value) -> anyhow::Result<String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("/apiVersion"), text("/kind"));
    let Some(kind) = Kind::from_manifest(api_version, kind) else { bail!("{kind} is not read") };
    let api = if kind.group().is_empty() { "/api" } else { "/apis" };
    let plural = kind.plural();
    let name = text("/metadata/name");
    Ok(match kind.scope() {
        Scope::Cluster => format!("{api}/{api_version}/{plural}/{name}"),
        Scope::Namespaced => {
            let namespace = text("/metadata/namespace");
            format!("{api}/{api_version}/namespaces/{namespace}/{plural}/{name}")
        }
    })
}
