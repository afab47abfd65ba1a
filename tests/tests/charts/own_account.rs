//! Pilothouse as the chart runs it: with the settings of its deployment, as its service account.

use crate::deployment::{container, settings};
use crate::rights::{granted, needed, question, unread_with_conditions};
use anyhow::{Context, bail, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use pilothouse_tests::apiserver::{ApiServer, KnownCrds, LIMIT, known_crds, until};
use pilothouse_tests::client::{Client, Node, Options, Tls};
use pilothouse_tests::helm::{Rendered, chart, render, render_pilothouse};
use pilothouse_tests::recorder::Recorder;
use pilothouse_tests::signer::Signer;
use runtime::config::ServeArgs;
use runtime::serve::Daemon;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The only right that this test has no occasion for: a root that istiod keeps in the Secret `cacerts`
/// is renewed there.
const OTHER_OCCASION: &str = "update secrets=cacerts in";

/// The ConfigMaps of the root certificates and of the revocation lists.
const ROOTS: &str = "istio-ca-root-cert";
const LISTS: &str = "istio-ca-crl";

/// Objects of which each makes the control plane do something.
fn objects(namespace: &str) -> String {
    let of = |api: &str, kind: &str, name: &str, rest: Value| {
        let mut object = json!({
            "apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace},
        });
        object
            .as_object_mut()
            .into_iter()
            .for_each(|o| o.extend(rest.as_object().cloned().unwrap_or_default()));
        format!("---\n{object}\n")
    };
    let labels = json!({"app": "web", "istio.io/use-waypoint": "absent"});
    let bound = json!({"name": "web", "namespace": namespace, "labels": labels});
    [
        of("v1", "Pod", "web", json!({"spec": {"containers": [{"name": "web", "image": "web"}]}})),
        of("v1", "Service", "web", json!({"metadata": bound, "spec": {"ports": [{"port": 80}]}})),
        of(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "web",
            json!({"spec": {"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]}}),
        ),
        of(
            "security.istio.io/v1",
            "RequestAuthentication",
            "web",
            json!({"spec": {
                "targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
                "jwtRules": [{"issuer": "https://id.example.com", "jwks": "{\"keys\":[]}"}],
            }}),
        ),
        of(
            "telemetry.istio.io/v1",
            "Telemetry",
            "web",
            json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}}),
        ),
        of(
            "extensions.istio.io/v1alpha1",
            "WasmPlugin",
            "web",
            json!({"spec": {"url": "oci://example.com/web"}}),
        ),
        of(
            "extensions.istio.io/v1alpha1",
            "TrafficExtension",
            "web",
            json!({"spec": {"lua": {"inlineCode": "-- nothing"}, "selector": {"matchLabels": {"app": "web"}}}}),
        ),
        of(
            "networking.istio.io/v1",
            "ServiceEntry",
            "web",
            json!({"spec": {
                "hosts": ["web.example.com"],
                "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC",
                "endpoints": [{"address": "192.0.2.1"}],
            }}),
        ),
        of(
            "networking.istio.io/v1",
            "WorkloadEntry",
            "web",
            json!({"metadata": bound, "spec": {"address": "192.0.2.2"}}),
        ),
        of("networking.istio.io/v1", "VirtualService", "web", json!({"spec": {"hosts": ["web"]}})),
        of("networking.istio.io/v1", "DestinationRule", "web", json!({"spec": {"host": "web"}})),
    ]
    .into_iter()
    .chain(unread_with_conditions().map(|kind| {
        let spec = match kind.name {
            "WorkloadGroup" => json!({"template": {}}),
            _ => json!({}),
        };
        of(&format!("{}/{}", kind.group, kind.versions[0]), kind.name, "web", json!({"spec": spec}))
    }))
    .chain([gateways(namespace)])
    .collect()
}

/// A gateway and what attaches to it, of each kind of the Gateway API that has a status.
fn gateways(namespace: &str) -> String {
    let mut all = String::new();
    let mut add = |group: &str, version: &str, kind: &str, spec: Value| {
        let api = format!("gateway.networking.{group}/{version}");
        let metadata = json!({"name": "web", "namespace": namespace});
        all.push_str(&format!(
            "---\n{}\n",
            json!({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})
        ));
    };
    let from_all = json!({"namespaces": {"from": "All"}});
    add(
        "k8s.io",
        "v1",
        "Gateway",
        json!({
            "gatewayClassName": "istio", "allowedListeners": from_all,
            "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}],
        }),
    );
    let listeners = json!([{"name": "more", "port": 81, "protocol": "HTTP"}]);
    add("k8s.io", "v1", "ListenerSet", json!({"parentRef": {"name": "web"}, "listeners": listeners}));
    let parents = json!([{"name": "web"}]);
    let backends = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
    for kind in ["HTTPRoute", "GRPCRoute", "TCPRoute", "UDPRoute"] {
        add("k8s.io", "v1", kind, json!({"parentRefs": parents, "rules": backends}));
    }
    let hostnames = json!(["web.example.com"]);
    add(
        "k8s.io",
        "v1",
        "TLSRoute",
        json!({"parentRefs": parents, "hostnames": hostnames, "rules": backends}),
    );
    let targets = json!([{"group": "", "kind": "Service", "name": "web"}]);
    // Read by its name, and looked for until it is there.
    let roots = json!([{"group": "", "kind": "ConfigMap", "name": "absent"}]);
    let validation = json!({"hostname": "web.example.com", "caCertificateRefs": roots});
    add("k8s.io", "v1", "BackendTLSPolicy", json!({"targetRefs": targets, "validation": validation}));
    add("x-k8s.io", "v1alpha1", "XBackendTrafficPolicy", json!({"targetRefs": targets}));
    all
}

/// A gateway that is deployed as its annotations say.
fn deployed(namespace: &str, annotations: Value) -> String {
    let metadata = json!({"name": "deployed", "namespace": namespace, "annotations": annotations});
    let listeners = json!([{"name": "mesh", "port": 15008, "protocol": "HBONE"}]);
    let spec = json!({"gatewayClassName": "istio-waypoint", "listeners": listeners});
    let api = "gateway.networking.k8s.io/v1";
    json!({"apiVersion": api, "kind": "Gateway", "metadata": metadata, "spec": spec}).to_string()
}

/// Makes the ztunnel of a node as upstream's chart does, and returns its token.
async fn ztunnel(server: &ApiServer, namespace: &str) -> anyhow::Result<String> {
    let name = json!({"name": "ztunnel", "namespace": namespace});
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ztunnel-n1", "namespace": namespace},
        "spec": {
            "serviceAccountName": "ztunnel", "nodeName": "n1",
            "containers": [{"name": "istio-proxy", "image": "ztunnel"}],
        },
    });
    server.apply(&format!("{account}\n---\n{pod}")).await?;
    let client = server.client().await?;
    let pod = Api::<Pod>::namespaced(client.clone(), namespace).get("ztunnel-n1").await?;
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name,
        uid: pod.metadata.uid,
    };
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec!["istio-ca".to_owned()]),
            bound_object_ref: Some(bound),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(client, namespace);
    let answer = accounts.create_token_request("ztunnel", &PostParams::default(), &request).await?;
    answer.status.and_then(|status| status.token).context("no token in the answer")
}

