//! The Kubernetes source against a real API server.

#[path = "source/referents.rs"]
mod referents;

use anyhow::{Context, ensure};
use cluster::{Access, Batch, ConnectError, KubeSettings, KubeSource, SourceProblems, connect};
use futures::StreamExt;
use kube::api::{Api, PostParams};
use model::Event;
use model::facts::{Answer, Referent};
use model::{Kind, Name, Object};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, known_crds};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// What a receiver of the source knows, by the rules of [`Event`].
struct Receiver {
    batches: mpsc::Receiver<Batch>,
    problems: watch::Receiver<SourceProblems>,
    objects: BTreeMap<Kind, BTreeMap<Name, Object>>,
    rejected: BTreeMap<(Kind, Name), String>,
    /// The names met in the listing that goes on, for each kind in one.
    listing: BTreeMap<Kind, BTreeSet<Name>>,
    /// How often each kind was listed to the end.
    synced: BTreeMap<Kind, usize>,
    /// What was answered of what is read by reference.
    answers: BTreeMap<Referent, Answer>,
    batch_sizes: Vec<usize>,
}

impl Receiver {
    async fn start(
        kubeconfig: &Path,
        kinds: &[Kind],
        change: impl FnOnce(&mut KubeSettings),
    ) -> anyhow::Result<Self> {
        let access = Access { kubeconfig: Some(kubeconfig.to_owned()), context: None };
        let mut settings = KubeSettings { kinds: kinds.to_vec(), ..KubeSettings::default() };
        change(&mut settings);
        let source = KubeSource::new(connect(&access).await?, settings);
        let problems = source.problems();
        let (out, batches) = mpsc::channel(4);
        tokio::spawn(source.run(out));
        Ok(Self::of(batches, problems))
    }

    fn of(batches: mpsc::Receiver<Batch>, problems: watch::Receiver<SourceProblems>) -> Self {
        Self {
            batches,
            problems,
            objects: BTreeMap::new(),
            rejected: BTreeMap::new(),
            listing: BTreeMap::new(),
            synced: BTreeMap::new(),
            answers: BTreeMap::new(),
            batch_sizes: Vec::new(),
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Begin(kind) => {
                self.listing.insert(kind, BTreeSet::new());
            }
            Event::Put(object) => {
                let (kind, name) = (object.kind(), object.name());
                self.met(kind, &name);
                self.rejected.remove(&(kind, name.clone()));
                self.objects.entry(kind).or_default().insert(name, object);
            }
            Event::Reject(reference, diagnostic) => {
                let name = reference.name;
                self.met(reference.kind, &name);
                self.rejected.insert((reference.kind, name), diagnostic.to_string());
            }
            Event::Remove(reference) => {
                self.rejected.remove(&(reference.kind, reference.name.clone()));
                self.objects.entry(reference.kind).or_default().remove(&reference.name);
            }
            Event::Synced(kind) => {
                let met = self.listing.remove(&kind).expect("no listing ends that did not begin");
                self.objects.entry(kind).or_default().retain(|name, _| met.contains(name));
                *self.synced.entry(kind).or_default() += 1;
            }
            Event::OnDemand => {}
            Event::Keys(..) => panic!("sources have no keys"),
            Event::Answer(of, answer) => {
                self.answers.insert(of, answer);
            }
            Event::Forget(of) => {
                self.answers.remove(&of);
            }
        }
    }

    fn met(&mut self, kind: Kind, name: &Name) {
        if let Some(met) = self.listing.get_mut(&kind) {
            met.insert(name.clone());
        }
    }

    /// Receives until what is known fulfils `condition`.
    async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let wait = async {
            while !condition(self) {
                let batch = self.batches.recv().await.context("the source ended")?.events;
                self.batch_sizes.push(batch.len());
                batch.into_iter().for_each(|event| self.take(event));
            }
            anyhow::Ok(())
        };
        timeout(LIMIT, wait).await.with_context(|| format!("waited in vain: {what}"))?
    }

    /// Receives what has arrived already.
    fn take_what_arrived(&mut self) {
        while let Ok(batch) = self.batches.try_recv() {
            batch.events.into_iter().for_each(|event| self.take(event));
        }
    }

    async fn until_problems(
        &mut self,
        what: &str,
        condition: impl Fn(&SourceProblems) -> bool,
    ) -> anyhow::Result<SourceProblems> {
        let wait = self.problems.wait_for(|t| condition(t));
        Ok(timeout(LIMIT, wait).await.with_context(|| format!("waited in vain: {what}"))??.clone())
    }

    fn is_synced(&self, kind: Kind) -> bool {
        self.synced.contains_key(&kind)
    }

    fn get(&self, kind: Kind, name: &Name) -> Option<&Object> {
        self.objects.get(&kind).and_then(|all| all.get(name))
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        self.objects.get(&kind).into_iter().flatten().map(|(name, _)| name.to_string()).collect()
    }
}

