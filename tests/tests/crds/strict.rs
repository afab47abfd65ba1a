//! A folder refuses what an API server with the chart's definitions refuses, and nothing else.

use super::{ApiServer, corpus, install, ours};
use anyhow::{Context, ensure};
use folder::Folder;
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, PostParams};
use kube::core::{GroupVersionKind, Request};
use kube::discovery::{ApiResource, pinned_kind};
use kube::{Api, Client};
use model::Severity;
use pilothouse_tests::apiserver::{documents, known_crds};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Objects of built-in kinds and of the Gateway API, which an API server accepts.
const GOOD: &str = r"
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}, annotations: {a/b: c}}
spec:
  selector: {app: web, tier: front}
  type: ClusterIP
  internalTrafficPolicy: Local
  trafficDistribution: PreferClose
  sessionAffinity: None
  publishNotReadyAddresses: true
  ports:
  - {name: http, port: 80, targetPort: http, protocol: TCP, appProtocol: http}
  - {name: dns, port: 53, targetPort: 5353, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      serviceAccountName: default
      containers:
      - name: web
        image: web:1
        ports: [{name: http, containerPort: 8080, protocol: TCP}]
      - {name: side, image: side}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 1
  selector: {matchExpressions: [{key: app, operator: In, values: [db]}]}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: db, image: db}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: mail}
spec:
  parallelism: 2
  completions: 3
  template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: curl, labels: {app: curl}}
spec: {nodeName: node-1, hostNetwork: false, containers: [{name: curl, image: curl, ports: [{containerPort: 80}]}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: web}}]
ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {mesh: ''}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint}
spec:
  gatewayClassName: istio-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Same}}}]
";

/// Objects that an API server refuses, one fault each.
const BAD: &str = r"
{apiVersion: v1, kind: Service, metadata: {name: A}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a, labels: {'a b': c}}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a, labels: {a: 'b c'}}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a, annotations: {'a b': c}}, spec: {ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}], prots: []}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80}]}, Spec: {}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: NodePorts, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: a, port: 80}, {name: b, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: a, port: 80}, {name: a, port: 81}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{port: 80, nodePort: 30000}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {type: ExternalName}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, endpoints: []}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: ipv4, endpoints: []}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4, endpoints: [{addresses: ['::1']}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4, endpoints: [{addresses: [127.0.0.1]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4, endpoints: [{addresses: []}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: FQDN, endpoints: [{addresses: ['a b']}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4, endpoints: [], ports: [{name: a, port: 1}, {name: a, port: 2}]}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {mesh: {a: b}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {'a b': c}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: a}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: a, image: a}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {template: {spec: {containers: [{name: a, image: a}]}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a, image: a}, {name: a, image: a}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: a}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayClassName: c, listeners: []}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: a}, spec: {gatewayClassName: c, listeners: [{name: m, port: 0, protocol: HBONE}]}}
";

/// What a folder refuses beyond an API server, by what it says.
const STRICTER: &[&str] = &["a DENY policy without rules denies nothing"];

/// What an API server refuses of built-in kinds, and a folder takes: what no mesh depends on.
const OF_NO_CONCERN: &[&str] = &["duplicate entries for key", "nodePort", "hostPort"];

/// Offers an object to an API server; returns why it is refused, if it is.
async fn refusal(client: &Client, kinds: &Kinds, object: &Value) -> anyhow::Result<Option<String>> {
    let resource = kinds.of(object)?;
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &kinds.namespace, resource);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let request = Request::new(api.resource_url()).create(&params, serde_json::to_vec(&object)?)?;
    let (mut parts, body) = request.into_parts();
    parts.uri = format!("{}&fieldValidation=Strict", parts.uri).parse()?;
    match client.request::<DynamicObject>(http::Request::from_parts(parts, body)).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => Ok(Some(status.message)),
        Err(error) => Err(error.into()),
    }
}

