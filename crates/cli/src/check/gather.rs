//! Asks a cluster. What may not be read is told, and does not end the rest.

use super::facts::{ControlPlane, Facts, Lock, Webhook};
use crate::monitoring;
use anyhow::anyhow;
use cluster::{Connection, error_message};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{Api, ListParams, ObjectMeta, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take for everything.
const ANSWERS: Duration = Duration::from_secs(60);
/// Most bytes of metrics that are read.
const MOST_METRICS: usize = 4 * 1024 * 1024;
/// The annotation by which helm knows its own.
const RELEASE: &str = "meta.helm.sh/release-name";

/// What is asked about.
pub(super) struct Of<'a> {
    pub namespace: &'a str,
    pub revision: &'a str,
    pub server: Option<&'a str>,
}

/// What takes part in an installation: verb, group, resource, and whether it is in a namespace.
const INSTALLED: [(&str, &str, bool); 12] = [
    ("apiextensions.k8s.io", "customresourcedefinitions", false),
    ("rbac.authorization.k8s.io", "clusterroles", false),
    ("rbac.authorization.k8s.io", "clusterrolebindings", false),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", false),
    ("rbac.authorization.k8s.io", "roles", true),
    ("rbac.authorization.k8s.io", "rolebindings", true),
    ("apps", "deployments", true),
    ("policy", "poddisruptionbudgets", true),
    ("networking.k8s.io", "networkpolicies", true),
    ("", "services", true),
    ("", "serviceaccounts", true),
    ("", "secrets", true),
];

/// Reads what there is.
///
/// # Errors
/// When the API server does not answer at all.
pub(super) async fn gather(connection: &Connection, of: &Of<'_>) -> anyhow::Result<Facts> {
    let url = &connection.url;
    let read = timeout(ANSWERS, read(connection, of)).await;
    read.map_err(|_| anyhow!("the API server at {url} does not answer in {} s", ANSWERS.as_secs()))?
}

async fn read(connection: &Connection, of: &Of<'_>) -> anyhow::Result<Facts> {
    let (client, url) = (&connection.client, &connection.url);
    let version = client.apiserver_version().await;
    let version =
        version.map_err(|error| anyhow!("cannot ask the API server at {url}: {}", error_message(&error)))?;
    let mut facts = Facts {
        url: url.clone(),
        version: version.git_version,
        namespace: of.namespace.to_owned(),
        revision: of.revision.to_owned(),
        ..Facts::default()
    };
    served(client, &mut facts).await;
    rights(client, &mut facts).await;
    control_planes(client, &mut facts).await;
    taken(client, &mut facts).await;
    locks(client, &mut facts).await;
    webhooks(client, &mut facts).await;
    certificates(client, &mut facts).await;
    if let Some(namespaces) =
        list(client, &mut facts, None::<&str>, &ListParams::default().labels("istio-injection=enabled")).await
    {
        facts.sidecars = namespaces.iter().map(|namespace: &Namespace| namespace.name_any()).collect();
    }
    if let Some(address) = of.server {
        let text = monitoring::get(address, "/metrics", MOST_METRICS).await;
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        facts.metrics = Some(text.map_err(|error| format!("{error:#}")));
    }
    Ok(facts)
}

/// The resources that are served, in the groups of the kinds that are read.
async fn served(client: &Client, facts: &mut Facts) {
    let groups = match client.list_api_groups().await {
        Ok(groups) => groups.groups,
        Err(error) => {
            return facts.unread.push(("the groups that are served".to_owned(), error_message(&error)));
        }
    };
    let is_ours = |name: &str| model::known_kinds().any(|kind| kind.group == name);
    for group in groups.into_iter().filter(|group| is_ours(&group.name)) {
        for version in group.versions {
            match client.list_api_group_resources(&version.group_version).await {
                Ok(list) => {
                    let names = list.resources.into_iter().filter(|of| !of.name.contains('/'));
                    facts.served.extend(names.map(|of| format!("{}.{}", of.name, group.name)));
                }
                Err(error) => {
                    facts
                        .unread
                        .push((format!("what {} serves", version.group_version), error_message(&error)));
                }
            }
        }
    }
}