fn service(ns: &str, name: &str, port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {ns}}}, spec: {{ports: [{{port: {port}}}]}}}}\n---\n"
    )
}

fn port_of(object: &Object) -> Option<u16> {
    match object {
        Object::Service(service) => service.ports.first().map(|p| p.port),
        _ => None,
    }
}

#[tokio::test]
async fn objects_are_listed_and_changes_follow() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("follow").await?;
    server.apply(&(service(&ns, "a", 80) + &service(&ns, "b", 81))).await?;
    let mut receiver =
        Receiver::start(&server.kubeconfig(), &[Kind::Service, Kind::Namespace], |_| ()).await?;

    receiver
        .until("both kinds are listed", |w| w.is_synced(Kind::Service) && w.is_synced(Kind::Namespace))
        .await?;
    let (a, b, c) = (Name::new(&ns, "a"), Name::new(&ns, "b"), Name::new(&ns, "c"));
    assert_eq!(receiver.get(Kind::Service, &a).and_then(port_of), Some(80));
    assert_eq!(receiver.get(Kind::Service, &b).and_then(port_of), Some(81));
    assert!(receiver.get(Kind::Namespace, &Name::new("", &ns)).is_some());

    server.apply(&(service(&ns, "a", 8080) + &service(&ns, "c", 82))).await?;
    server.delete(&service(&ns, "b", 81)).await?;
    receiver.until("b is gone", |w| w.get(Kind::Service, &b).is_none()).await?;
    assert_eq!(receiver.get(Kind::Service, &a).and_then(port_of), Some(8080), "changes come in order");
    assert_eq!(receiver.get(Kind::Service, &c).and_then(port_of), Some(82));
    assert_eq!(receiver.synced[&Kind::Service], 1, "one listing was enough");
    assert!(receiver.problems.borrow().is_empty());
    Ok(())
}

#[tokio::test]
async fn of_all_config_maps_only_the_mesh_settings_are_read() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let (ns, other) = (server.namespace("settings").await?, server.namespace("settings").await?);
    let map = |ns: &str, name: &str, domain: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: {ns}}}, data: {{mesh: 'trustDomain: {domain}'}}}}\n---\n"
        )
    };
    server.apply(&(map(&ns, "another", "a.test") + &map(&other, "istio", "b.test"))).await?;
    let mut receiver = Receiver::start(&server.kubeconfig(), &[Kind::ConfigMap], |settings| {
        settings.config_namespace = ns.clone();
    })
    .await?;
    receiver.until("listed", |w| w.is_synced(Kind::ConfigMap)).await?;
    assert_eq!(receiver.names(Kind::ConfigMap), [""; 0]);

    server.apply(&(map(&ns, "another", "c.test") + &map(&ns, "istio", "d.test"))).await?;
    receiver.until("the settings", |w| !w.names(Kind::ConfigMap).is_empty()).await?;
    assert_eq!(receiver.names(Kind::ConfigMap), [format!("{ns}/istio")]);
    Ok(())
}

#[tokio::test]
async fn a_long_list_comes_in_batches_of_a_page() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("long").await?;
    let slices = Api::namespaced(server.client().await?, &ns);
    let create = futures::stream::iter(0..1100).map(|n| {
        let slices = slices.clone();
        async move {
            let slice = k8s_openapi::api::discovery::v1::EndpointSlice {
                metadata: kube::api::ObjectMeta { name: Some(format!("slice-{n}")), ..Default::default() },
                address_type: "IPv4".to_owned(),
                ..Default::default()
            };
            slices.create(&PostParams::default(), &slice).await
        }
    });
    let created: Vec<_> = create.buffer_unordered(16).collect().await;
    created.into_iter().collect::<Result<Vec<_>, _>>()?;

    let mut receiver = Receiver::start(&server.kubeconfig(), &[Kind::EndpointSlice], |_| ()).await?;
    receiver.until("listed", |w| w.is_synced(Kind::EndpointSlice)).await?;
    let ours = receiver.names(Kind::EndpointSlice).iter().filter(|n| n.starts_with(&ns)).count();
    assert_eq!(ours, 1100);
    assert!(receiver.batch_sizes.len() >= 3, "{:?}", receiver.batch_sizes);
    assert!(receiver.batch_sizes.iter().all(|&size| size <= 502), "{:?}", receiver.batch_sizes);
    Ok(())
}

