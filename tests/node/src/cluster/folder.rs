//! A folder of manifests as a cluster: the pods are those that the control plane plays, and run what their templates say.

use crate::load_balancer::{Frontend, frontends};
use anyhow::{Context, bail, ensure};
use clap::Parser;
use folder::{Key, Objects};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use runtime::config::MeshArgs;
use runtime::source::folder::{FolderSettings, load_once_with};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::Command;

/// The ConfigMap with the roots of the mesh, which the control plane makes in clusters.
const ROOTS: &str = "istio-ca-root-cert";

/// A folder with the state of the control plane that serves it.
pub struct FolderCluster {
    settings: FolderSettings,
    pilothouse: PathBuf,
    state: PathBuf,
}

/// The settings of a control plane that is told nothing.
#[derive(Parser)]
struct Defaults {
    #[command(flatten)]
    mesh: MeshArgs,
}

impl FolderCluster {
    /// Reads the pods of a folder. Tokens and roots are those of a state folder.
    ///
    /// # Errors
    /// When the environment has settings of a control plane that are none.
    pub fn new(folder: PathBuf, state: PathBuf, pilothouse: PathBuf) -> anyhow::Result<Self> {
        let Defaults { mesh } = Defaults::try_parse_from(["node"])?;
        let settings =
            FolderSettings { gateways: Some(mesh.options(true)), ..FolderSettings::new(vec![folder]) };
        Ok(Self { settings, pilothouse, state })
    }

    pub(super) fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let (_, _, places) = load_once_with(&self.settings, None);
        let objects = places.objects();
        let pods = objects.iter().filter(|(key, _)| key.group.is_empty() && key.kind == "Pod");
        pods.map(|(key, object)| {
            let mut pod: Value = object.value.clone();
            if let Some(template) = template(&pod, &objects) {
                let own = pod["spec"].take();
                pod["spec"] = template;
                for field in ["nodeName", "serviceAccountName"] {
                    pod["spec"][field] = own[field].clone();
                }
            }
            serde_json::from_value(pod).with_context(|| format!("pod {}/{}", key.namespace, key.name))
        })
        .collect()
    }

    pub(super) fn frontends(&self) -> anyhow::Result<Vec<Frontend>> {
        let (_, _, places) = load_once_with(&self.settings, None);
        let objects = places.objects();
        let services: Vec<Service> = all(&objects, "Service")?;
        let slices: Vec<EndpointSlice> = all(&objects, "EndpointSlice")?;
        Ok(frontends(&services, &slices))
    }

    pub(super) async fn token(&self, pod: &Pod, audience: &str) -> anyhow::Result<String> {
        let (metadata, spec) = (&pod.metadata, pod.spec.clone().unwrap_or_default());
        let mut arguments = vec!["--audience".to_owned(), audience.to_owned()];
        let known = [
            ("--namespace", metadata.namespace.clone()),
            ("--service-account", spec.service_account_name),
            ("--pod", metadata.name.clone()),
            ("--pod-uid", metadata.uid.clone()),
            ("--node", spec.node_name),
        ];
        for (flag, value) in known {
            arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        self.issue(arguments).await
    }

    pub(super) async fn proxy_token(&self, node: &str) -> anyhow::Result<String> {
        self.issue(vec!["--node".to_owned(), node.to_owned()]).await
    }

    async fn issue(&self, arguments: Vec<String>) -> anyhow::Result<String> {
        let mut command = Command::new(&self.pilothouse);
        command.arg("token").arg("--state-dir").arg(&self.state).args(arguments).env_clear();
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    pub(super) fn config_map(&self, namespace: &str, name: &str) -> anyhow::Result<BTreeMap<String, String>> {
        if name != ROOTS {
            bail!("there is no ConfigMap {namespace}/{name}");
        }
        let path = identity::StateDir::existing(&self.state)?.root_file();
        let roots = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(BTreeMap::from([("root-cert.pem".to_owned(), roots)]))
    }
}

/// The objects of a kind.
fn all<T: DeserializeOwned>(objects: &Objects, kind: &str) -> anyhow::Result<Vec<T>> {
    let of_kind = objects.iter().filter(|(key, _)| key.kind == kind);
    let read = of_kind.map(|(key, object)| {
        let object = serde_json::from_value(object.value.clone());
        object.with_context(|| format!("{kind} {}/{}", key.namespace, key.name))
    });
    read.collect()
}

/// The spec of the template that a pod is made from, where that is a Deployment: of a pod, a folder keeps what a mesh
/// depends on.
fn template(pod: &Value, objects: &Objects) -> Option<Value> {
    let owner = &pod["metadata"]["ownerReferences"][0];
    let hash = pod["metadata"]["labels"]["pod-template-hash"].as_str()?;
    let name = owner["name"].as_str()?.strip_suffix(hash)?.strip_suffix('-')?;
    let namespace = pod["metadata"]["namespace"].as_str()?;
    let deployment = objects.get(&Key::new("apps", "Deployment", namespace, name))?;
    Some(deployment.value["spec"]["template"]["spec"].clone())
}