/// The resources of the kinds, as the API server names them.
struct Kinds {
    namespace: String,
    resources: BTreeMap<(String, String), ApiResource>,
}

impl Kinds {
    async fn of_all(client: &Client, namespace: String, objects: &[Value]) -> anyhow::Result<Self> {
        let mut kinds = Self { namespace, resources: BTreeMap::new() };
        for object in objects {
            let key = Self::key(object);
            if let Entry::Vacant(entry) = kinds.resources.entry(key) {
                let (api_version, kind) = entry.key();
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                let gvk = GroupVersionKind::gvk(group, version, kind);
                entry.insert(pinned_kind(client, &gvk).await?.0);
            }
        }
        Ok(kinds)
    }

    fn key(object: &Value) -> (String, String) {
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        (text("apiVersion"), text("kind"))
    }

    fn of(&self, object: &Value) -> anyhow::Result<&ApiResource> {
        self.resources.get(&Self::key(object)).context("a kind that nobody asked for")
    }
}

/// Offers an object to a folder; returns why it is refused, if it is.
fn refusal_of_folder(namespace: &str, object: &Value) -> Option<String> {
    let mut object = object.clone();
    object["metadata"]["namespace"] = json!(namespace);
    let mut folder = Folder::default();
    folder.set("a.json", &object.to_string());
    let problems = folder.resolve().problems;
    // What looks like a patch is left out as well.
    let is_refusal = |problem: &&folder::Problem| {
        problem.severity == Severity::Error || problem.code == folder::code::PATCH
    };
    let refusals = problems.iter().filter(is_refusal);
    let texts: Vec<String> = refusals.map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join("\n    "))
}

#[tokio::test]
async fn a_folder_refuses_what_an_api_server_refuses() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    install(server, &ours()?.into_iter().map(|(_, crd)| crd).collect::<Vec<_>>()).await?;
    install(server, &known_crds()?.gateway_standard).await?;
    let client = server.client().await?;
    let namespace = server.namespace("folder").await?;

    let good: Vec<Value> = corpus::objects()?
        .iter()
        .map(serde_json::to_value)
        .chain(documents(GOOD)?.into_iter().map(Ok))
        .collect::<Result<_, _>>()?;
    let bad = documents(BAD)?;
    let mut all = good.clone();
    all.extend(bad.clone());
    for object in &good {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let variants = corpus::variants(&object);
        all.extend(variants.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?);
    }
    let kinds = Kinds::of_all(&client, namespace.clone(), &all).await?;
    let answers: Vec<(usize, Option<String>)> = stream::iter(all.iter().enumerate())
        .map(async |(index, object)| anyhow::Ok((index, refusal(&client, &kinds, object).await?)))
        .buffered(8)
        .try_collect()
        .await?;

    let (mut differ, mut refused) = (Vec::new(), 0);
    for (index, by_server) in answers {
        let object = &all[index];
        let by_folder = refusal_of_folder(&namespace, object);
        refused += usize::from(by_server.is_some());
        if index < good.len() {
            ensure!(by_server.is_none(), "{object} is not well-formed: {by_server:?}");
        } else if index < good.len() + bad.len() {
            ensure!(by_server.is_some(), "{object} is accepted");
        }
        let shown = || format!("{}\n  {object}", object["kind"]);
        match (by_server, by_folder) {
            (None, Some(why)) if !STRICTER.iter().any(|stricter| why.contains(stricter)) => {
                differ.push(format!("only the folder refuses {}\n  because {why}", shown()));
            }
            (Some(why), None) if !OF_NO_CONCERN.iter().any(|part| why.contains(part)) => {
                differ.push(format!("only the API server refuses {}\n  because {why}", shown()));
            }
            _ => {}
        }
    }
    let few: Vec<String> = differ.iter().map(|text| text.chars().take(1_500).collect()).take(20).collect();
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), all.len(), few.join("\n"));
    assert!(refused > 1_000 && refused + 1_000 < all.len(), "{refused} of {} are refused", all.len());
    Ok(())
}