#[tokio::test]
async fn a_forbidden_kind_is_told_in_one_sentence_and_read_once_granted() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("rights").await?;
    let role = |name: &str, resources: &str| {
        format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: '{ns}-{name}'}}
rules: [{{apiGroups: [''], resources: [{resources}], verbs: [list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: '{ns}-{name}'}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: '{ns}-{name}'}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {ns}}}]
"
        )
    };
    server.apply(&role("services", "services")).await?;
    let kubeconfig = server.kubeconfig_of(&ns, "default").await?;
    let mut receiver = Receiver::start(&kubeconfig, &[Kind::Service, Kind::Node], |_| ()).await?;

    receiver.until("services are listed", |w| w.is_synced(Kind::Service)).await?;
    let sentence = format!(
        "not allowed to list nodes: nodes is forbidden: User \"system:serviceaccount:{ns}:default\" cannot \
         list resource \"nodes\" in API group \"\" at the cluster scope; grant the verbs list and watch on \
         nodes to this user, as the chart's ClusterRole does; trying again"
    );
    // Awaited, since until the authorizer has seen a role its binding adds words of its own.
    receiver.until_problems(&sentence, |problems| problems.to_string() == sentence).await?;
    assert!(!receiver.is_synced(Kind::Node));

    server.apply(&role("nodes", "nodes")).await?;
    receiver.until("nodes are listed", |w| w.is_synced(Kind::Node)).await?;
    receiver.until_problems("all is well", SourceProblems::is_empty).await?;
    Ok(())
}

#[tokio::test]
async fn an_unreachable_api_server_is_told_in_one_sentence() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    // A port that was free a moment ago and that nothing serves.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let text = std::fs::read_to_string(server.kubeconfig())?;
    let path = server.dir().join("kubeconfig-unreachable");
    std::fs::write(&path, text.replace(server.url(), &format!("https://{address}")))?;

    let mut receiver = Receiver::start(&path, Kind::ALL, |_| ()).await?;
    let problems = receiver.until_problems("a sentence", |t| !t.is_empty()).await?;
    let sentence = problems.to_string();
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    let begin = format!("cannot reach the Kubernetes API server at https://{address}: ");
    assert!(sentence.starts_with(&begin), "{sentence}");
    assert!(sentence.contains("refused"), "{sentence}");
    assert!(receiver.batches.try_recv().is_err(), "nothing is sent that nobody told");
    Ok(())
}

#[tokio::test]
async fn credentials_that_are_not_accepted_are_told_in_one_sentence() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let mut config: serde_yaml::Value = serde_yaml::from_slice(&std::fs::read(server.kubeconfig())?)?;
    config["users"][0]["user"] = serde_yaml::from_str("{token: nonsense}")?;
    let path = server.dir().join("kubeconfig-nonsense");
    std::fs::write(&path, serde_yaml::to_string(&config)?)?;

    let mut receiver = Receiver::start(&path, &[Kind::Pod, Kind::Gateway], |_| ()).await?;
    let problems = receiver.until_problems("a sentence", |t| !t.is_empty()).await?;
    assert_eq!(
        problems.to_string(),
        format!(
            "the Kubernetes API server at {} does not answer as it should: it does not accept the credentials; \
             check the server and the credentials; trying again",
            server.url()
        )
    );
    assert!(receiver.batches.try_recv().is_err(), "a kind that cannot be seen is not taken as absent");
    Ok(())
}

