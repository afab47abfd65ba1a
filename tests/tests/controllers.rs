//! With controllers, the API server fixture is a cluster in which what is deployed becomes ready.

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, Patch, PatchParams};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The objects of one namespace.
struct Fixture {
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    services: Api<Service>,
    slices: Api<EndpointSlice>,
}

impl Fixture {
    async fn of(server: &ApiServer, namespace: &str) -> anyhow::Result<Self> {
        let client = server.client().await?;
        Ok(Self {
            deployments: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            services: Api::namespaced(client.clone(), namespace),
            slices: Api::namespaced(client, namespace),
        })
    }

    /// Waits until all replicas of a deployment are those of its newest template, and available.
    async fn rolled_out(&self, name: &str) -> anyhow::Result<()> {
        let is_done = async || {
            let deployment = self.deployments.get(name).await?;
            let wanted = deployment.spec.and_then(|spec| spec.replicas);
            let status = deployment.status.unwrap_or_default();
            let is_current = status.observed_generation == deployment.metadata.generation;
            let counts = [status.replicas, status.updated_replicas, status.available_replicas];
            Ok((is_current && counts.iter().all(|&count| count == wanted)).then_some(()))
        };
        until(LIMIT, is_done).await.with_context(|| format!("the deployment {name} is not rolled out"))
    }

    async fn pods_of(&self, app: &str) -> anyhow::Result<Vec<Pod>> {
        Ok(self.pods.list(&ListParams::default().labels(&format!("app={app}"))).await?.items)
    }

    /// Waits until the EndpointSlices of a service have exactly these IPv4 addresses, all ready.
    async fn endpoints(&self, service: &str, addresses: &BTreeSet<IpAddr>) -> anyhow::Result<()> {
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let are_there = async || {
            let slices = self.slices.list(&of_service).await?.items;
            let endpoints = slices.into_iter().filter(|slice| slice.address_type == "IPv4");
            let ready = endpoints.flat_map(|slice| slice.endpoints.unwrap_or_default()).filter(|endpoint| {
                endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
            });
            let found: Result<BTreeSet<IpAddr>, _> =
                ready.flat_map(|endpoint| endpoint.addresses).map(|address| address.parse()).collect();
            Ok((found? == *addresses).then_some(()))
        };
        until(LIMIT, are_there)
            .await
            .with_context(|| format!("{service} has not the endpoints {addresses:?}"))
    }

    /// Waits until a service has an address of a load balancer, and returns it.
    async fn balancer(&self, service: &str) -> anyhow::Result<IpAddr> {
        let address = until(LIMIT, async || balancer_of(&self.services.get(service).await?).transpose());
        address.await.with_context(|| format!("{service} has no load balancer"))
    }
}

fn balancer_of(service: &Service) -> Option<anyhow::Result<IpAddr>> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    let ingress = balancer.ingress.as_ref()?.first()?;
    Some(ingress.ip.as_deref().unwrap_or_default().parse().map_err(anyhow::Error::from))
}

fn address_of(pod: &Pod) -> anyhow::Result<IpAddr> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    Ok(address.context("a pod has no address")?.parse()?)
}

fn addresses_of(pods: &[Pod]) -> anyhow::Result<BTreeSet<IpAddr>> {
    pods.iter().map(address_of).collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// A deployment with all of its pods, and a service in front of it.
fn application(name: &str, namespace: &str, replicas: usize, image: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      initContainers:
      - {{name: prepare, image: {image}}}
      - {{name: beside, image: {image}, restartPolicy: Always}}
      containers:
      - name: web
        image: {image}
        readinessProbe: {{httpGet: {{port: 8080, path: /ready}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"
    )
}

fn service(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: web}}, ports: [{{port: 80}}], {spec}}}
"
    )
}

#[tokio::test]
async fn a_deployment_gets_ready_pods_and_its_service_their_addresses() -> anyhow::Result<()> {
    let server = ApiServer::shared_with_controllers().await?;
    let ns = server.namespace("deployed").await?;
    let fixture = Fixture::of(server, &ns).await?;
    server.apply(&application("web", &ns, 4, "web:1")).await?;
    fixture.rolled_out("web").await?;

    let pods = fixture.pods_of("web").await?;
    let addresses = addresses_of(&pods)?;
    assert_eq!(addresses.len(), 4, "one address for each pod");
    for pod in &pods {
        ensure!(is_ready(pod), "not ready: {pod:?}");
        let status = pod.status.as_ref().context("no status")?;
        let containers = status.container_statuses.iter().flatten();
        let started = status.init_container_statuses.iter().flatten().chain(containers);
        let states: Vec<(&str, bool, bool)> = started
            .map(|container| {
                let state = container.state.as_ref();
                let is_running = state.is_some_and(|state| state.running.is_some());
                (container.name.as_str(), is_running, container.ready)
            })
            .collect();
        assert_eq!(states, [("prepare", false, true), ("beside", true, true), ("web", true, true)]);
        assert_eq!(status.pod_ips.iter().flatten().count(), 2, "one address of each family");
    }
    let on = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone());
    assert_eq!(on.collect::<BTreeSet<_>>().len(), 2, "both nodes have pods");
    fixture.endpoints("web", &addresses).await
}