/// Waits until the API server gives a user all these rights: it hears of roles a while after it stored them.
async fn until_granted(server: &ApiServer, rights: &BTreeSet<String>, user: &str) -> anyhow::Result<()> {
    let reviews = Api::<SubjectAccessReview>::all(server.client().await?);
    for right in rights {
        let review = SubjectAccessReview { spec: question(right, user)?, ..Default::default() };
        let is_given = until(LIMIT, async || {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            Ok(answer.status.is_some_and(|status| status.allowed).then_some(()))
        });
        is_given.await.with_context(|| format!("{user} has not the right to {right}"))?;
    }
    Ok(())
}

/// What the chart has made of an API server.
pub struct Site {
    pub server: ApiServer,
    /// The namespace of the release.
    release: String,
    /// The namespace of the mesh settings and the root.
    system: String,
    pub shop: String,
    pub rendered: Rendered,
    pub granted: BTreeSet<String>,
    recorder: Recorder,
}

impl Site {
    /// Installs both charts and some objects; a shadow in a namespace of its own. What has `absent` in its
    /// path the API server does not serve.
    pub async fn install(
        is_shadow: bool,
        values: &Value,
        absent: Option<&'static str>,
    ) -> anyhow::Result<Self> {
        let server = ApiServer::start().await?;
        let KnownCrds { istio, gateway_experimental, .. } = tokio::task::spawn_blocking(known_crds).await??;
        let is_unread = |names: &str| unread_with_conditions().any(|kind| names == kind.name);
        let unread = istio.into_iter().filter(|definition| {
            definition.spec.group.ends_with(".istio.io") && is_unread(&definition.spec.names.kind)
        });
        for definition in gateway_experimental.into_iter().chain(unread) {
            server.apply(&serde_yaml::to_string(&definition)?).await?;
        }
        let system = server.namespace("mesh").await?;
        let base = render(&chart("base"), &system, &json!({}))?;
        for object in base.definitions.iter().chain(&base.objects) {
            server.apply(&object.to_string()).await?;
        }
        let (release, values) = if is_shadow {
            let shadow = json!({"shadow": {"enabled": true, "namespace": system}});
            (server.namespace("shadow").await?, shadow)
        } else {
            (system.clone(), values.clone())
        };
        let rendered = render_pilothouse(&release, &values)?;
        server.apply(&rendered.manifest()).await?;
        let shop = server.namespace("shop").await?;
        server.apply(&objects(&shop)).await?;
        let account = rendered.only("ServiceAccount")?["metadata"]["name"].as_str().context("no name")?;
        let recorder = Recorder::before(&server.kubeconfig_of(&release, account).await?, absent).await?;
        let granted = granted(&rendered)?;
        until_granted(&server, &granted, &format!("system:serviceaccount:{release}:{account}")).await?;
        Ok(Self { server, release, system, shop, rendered, granted, recorder })
    }