#[tokio::test]
async fn what_was_deleted_while_the_api_server_was_away_is_gone_after() -> anyhow::Result<()> {
    let mut server = ApiServer::start().await?;
    let home = server.port()?;
    let kubeconfig = server.dir().join("kubeconfig-home");
    std::fs::copy(server.kubeconfig(), &kubeconfig)?;
    let ns = server.namespace("away").await?;
    server.apply(&(service(&ns, "stays", 80) + &service(&ns, "goes", 81))).await?;
    let mut receiver = Receiver::start(&kubeconfig, &[Kind::Service], |_| ()).await?;
    receiver.until("listed", |w| w.is_synced(Kind::Service)).await?;
    let (stays, goes, comes) = (Name::new(&ns, "stays"), Name::new(&ns, "goes"), Name::new(&ns, "comes"));
    ensure!(receiver.get(Kind::Service, &goes).is_some());

    server.stop().await?;
    receiver.until_problems("it is away", |t| t.server.is_some()).await?;
    // The server writes Services of its own until it ends, so what came last is taken first.
    receiver.take_what_arrived();
    assert!(receiver.get(Kind::Service, &stays).is_some() && receiver.get(Kind::Service, &goes).is_some());
    assert_eq!((receiver.synced[&Kind::Service], receiver.listing.len()), (1, 0), "an outage lists nothing");

    server.start_again(0).await?;
    server.apply(&service(&ns, "comes", 82)).await?;
    server.delete(&service(&ns, "goes", 81)).await?;
    server.stop().await?;
    server.start_again(home).await?;
    receiver.until("the deletion", |w| w.get(Kind::Service, &goes).is_none()).await?;
    receiver.until("the creation", |w| w.get(Kind::Service, &comes).is_some()).await?;
    assert!(receiver.get(Kind::Service, &stays).is_some());
    assert!(receiver.synced[&Kind::Service] >= 2, "no watch reaches back: it took a second listing");
    receiver.until_problems("all is well", SourceProblems::is_empty).await?;

    // A crash without a change: the watch goes on.
    server.kill()?;
    receiver.until_problems("it is away", |t| t.server.is_some()).await?;
    server.start_again(home).await?;
    server.delete(&service(&ns, "comes", 82)).await?;
    receiver.until("a deletion after it", |w| w.get(Kind::Service, &comes).is_none()).await?;
    assert!(receiver.get(Kind::Service, &stays).is_some());
    Ok(())
}

#[tokio::test]
async fn a_kind_is_empty_until_it_is_installed_and_again_after_it_is_removed() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let kinds = [Kind::AuthorizationPolicy, Kind::Gateway, Kind::Service];
    let mut receiver = Receiver::start(&server.kubeconfig(), &kinds, |_| ()).await?;
    receiver.until("all are listed", |w| kinds.iter().all(|&k| w.is_synced(k))).await?;
    assert_eq!(receiver.names(Kind::AuthorizationPolicy), [""; 0]);
    assert!(receiver.problems.borrow().is_empty(), "a kind that is not installed is no problem");

    let definitions = known_crds()?.istio;
    let policies = definitions
        .iter()
        .find(|d| d.spec.names.kind == "AuthorizationPolicy")
        .context("no definition of policies")?;
    let definition = serde_yaml::to_string(policies)?;
    server.apply(&definition).await?;
    let policy = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nothing, namespace: default}
spec: {}
";
    server.apply(policy).await?;
    receiver.until("the policy", |w| w.names(Kind::AuthorizationPolicy) == ["default/nothing"]).await?;
    assert_eq!(receiver.synced[&Kind::Gateway], 1, "what stays absent is told once");

    server.delete(&definition).await?;
    receiver.until("no policy", |w| w.names(Kind::AuthorizationPolicy).is_empty()).await?;
    server.apply(&definition).await?;
    server.apply(policy).await?;
    receiver.until("the policy again", |w| w.names(Kind::AuthorizationPolicy) == ["default/nothing"]).await
}

/// A definition that checks nothing, as an old or foreign one may be.
/// A definition that takes anything, in versions that are served or not; the first is stored.
fn lax(group: &str, kind: &str, plural: &str, versions: &[(&str, bool)]) -> String {
    let versions: String = versions
        .iter()
        .enumerate()
        .map(|(i, (name, served))| {
            format!(
                "
  - name: {name}
    served: {served}
    storage: {}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}",
                i == 0
            )
        })
        .collect();
    format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}, annotations: {{api-approved.kubernetes.io: unapproved}}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: {kind}, plural: {plural}}}
  versions:{versions}
---
"
    )
}