#[tokio::test]
async fn the_pods_of_an_old_template_and_those_scaled_away_are_gone() -> anyhow::Result<()> {
    let server = ApiServer::shared_with_controllers().await?;
    let ns = server.namespace("rollout").await?;
    let fixture = Fixture::of(server, &ns).await?;
    server.apply(&application("web", &ns, 3, "web:1")).await?;
    fixture.rolled_out("web").await?;
    let before = addresses_of(&fixture.pods_of("web").await?)?;

    server.apply(&application("web", &ns, 2, "web:2")).await?;
    fixture.rolled_out("web").await?;
    let pods = until(LIMIT, async || Ok(Some(fixture.pods_of("web").await?).filter(|pods| pods.len() == 2)));
    let after = addresses_of(&pods.await.context("pods stay")?)?;
    ensure!(before.is_disjoint(&after), "an address is given to another at once: {before:?}, {after:?}");
    fixture.endpoints("web", &after).await
}

#[tokio::test]
async fn what_is_owned_goes_with_an_owner_of_a_kind_installed_later() -> anyhow::Result<()> {
    let server = ApiServer::shared_with_controllers().await?;
    let ns = server.namespace("owned").await?;
    let fixture = Fixture::of(server, &ns).await?;
    server
        .apply(&format!(
            "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: harbours.example.com}}
spec:
  group: example.com
  scope: Namespaced
  names: {{kind: Harbour, plural: harbours}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object}}}}
---
apiVersion: example.com/v1
kind: Harbour
metadata: {{name: north, namespace: {ns}}}
"
        ))
        .await?;
    let client = server.client().await?;
    let kind = kube::core::GroupVersionKind::gvk("example.com", "v1", "Harbour");
    let (resource, _) = kube::discovery::pinned_kind(&client, &kind).await?;
    let harbours = Api::<kube::api::DynamicObject>::namespaced_with(client, &ns, &resource);
    let owner = harbours.get("north").await?.metadata.uid.context("no uid")?;

    server.apply(&application("web", &ns, 2, "web:1")).await?;
    let owned = json!({"metadata": {"ownerReferences": [
        {"apiVersion": "example.com/v1", "kind": "Harbour", "name": "north", "uid": owner},
    ]}});
    fixture.deployments.patch("web", &PatchParams::default(), &Patch::Merge(&owned)).await?;
    fixture.rolled_out("web").await?;

    harbours.delete("north", &Default::default()).await?;
    until(LIMIT, async || Ok(fixture.deployments.get_opt("web").await?.is_none().then_some(()))).await?;
    until(LIMIT, async || Ok(fixture.pods_of("web").await?.is_empty().then_some(()))).await?;
    fixture.services.get("web").await.context("the service has no owner")?;
    fixture.endpoints("web", &BTreeSet::new()).await
}

#[tokio::test]
async fn load_balancers_have_addresses_of_their_own() -> anyhow::Result<()> {
    let server = ApiServer::shared_with_controllers().await?;
    let ns = server.namespace("balanced").await?;
    let fixture = Fixture::of(server, &ns).await?;
    let asks = |address: &str| format!("type: LoadBalancer, loadBalancerIP: {address}");
    server.apply(&service(&ns, "asks-outside", &asks("203.0.113.7"))).await?;
    server
        .apply(&service(&ns, "other-class", "type: LoadBalancer, loadBalancerClass: example.com/other"))
        .await?;
    server.apply(&service(&ns, "inside", "type: ClusterIP")).await?;
    server.apply(&service(&ns, "asks", &asks("198.19.0.7"))).await?;
    let asked: IpAddr = "198.19.0.7".parse()?;
    assert_eq!(fixture.balancer("asks").await?, asked);

    server.apply(&service(&ns, "asks-the-same", &asks("198.19.0.7"))).await?;
    for name in ["first", "second"] {
        server.apply(&service(&ns, name, "type: LoadBalancer")).await?;
    }
    let (first, second) = (fixture.balancer("first").await?, fixture.balancer("second").await?);
    ensure!(first != second, "both have {first}");
    // They came before, and services are looked at one after the other.
    for name in ["asks-outside", "other-class", "inside", "asks-the-same"] {
        ensure!(balancer_of(&fixture.services.get(name).await?).is_none(), "{name} has an address");
    }

    fixture.services.delete("asks", &Default::default()).await?;
    assert_eq!(fixture.balancer("asks-the-same").await?, asked, "who waits for an address gets it");
    Ok(())
}