async fn rights(client: &Client, facts: &mut Facts) {
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    for (group, resource, is_namespaced) in INSTALLED {
        let namespace = is_namespaced.then(|| facts.namespace.clone());
        let attributes = ResourceAttributes {
            verb: Some("create".to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            namespace,
            ..ResourceAttributes::default()
        };
        let review = SelfSubjectAccessReview {
            metadata: ObjectMeta::default(),
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            status: None,
        };
        match reviews.create(&PostParams::default(), &review).await {
            Ok(review) => {
                let may = review.status.is_some_and(|status| status.allowed);
                facts.rights.push((format!("create {resource}"), may));
            }
            Err(error) => facts.unread.push(("what this user may do".to_owned(), error_message(&error))),
        }
    }
}

/// A kind that is listed in a namespace, or in all.
trait Listed: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug {
    fn api(client: &Client, namespace: Option<&str>) -> Api<Self>;
}

macro_rules! listed {
    ($($kind:ty: $scope:ident),*) => {$(impl Listed for $kind {
        fn api(client: &Client, namespace: Option<&str>) -> Api<Self> { listed!($scope client namespace) }
    })*};
    (Namespaced $client:ident $namespace:ident) => {
        match $namespace {
            Some(namespace) => Api::namespaced($client.clone(), namespace),
            None => Api::all($client.clone()),
        }
    };
    (Cluster $client:ident $namespace:ident) => {{
        let _ = $namespace;
        Api::all($client.clone())
    }};
}

listed!(
    Deployment: Namespaced, Pod: Namespaced, Lease: Namespaced, Namespace: Cluster,
    ValidatingWebhookConfiguration: Cluster, MutatingWebhookConfiguration: Cluster
);

async fn list<K: Listed>(
    client: &Client,
    facts: &mut Facts,
    namespace: Option<&str>,
    params: &ListParams,
) -> Option<Vec<K>> {
    match K::api(client, namespace).list(params).await {
        Ok(found) => Some(found.items),
        Err(error) => {
            facts.unread.push((K::plural(&()).into_owned(), error_message(&error)));
            None
        }
    }
}

fn label<'a, K: ResourceExt>(of: &'a K, name: &str) -> &'a str {
    of.labels().get(name).map_or("", String::as_str)
}

async fn control_planes(client: &Client, facts: &mut Facts) {
    let named = ListParams::default().labels("app=istiod");
    let found = list::<Deployment>(client, facts, None, &named).await.unwrap_or_default();
    for of in found {
        let spec = of.spec.as_ref();
        let containers =
            spec.and_then(|spec| spec.template.spec.as_ref()).map(|pod| pod.containers.as_slice());
        let image =
            containers.unwrap_or_default().first().and_then(|of| of.image.clone()).unwrap_or_default();
        let namespace = of.namespace().unwrap_or_default();
        let (wanted, ready) = (
            spec.and_then(|spec| spec.replicas).unwrap_or(1),
            of.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0),
        );
        let mut why = Vec::new();
        if ready < wanted {
            let selector = ListParams::default()
                .labels(&format!("app=istiod,istio.io/rev={}", label(&of, "istio.io/rev")));
            let pods = list::<Pod>(client, facts, Some(&namespace), &selector).await.unwrap_or_default();
            why = pods.iter().filter_map(unready).collect();
            if pods.is_empty() {
                why.push("there are no pods".to_owned());
            }
        }
        facts.control_planes.push(ControlPlane {
            name: of.name_any(),
            is_ours: label(&of, "app.kubernetes.io/name") == "pilothouse",
            namespace,
            image,
            wanted,
            ready,
            why,
        });
    }
}

/// Returns why a pod is not ready.
fn unready(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return None;
    }
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let waits = containers.iter().find_map(|of| {
        let waiting = of.state.as_ref()?.waiting.as_ref()?;
        Some(
            [waiting.reason.clone()?, waiting.message.clone().unwrap_or_default()]
                .join(" ")
                .trim()
                .to_owned(),
        )
    });
    let condition = || {
        let first = conditions.iter().find(|condition| condition.status == "False")?;
        first.message.clone().or_else(|| first.reason.clone())
    };
    let why = waits.or_else(condition).unwrap_or_else(|| "it is not ready".to_owned());
    Some(format!("Pod {}: {why}", pod.name_any()))
}

/// Objects with the names that our chart has.
async fn taken(client: &Client, facts: &mut Facts) {
    let suffix = match facts.revision.as_str() {
        "" | "default" => String::new(),
        revision => format!("-{revision}"),
    };
    let (istiod, mesh) = (format!("istiod{suffix}"), format!("istio{suffix}"));
    owner::<Deployment>(client, facts, &istiod).await;
    owner::<Service>(client, facts, &istiod).await;
    owner::<ServiceAccount>(client, facts, &istiod).await;
    owner::<ConfigMap>(client, facts, &mesh).await;
    let validator = format!("istio-validator{suffix}-{}", facts.namespace);
    owner_in_cluster::<ValidatingWebhookConfiguration>(client, facts, &validator).await;
}

async fn owner<K>(client: &Client, facts: &mut Facts, name: &str)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api = Api::<K>::namespaced(client.clone(), &facts.namespace);
    note_owner(facts, name, api.get_opt(name).await);
}

async fn owner_in_cluster<K>(client: &Client, facts: &mut Facts, name: &str)
where
    K: Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    note_owner(facts, name, Api::<K>::all(client.clone()).get_opt(name).await);
}

fn note_owner<K: Resource<DynamicType = ()>>(
    facts: &mut Facts,
    name: &str,
    found: Result<Option<K>, kube::Error>,
) {
    let what = format!("{} {name}", K::kind(&()));
    match found {
        Ok(Some(object)) => {
            let release = object.annotations().get(RELEASE).cloned();
            let is_ours = label(&object, "app.kubernetes.io/name") == "pilothouse";
            // Our own release brings its objects up to date.
            if !(is_ours && release.is_some()) {
                facts.taken.push((what, release));
            }
        }
        Ok(None) => {}
        Err(error) => facts.unread.push((what, error_message(&error))),
    }
}