#[tokio::test]
async fn a_kind_is_read_in_the_first_of_its_versions_that_is_served() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let group = Kind::TCPRoute.group();
    let definition = |versions: &[(&str, bool)]| lax(group, "TCPRoute", "tcproutes", versions);
    let route = |version: &str, name: &str| {
        format!(
            "{{apiVersion: {group}/{version}, kind: TCPRoute, metadata: {{name: {name}, namespace: default}}}}\n"
        )
    };
    server.apply(&definition(&[("v1alpha2", true)])).await?;
    server.apply(&route("v1alpha2", "old")).await?;
    let mut fixture = Receiver::start(&server.kubeconfig(), &[Kind::TCPRoute], |_| ()).await?;
    fixture.until("the route in the older version", |w| w.names(Kind::TCPRoute) == ["default/old"]).await?;
    server.apply(&definition(&[("v1", true), ("v1alpha2", false)])).await?;
    server.apply(&route("v1", "new")).await?;
    let both = ["default/new", "default/old"];
    fixture.until("both in the newer version", |w| w.names(Kind::TCPRoute) == both).await
}

#[tokio::test]
async fn an_object_that_cannot_be_read_takes_no_other_with_it() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    server
        .apply(
            &(lax("networking.istio.io", "ServiceEntry", "serviceentries", &[("v1", true)])
                + &lax("security.istio.io", "AuthorizationPolicy", "authorizationpolicies", &[("v1", true)])),
        )
        .await?;
    let entry = |name: &str, hosts: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}, namespace: default}}, spec: {{hosts: {hosts}, ports: [{{number: 80, name: http}}]}}}}\n---\n"
        )
    };
    let bad_policy = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: bad, namespace: default}, spec: {rules: 5}}";
    let all = entry("a", "[a.test]") + &entry("bad", "5") + &entry("c", "[c.test]");
    server.apply(&(all + bad_policy)).await?;

    let kinds = [Kind::ServiceEntry, Kind::AuthorizationPolicy];
    let mut receiver = Receiver::start(&server.kubeconfig(), &kinds, |_| ()).await?;
    receiver.until("listed", |w| kinds.iter().all(|&k| w.is_synced(k))).await?;
    assert_eq!(receiver.names(Kind::ServiceEntry), ["default/a", "default/c"]);
    let bad = Name::new("default", "bad");
    let message = &receiver.rejected[&(Kind::ServiceEntry, bad.clone())];
    assert!(message.starts_with("ServiceEntry default/bad, spec.hosts: "), "{message}");
    assert_eq!(
        receiver.names(Kind::AuthorizationPolicy),
        ["default/bad"],
        "a policy is never lost: it refuses"
    );

    // The same on a watch, and what was good before stays.
    server.apply(&(entry("bad", "[b.test]") + &entry("d", "[d.test]"))).await?;
    receiver.until("it is fixed", |w| w.get(Kind::ServiceEntry, &bad).is_some()).await?;
    server.apply(&(entry("bad", "6") + &entry("e", "[e.test]"))).await?;
    receiver.until("the last one", |w| w.names(Kind::ServiceEntry).contains(&"default/e".to_owned())).await?;
    assert!(receiver.rejected.contains_key(&(Kind::ServiceEntry, bad.clone())));
    assert!(receiver.get(Kind::ServiceEntry, &bad).is_some());
    Ok(())
}

#[tokio::test]
async fn the_source_ends_when_nobody_receives() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let access = Access { kubeconfig: Some(server.kubeconfig()), context: None };
    let source = KubeSource::new(connect(&access).await?, KubeSettings::default());
    let (out, batches) = mpsc::channel(1);
    let running = tokio::spawn(source.run(out));
    drop(batches);
    Ok(timeout(LIMIT, running).await??)
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let absent = server.dir().join("nowhere");
    let access = Access { kubeconfig: Some(absent.clone()), context: None };
    let error = connect(&access).await.err().context("an absent file was accepted")?;
    assert!(matches!(error, ConnectError::Kubeconfig { .. }));
    assert!(
        error.to_string().starts_with(&format!("cannot use the kubeconfig {}: ", absent.display())),
        "{error}"
    );

    let access = Access { kubeconfig: Some(server.kubeconfig()), context: Some("elsewhere".to_owned()) };
    let error = connect(&access).await.err().context("an unknown context was accepted")?;
    assert!(error.to_string().starts_with("cannot use the context elsewhere of the kubeconfig: "), "{error}");
    let access = Access { kubeconfig: Some(server.kubeconfig()), context: Some("test".to_owned()) };
    assert_eq!(connect(&access).await?.url, server.url());
    Ok(())
}