    /// Returns the settings of a pod of the deployment.
    pub fn settings(&self) -> anyhow::Result<ServeArgs> {
        settings(&self.rendered, &self.release, self.recorder.kubeconfig())
    }

    /// Returns the Secrets of the control plane's namespace.
    pub async fn secrets(&self) -> anyhow::Result<Api<Secret>> {
        Ok(Api::namespaced(self.server.client().await?, &self.system))
    }

    /// Returns the rights that were used, and complains about requests that none grants.
    pub fn used(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut used = BTreeSet::new();
        for asked in self.recorder.asked() {
            let one_of = needed(&asked.method, &asked.path);
            let right = one_of.iter().find(|right| self.granted.contains(*right));
            let right = right.with_context(|| format!("{asked:?}: the chart grants none of {one_of:?}"))?;
            ensure!(asked.status != 403, "{asked:?} is forbidden although there is {right:?}");
            used.insert(right.clone());
            // An apply that creates needs the right to create, too.
            let create = right.replacen("patch ", "create ", 1);
            if asked.status == 201 && asked.method == "PATCH" && self.granted.contains(&create) {
                used.insert(create);
            }
        }
        Ok(used)
    }

    /// Waits for the root certificates that are published in a namespace, and returns them.
    pub async fn roots(&self, namespace: &str) -> anyhow::Result<String> {
        let maps = Api::<ConfigMap>::namespaced(self.server.client().await?, namespace);
        let found = until(LIMIT, async || {
            self.used()?;
            let data = maps.get_opt(ROOTS).await?.and_then(|map| map.data);
            Ok(data.and_then(|data| data.get("root-cert.pem").cloned()))
        });
        found.await.context("no root certificates")
    }
}

/// A replica of the deployment.
pub struct Replica {
    xds: SocketAddr,
    secure: SocketAddr,
    health: SocketAddr,
    running: JoinHandle<()>,
    stop: CancellationToken,
}

impl Replica {
    /// Starts it and waits until it is ready.
    pub async fn start(site: &Site, args: &ServeArgs) -> anyhow::Result<Self> {
        let daemon = Daemon::prepare(args).await?;
        let (xds, health) = (daemon.xds_addr(), daemon.health_addr());
        let secure = daemon.secure_addr().context("no secure port")?;
        let stop = CancellationToken::new();
        let running = tokio::spawn(daemon.run(stop.clone()));
        let path = container(&site.rendered)?["readinessProbe"]["httpGet"]["path"].clone();
        let path = path.as_str().context("no probe")?;
        let is_ready = until(LIMIT, async || {
            site.used()?;
            ensure!(!running.is_finished(), "it ended");
            Ok((status(health, path).await? == 200).then_some(()))
        });
        is_ready.await.context("not ready")?;
        Ok(Self { xds, secure, health, running, stop })
    }

    /// Starts one that finds no root that it may use, and returns what it says.
    pub async fn refusal(args: &ServeArgs) -> anyhow::Result<String> {
        let daemon = Daemon::prepare(args).await?;
        let view = daemon.identity().clone();
        let stop = CancellationToken::new();
        let running = tokio::spawn(daemon.run(stop.clone()));
        let problem = until(LIMIT, async || Ok(view.authority.status().problem)).await;
        stop.cancel();
        timeout(LIMIT, running).await.context("it does not stop")??;
        Ok(problem?.text)
    }