#[tokio::test]
async fn a_readiness_gate_keeps_a_pod_back() -> anyhow::Result<()> {
    let server = ApiServer::shared_with_controllers().await?;
    let ns = server.namespace("gated").await?;
    let fixture = Fixture::of(server, &ns).await?;
    server.apply(&service(&ns, "web", "type: ClusterIP")).await?;
    server
        .apply(&format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: {ns}, labels: {{app: web}}}}
spec:
  readinessGates: [{{conditionType: example.com/open}}]
  containers: [{{name: web, image: web}}]
"
        ))
        .await?;
    let running = async || {
        let pod = fixture.pods.get("web").await?;
        Ok(address_of(&pod).is_ok().then_some(pod))
    };
    let pod = until(LIMIT, running).await?;
    ensure!(!is_ready(&pod), "it is ready before its gate");

    let open = json!({"status": {"conditions": [{"type": "example.com/open", "status": "True"}]}});
    fixture.pods.patch_status("web", &PatchParams::default(), &Patch::Strategic(&open)).await?;
    fixture.endpoints("web", &BTreeSet::from([address_of(&pod)?])).await?;
    let pod = fixture.pods.get("web").await?;
    let conditions = pod.status.and_then(|status| status.conditions).unwrap_or_default();
    ensure!(conditions.iter().any(|c| c.type_ == "example.com/open"), "the gate's condition is lost");
    Ok(())
}

#[tokio::test]
async fn pods_of_other_nodes_and_schedulers_are_left_alone() -> anyhow::Result<()> {
    let server = ApiServer::shared_with_controllers().await?;
    let ns = server.namespace("foreign").await?;
    let fixture = Fixture::of(server, &ns).await?;
    let pods = [
        ("elsewhere", "nodeName: node-of-the-test"),
        ("scheduled-elsewhere", "schedulerName: of-the-test"),
        ("nowhere", "nodeSelector: {kubernetes.io/hostname: no-such-node}"),
        ("here", "nodeSelector: {kubernetes.io/hostname: test-node-1}"),
        ("on-the-node", "hostNetwork: true, nodeName: test-node-0"),
    ];
    for (name, spec) in pods {
        server
            .apply(&format!(
                "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {ns}}}
spec: {{containers: [{{name: web, image: web}}], {spec}}}
"
            ))
            .await?;
    }
    for name in ["here", "on-the-node"] {
        until(LIMIT, async || Ok(is_ready(&fixture.pods.get(name).await?).then_some(())))
            .await
            .with_context(|| format!("{name} is not ready"))?;
    }
    let here = fixture.pods.get("here").await?;
    assert_eq!(here.spec.and_then(|spec| spec.node_name).as_deref(), Some("test-node-1"));
    let on_node = address_of(&fixture.pods.get("on-the-node").await?)?;
    let node = Api::<Node>::all(server.client().await?).get("test-node-0").await?;
    let internal = node.status.and_then(|status| status.addresses).unwrap_or_default();
    ensure!(internal.iter().any(|address| address.address == on_node.to_string()), "{on_node}: {internal:?}");
    // They came before, and pods are looked at one after the other.
    for name in ["elsewhere", "scheduled-elsewhere", "nowhere"] {
        ensure!(address_of(&fixture.pods.get(name).await?).is_err(), "{name} has an address");
    }
    Ok(())
}

#[tokio::test]
async fn addresses_outlive_a_restart_and_stay_distinct() -> anyhow::Result<()> {
    let mut server = ApiServer::with_controllers().await?;
    let ns = server.namespace("again").await?;
    let fixture = Fixture::of(&server, &ns).await?;
    server.apply(&application("web", &ns, 2, "web:1")).await?;
    server.apply(&service(&ns, "first", "type: LoadBalancer")).await?;
    fixture.rolled_out("web").await?;
    let before = addresses_of(&fixture.pods_of("web").await?)?;
    let first = fixture.balancer("first").await?;

    server.restart().await?;
    let fixture = Fixture::of(&server, &ns).await?;
    server.apply(&application("web", &ns, 4, "web:1")).await?;
    server.apply(&service(&ns, "second", "type: LoadBalancer")).await?;
    fixture.rolled_out("web").await?;
    let after = addresses_of(&fixture.pods_of("web").await?)?;
    ensure!(after.len() == 4 && before.is_subset(&after), "{before:?}, then {after:?}");
    ensure!(fixture.balancer("second").await? != first, "both have {first}");
    assert_eq!(fixture.balancer("first").await?, first);
    Ok(())
}
