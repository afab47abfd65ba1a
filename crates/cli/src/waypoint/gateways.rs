//! Waypoints of a cluster: read, applied, waited for, deleted.

use super::manifest::{CLASS, REVISION, TRAFFIC};
use anyhow::{anyhow, bail};
use cluster::{Access, Connection, connect, error_message};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use kube::core::Resource;
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the API server may take for a response.
const RESPONSE: Duration = Duration::from_secs(30);
/// Who has written what `apply` sends.
const FIELD_MANAGER: &str = "pilothouse";
/// The label that says which waypoint is used.
pub const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// The label that enrols a namespace.
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";

/// What a condition of a Gateway says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Its type.
    pub kind: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// A waypoint, as the API server has it.
#[derive(Debug, Clone)]
pub struct Waypoint(DynamicObject);

impl Waypoint {
    /// Returns its name.
    pub fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    /// Returns its namespace.
    pub fn namespace(&self) -> &str {
        self.0.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Returns its revision; `default` if it has no label.
    pub fn revision(&self) -> &str {
        self.label(REVISION).unwrap_or("default")
    }

    /// Returns which traffic it takes; without a label what the class says.
    pub fn traffic(&self) -> &str {
        self.label(TRAFFIC).unwrap_or("service")
    }

    fn label(&self, name: &str) -> Option<&str> {
        let labels = self.0.metadata.labels.as_ref()?;
        labels.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn is_one(&self) -> bool {
        self.0.data["spec"]["gatewayClassName"] == CLASS
    }

    /// Returns the condition that tells whether it can be used, or `Unknown` while nobody has judged what it is now.
    pub fn programmed(&self) -> Condition {
        let conditions = self.0.data["status"]["conditions"].as_array();
        let found = conditions.into_iter().flatten().find(|condition| condition["type"] == "Programmed");
        let text = |of: &Value, field: &str| of[field].as_str().unwrap_or_default().to_owned();
        let unknown = |message: &str| Condition {
            status: "Unknown".to_owned(),
            kind: "Programmed".to_owned(),
            reason: "Pending".to_owned(),
            message: message.to_owned(),
        };
        let generation = self.0.metadata.generation;
        match found {
            None => unknown("no control plane has written this condition"),
            // One that was written without a generation is taken at its word.
            Some(of)
                if generation.is_some_and(|now| of["observedGeneration"].as_i64().unwrap_or(now) < now) =>
            {
                unknown("the control plane has not judged the newest change yet")
            }
            Some(of) => Condition {
                status: text(of, "status"),
                kind: text(of, "type"),
                reason: text(of, "reason"),
                message: text(of, "message"),
            },
        }
    }
}

/// The Gateways of a cluster, in one namespace or in all.
pub struct Gateways {
    connection: Connection,
    gateways: Api<DynamicObject>,
    namespace: String,
}

impl Gateways {
    /// Connects; nothing is asked yet. Without a namespace it is that of the kubeconfig.
    ///
    /// # Errors
    /// When there is no way to a cluster.
    pub async fn connect(access: &Access, namespace: Option<&str>, all: bool) -> anyhow::Result<Self> {
        let connection = connect(access).await?;
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "Gateway");
        let resource = ApiResource::from_gvk_with_plural(&kind, "gateways");
        let namespace = namespace.unwrap_or(connection.client.default_namespace()).to_owned();
        let client = connection.client.clone();
        let gateways = match all {
            true => Api::all_with(client, &resource),
            false => Api::namespaced_with(client, &namespace, &resource),
        };
        Ok(Self { connection, gateways, namespace })
    }

    /// Returns the namespace that is looked at.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the waypoints, ascending by namespace and name; with a revision only its own.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer in time.
    pub async fn list(&self, revision: Option<&str>) -> anyhow::Result<Vec<Waypoint>> {
        let selected = revision.map(|revision| format!("{REVISION}={revision}"));
        let params =
            selected.map_or_else(ListParams::default, |labels| ListParams::default().labels(&labels));
        let found = self.answer("list Gateways", self.gateways.list(&params)).await?;
        let mut waypoints: Vec<_> = found.items.into_iter().map(Waypoint).filter(Waypoint::is_one).collect();
        waypoints.sort_by(|a, b| (a.namespace(), a.name()).cmp(&(b.namespace(), b.name())));
        Ok(waypoints)
    }

    /// Applies a Gateway; what somebody else has set otherwise is not overwritten.
    ///
    /// # Errors
    /// When the API server refuses it, as it does if another owner has set the same fields otherwise.
    pub async fn apply(&self, name: &str, gateway: &Value) -> anyhow::Result<()> {
        let params = PatchParams::apply(FIELD_MANAGER);
        let patch = Patch::Apply(gateway);
        let what = format!("apply the waypoint {}/{name}", self.namespace);
        self.answer(&what, self.gateways.patch(name, &params, &patch)).await?;
        Ok(())
    }

    /// Deletes a Gateway; tells whether there was one.
    ///
    /// # Errors
    /// When the API server refuses, or does not answer in time.
    pub async fn delete(&self, name: &str) -> anyhow::Result<bool> {
        let what = format!("delete the waypoint {}/{name}", self.namespace);
        let params = DeleteParams::default();
        let deleted = tokio::time::timeout(RESPONSE, self.gateways.delete(name, &params)).await;
        match deleted.map_err(|_| self.silent(&what))? {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(self.failed(&what, &error)),
        }
    }

    /// Waits until a waypoint can be used.
    ///
    /// # Errors
    /// When that takes longer than `limit`: the error has what its status says then.
    pub async fn until_programmed(&self, name: &str, limit: Duration) -> anyhow::Result<Waypoint> {
        let is_programmed = |object: Option<&DynamicObject>| {
            object.is_some_and(|object| Waypoint(object.clone()).programmed().status == "True")
        };
        let waiting = await_condition(self.gateways.clone(), name, is_programmed);
        let subject = format!("the waypoint {}/{name}", self.namespace);
        match tokio::time::timeout(limit, waiting).await {
            Ok(Ok(Some(found))) => Ok(Waypoint(found)),
            Ok(Ok(None)) => bail!("{subject} was deleted meanwhile"),
            Ok(Err(error)) => bail!("cannot watch {subject}: {error}"),
            Err(_) => {
                let found = self.answer(&format!("read {subject}"), self.gateways.get_opt(name)).await?;
                let Some(found) = found else { bail!("{subject} was deleted meanwhile") };
                let Condition { status, reason, message, .. } = Waypoint(found).programmed();
                bail!(
                    "timed out after {} s while waiting for {subject}: Programmed is {status} ({reason}): {message}",
                    limit.as_secs()
                )
            }
        }
    }

    /// Returns the labels of the namespace that concern waypoints: whether it is enrolled, and the waypoint that it uses.
    ///
    /// # Errors
    /// When there is no such namespace, or the API server refuses.
    pub async fn enrolment(&self) -> anyhow::Result<(bool, Option<String>)> {
        let what = format!("read the namespace {}", self.namespace);
        let namespace = self.answer(&what, self.namespaces().get(&self.namespace)).await?;
        let labels = namespace.meta().labels.clone().unwrap_or_default();
        let waypoint = labels.get(USE_WAYPOINT).filter(|name| !name.is_empty()).cloned();
        Ok((labels.get(DATAPLANE_MODE).is_some_and(|mode| mode == "ambient"), waypoint))
    }

    /// Makes the namespace use a waypoint.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn enrol(&self, waypoint: &str) -> anyhow::Result<()> {
        let what = format!("label the namespace {}", self.namespace);
        let patch = Patch::Merge(json!({ "metadata": { "labels": { USE_WAYPOINT: waypoint } } }));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.answer(&what, self.namespaces().patch(&self.namespace, &params, &patch)).await?;
        Ok(())
    }

    fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.connection.client.clone())
    }

    async fn answer<T>(
        &self,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<T> {
        let answered = tokio::time::timeout(RESPONSE, request).await.map_err(|_| self.silent(what))?;
        answered.map_err(|error| self.failed(what, &error))
    }

    fn silent(&self, what: &str) -> anyhow::Error {
        let (url, limit) = (&self.connection.url, RESPONSE.as_secs());
        anyhow!("cannot {what}: the API server at {url} has said nothing for {limit} s")
    }

    fn failed(&self, what: &str, error: &kube::Error) -> anyhow::Error {
        let cause = error_message(error);
        match error {
            // The answer for a kind that is not served names no object.
            kube::Error::Api(status) if status.code == 404 && is_of_no_object(&cause) => {
                anyhow!("cannot {what}: the cluster has no Gateway API; install its CRDs, then try again")
            }
            kube::Error::Api(status) if status.code == 409 => {
                anyhow!("cannot {what}: {cause}; change it there, or delete the waypoint first")
            }
            kube::Error::Api(_) => anyhow!("cannot {what}: {cause}"),
            _ => anyhow!("cannot {what}: the API server at {} does not answer: {cause}", self.connection.url),
        }
    }
}

fn is_of_no_object(cause: &str) -> bool {
    cause.contains("page not found") || cause.contains("could not find the requested resource")
}