    /// Connects a ztunnel that holds this token, as it does in a pod: by the name of the chart's service.
    async fn ztunnel(&self, site: &Site, token: &str) -> anyhow::Result<Client> {
        let roots_pem = site.roots(&site.system).await?.into_bytes();
        let service = site.rendered.only("Service")?["metadata"]["name"].as_str().context("no name")?;
        let server_name = Some(format!("{service}.{}.svc", site.system));
        let opened = until(LIMIT, async || Ok(TcpStream::connect(self.secure).await.ok()));
        opened.await.context("the secure port does not open")?;
        let client = Client::connect(Options {
            tls: Some(Tls { roots_pem, server_name }),
            token: Some(token.to_owned()),
            node: Node { namespace: site.system.clone(), ..Node::ztunnel("n1") },
            limit: LIMIT,
            ..Options::to(self.secure.to_string())
        })
        .await?;
        let host = format!("web.{}.svc.cluster.local", site.shop);
        client.until("the service", |state| state.services().any(|(_, s)| s.hostname == host)).await?;
        Ok(client)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        timeout(LIMIT, self.running).await.context("it does not stop")?.map_err(Into::into)
    }
}

/// Returns the number of Events about key material with this reason, recurrences included.
async fn events(site: &Site, reason: &str) -> anyhow::Result<i32> {
    let events = Api::<Event>::namespaced(site.server.client().await?, &site.system);
    let all = events.list(&ListParams::default()).await?.items;
    let of_reason = all.iter().filter(|event| event.reason.as_deref() == Some(reason));
    Ok(of_reason.map(|event| event.series.as_ref().map_or(1, |series| series.count)).sum())
}

/// Returns the status that a path of the health port answers.
async fn status(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")
}