async fn locks(client: &Client, facts: &mut Facts) {
    let namespace = facts.namespace.clone();
    let leases =
        list::<Lease>(client, facts, Some(&namespace), &ListParams::default()).await.unwrap_or_default();
    let of_istio = leases.into_iter().filter(|lease| lease.name_any().starts_with("istio-"));
    facts.locks.extend(of_istio.filter_map(|lease| {
        let name = format!("Lease {}", lease.name_any());
        let spec = lease.spec?;
        Some(Lock {
            name,
            holder: spec.holder_identity.filter(|holder| !holder.is_empty())?,
            renewed: spec.renew_time.and_then(|time| u64::try_from(time.0.as_second()).ok()),
            seconds: spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(0),
        })
    }));
    for name in ["istio-ip-autoallocate", "istio-leader", "istio-namespace-controller-election"] {
        let maps = Api::<ConfigMap>::namespaced(client.clone(), &facts.namespace);
        match maps.get_opt(name).await {
            Ok(map) => facts.locks.extend(map.and_then(|map| lock_of(name, &map))),
            Err(error) => facts.unread.push((format!("ConfigMap {name}"), error_message(&error))),
        }
    }
}

/// Reads the lock that is an annotation of a ConfigMap.
fn lock_of(name: &str, map: &ConfigMap) -> Option<Lock> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Record {
        holder_identity: String,
        lease_duration_seconds: u64,
        renew_time: String,
    }
    let record = map.annotations().get("control-plane.alpha.kubernetes.io/leader")?;
    let record: Record = serde_json::from_str(record).ok()?;
    let renewed = record.renew_time.parse::<k8s_openapi::jiff::Timestamp>().ok();
    (!record.holder_identity.is_empty()).then(|| Lock {
        name: format!("ConfigMap {name}"),
        holder: record.holder_identity,
        renewed: renewed.and_then(|time| u64::try_from(time.as_second()).ok()),
        seconds: record.lease_duration_seconds,
    })
}

async fn webhooks(client: &Client, facts: &mut Facts) {
    let all = ListParams::default();
    let validating =
        list::<ValidatingWebhookConfiguration>(client, facts, None, &all).await.unwrap_or_default();
    let mutating = list::<MutatingWebhookConfiguration>(client, facts, None, &all).await.unwrap_or_default();
    for config in &validating {
        for entry in config.webhooks.iter().flatten() {
            let of = Webhook {
                config: format!("ValidatingWebhookConfiguration {}", config.name_any()),
                revision: label(config, "istio.io/rev").to_owned(),
                is_closed: entry.failure_policy.as_deref() != Some("Ignore"),
                ..Webhook::default()
            };
            facts.webhooks.extend(leading(of, &entry.name, &entry.client_config));
        }
    }
    for config in &mutating {
        for entry in config.webhooks.iter().flatten() {
            let of = Webhook {
                config: format!("MutatingWebhookConfiguration {}", config.name_any()),
                revision: label(config, "istio.io/rev").to_owned(),
                is_closed: entry.failure_policy.as_deref() != Some("Ignore"),
                injects: true,
                ..Webhook::default()
            };
            facts.webhooks.extend(leading(of, &entry.name, &entry.client_config));
        }
    }
}

/// Returns an entry if it leads to a control plane: to a Service that is called as one, or it is of a revision.
fn leading(of: Webhook, entry: &str, to: &WebhookClientConfig) -> Option<Webhook> {
    let service = to.service.as_ref();
    let is_named =
        service.is_some_and(|service| service.name == "istiod" || service.name.starts_with("istiod-"));
    let leads_to = match (service, &to.url) {
        (Some(service), _) => format!("Service {}/{}", service.namespace, service.name),
        (None, Some(url)) => url.clone(),
        (None, None) => return None,
    };
    let bundle = to.ca_bundle.as_ref().map(|bundle| String::from_utf8_lossy(&bundle.0).into_owned());
    (is_named || !of.revision.is_empty()).then(|| Webhook {
        entry: entry.to_owned(),
        leads_to,
        bundle: bundle.unwrap_or_default(),
        ..of
    })
}

async fn certificates(client: &Client, facts: &mut Facts) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &facts.namespace);
    match maps.get_opt("istio-ca-root-cert").await {
        Ok(map) => facts.roots = map.and_then(|map| map.data?.remove("root-cert.pem")),
        Err(error) => facts.unread.push(("ConfigMap istio-ca-root-cert".to_owned(), error_message(&error))),
    }
    let secrets = Api::<Secret>::namespaced(client.clone(), &facts.namespace);
    for name in ["cacerts", "istio-ca-secret"] {
        match secrets.get_opt(name).await {
            Ok(None) => {}
            Ok(Some(secret)) => {
                let has_root = secret
                    .data
                    .is_some_and(|data| data.contains_key("ca-cert.pem") || data.contains_key("tls.crt"));
                facts.secrets.insert(name.to_owned(), has_root);
            }
            Err(error) => facts.unread.push((format!("Secret {name}"), error_message(&error))),
        }
    }
}