#[tokio::test(flavor = "multi_thread")]
async fn as_its_own_account_it_does_all_its_work_and_uses_every_right_it_has() -> anyhow::Result<()> {
    // Of all classes: what is deployed for a waypoint is of the same kinds.
    let values = json!({"env": {"PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER": true}});
    let site = Site::install(false, &values, None).await?;
    let mut args = site.settings()?;
    assert_eq!(args.mesh.system_namespace, site.system);
    let one = Replica::start(&site, &args).await?;
    let alive =
        container(&site.rendered)?["livenessProbe"]["httpGet"]["path"].as_str().context("no probe")?;
    assert_eq!(status(one.health, alive).await?, 200);
    let plaintext = Client::connect(Options { limit: LIMIT, ..Options::to(one.xds.to_string()) }).await?;
    plaintext.until("both types answered", |state| state.is_ready()).await?;

    // Tokens are verified by the published keys, or by review where that is set.
    let token = ztunnel(&site.server, &site.system).await?;
    let first = one.ztunnel(&site, &token).await?;
    args.identity.always_review_tokens = true;
    let two = Replica::start(&site, &args).await?;
    let second = two.ztunnel(&site, &token).await?;

    // What somebody edits is put right, root certificate and revocation lists; and a rotation begins when it is asked for.
    let client = site.server.client().await?;
    let roots = site.roots(&site.shop).await?;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &site.shop);
    let edit = Patch::Merge(json!({"data": {"root-cert.pem": "edited"}}));
    maps.patch(ROOTS, &PatchParams::default(), &edit).await?;
    let is_right = async || Ok((site.roots(&site.shop).await? == roots).then_some(()));
    until(LIMIT, is_right).await.context("the edit stays")?;
    let edit = Patch::Merge(json!({"data": {"ca-crl.pem": "edited"}}));
    maps.patch(LISTS, &PatchParams::default(), &edit).await?;
    let secrets = Api::<Secret>::namespaced(client.clone(), &site.system);
    let ask = Patch::Merge(json!({"metadata": {"annotations": {identity::ROTATE: "now"}}}));
    secrets.patch("istio-ca-secret", &PatchParams::default(), &ask).await?;

    // An invalid root is an Event; the second time its count is incremented.
    let is_announced = async || {
        let data = secrets.get("istio-ca-secret").await?.data.unwrap_or_default();
        Ok(data.contains_key("incoming-ca-cert.pem").then_some(data))
    };
    let good = until(LIMIT, is_announced).await.context("no rotation begins")?;
    for (certificate, reason) in [
        (ByteString(b"none".to_vec()), "KeyMaterialRefused"),
        (good["ca-cert.pem"].clone(), "KeyMaterialActive"),
        (ByteString(b"none".to_vec()), "KeyMaterialRefused"),
    ] {
        let before = events(&site, reason).await?;
        let change = Patch::Merge(json!({"data": {"ca-cert.pem": certificate}}));
        secrets.patch("istio-ca-secret", &PatchParams::default(), &change).await?;
        // Both replicas write one.
        let is_reported = async || Ok((events(&site, reason).await? >= before + 2).then_some(()));
        until(LIMIT, is_reported).await.with_context(|| format!("{reason} is not reported"))?;
    }

    // Gateways are deployed, and what one no longer asks for goes.
    let budgets = Api::<PodDisruptionBudget>::namespaced(client.clone(), &site.shop);
    let asked = json!({
        "gateway.istio.io/name-override": "front", "gateway.istio.io/service-account": "robot",
        "gateway.pilothouse.io/max-replicas": "2", "gateway.pilothouse.io/min-available": "1",
    });
    site.server.apply(&deployed(&site.shop, asked)).await?;
    until(LIMIT, async || Ok(budgets.get_opt("front").await?)).await.context("nothing is deployed")?;
    site.server.apply(&deployed(&site.shop, json!({}))).await?;
    let is_gone = async || Ok(budgets.get_opt("front").await?.is_none().then_some(()));
    until(LIMIT, is_gone).await.context("what is no longer asked for stays")?;

    let mut unused = BTreeSet::new();
    let is_used = until(LIMIT, async || {
        let used = site.used()?;
        unused = site.granted.difference(&used).filter(|r| !r.starts_with(OTHER_OCCASION)).cloned().collect();
        Ok(unused.is_empty().then_some(()))
    });
    if let Err(error) = is_used.await {
        bail!("{error}: of no use are {unused:#?}");
    }

    for client in [plaintext, first, second] {
        assert_eq!(client.violations(), []);
    }
    one.stop().await?;
    two.stop().await?;
    site.used().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_serves_the_mesh_and_asks_for_reading_only() -> anyhow::Result<()> {
    let site = Site::install(true, &json!({}), None).await?;
    let args = site.settings()?;
    assert!(args.shadow && args.mesh.system_namespace == site.system);
    let shadow = Replica::start(&site, &args).await?;
    let client = Client::connect(Options { limit: LIMIT, ..Options::to(shadow.xds.to_string()) }).await?;
    client.until("both types answered", |state| state.is_ready()).await?;
    // Nobody brings a token here: the secure port stays closed without a root, which a shadow makes not.
    let of_tokens = |right: &String| right.contains("tokenreviews") || right.starts_with("get /");
    let is_used = until(LIMIT, async || {
        let used = site.used()?;
        Ok(site.granted.difference(&used).all(of_tokens).then_some(()))
    });
    is_used.await.context("a right is of no use")?;
    shadow.stop().await?;
    site.used()?;
    let asked = site.recorder.asked();
    assert!(asked.iter().all(|asked| asked.method == "GET"), "{asked:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn as_its_own_account_it_may_ask_the_external_signer_and_touch_no_secret() -> anyhow::Result<()> {
    const NAME: &str = "issuers.example/mesh";
    let site = Site::install(false, &json!({"externalSigner": {"name": NAME}}), None).await?;
    let signer = Signer::start(&site.server, NAME).await?;
    let replica = Replica::start(&site, &site.settings()?).await?;
    assert_eq!(site.roots(&site.shop).await?, signer.authority.root_pem.replace('\r', ""));
    let token = ztunnel(&site.server, &site.system).await?;
    let client = replica.ztunnel(&site, &token).await?;
    signer.until_open(0).await?;
    // Approval by name is judged when the request is approved; no request of its own asks for it.
    let of_signers: BTreeSet<_> =
        site.granted.iter().filter(|right| right.contains("certificatesigningrequests")).cloned().collect();
    assert_eq!(of_signers.len(), 5);
    // The last request is gone before the answer to who deleted it came back.
    let mut unused = Vec::new();
    let is_used = until(LIMIT, async || {
        let used = site.used()?;
        unused = of_signers.difference(&used).cloned().collect();
        Ok(unused.is_empty().then_some(()))
    });
    is_used.await.with_context(|| format!("of no use are {unused:?}"))?;
    assert!(!site.granted.iter().any(|right| right.contains(" secrets")));
    assert_eq!(client.violations(), []);
    replica.stop().await?;
    site.used().map(drop)
}
