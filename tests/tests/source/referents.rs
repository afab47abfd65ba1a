//! What is read by reference, against a real API server.

use super::{Receiver, connect};
use anyhow::Context;
use cluster::{Access, KubeSettings, KubeSource};
use model::Name;
use model::facts::{Answer, CLASS_DEFAULTS, Referent};
use pilothouse_tests::apiserver::ApiServer;
use std::collections::BTreeSet;
use std::path::Path;
use tokio::sync::{mpsc, watch};

type Wanted = watch::Sender<BTreeSet<Referent>>;

/// Starts a source that lists nothing and reads what is wanted.
async fn start(kubeconfig: &Path) -> anyhow::Result<(Receiver, Wanted)> {
    let access = Access { kubeconfig: Some(kubeconfig.to_owned()), context: None };
    let settings = KubeSettings { kinds: Vec::new(), ..KubeSettings::default() };
    let wanted = Wanted::default();
    let source = KubeSource::new(connect(&access).await?, settings).with_wanted(wanted.subscribe());
    let problems = source.problems();
    let (out, batches) = mpsc::channel(4);
    tokio::spawn(source.run(out));
    Ok((Receiver::of(batches, problems), wanted))
}

fn secret(ns: &str, name: &str) -> Referent {
    Referent::Secret(Name::new(ns, name))
}

fn config_map(ns: &str, name: &str) -> Referent {
    Referent::ConfigMap(Name::new(ns, name))
}

fn object(kind: &str, ns: &str, name: &str, fields: &str) -> String {
    format!("{{apiVersion: v1, kind: {kind}, metadata: {{name: {name}, namespace: {ns}}}, {fields}}}\n---\n")
}

impl Receiver {
    fn is_absent(&self, of: &Referent) -> bool {
        self.answers.get(of) == Some(&Answer::Absent)
    }

    /// Returns a text of a ConfigMap.
    fn text(&self, of: &Referent, key: &str) -> Option<String> {
        match self.answers.get(of)? {
            Answer::ConfigMap(map) => map.data.get(key).map(ToString::to_string),
            _ => None,
        }
    }

    /// Returns what is wrong with the key pair of a Secret.
    fn fault(&self, of: &Referent) -> Option<&str> {
        match self.answers.get(of)? {
            Answer::Secret(secret) => secret.key_pair.as_ref().err().map(String::as_str),
            _ => None,
        }
    }
}

#[tokio::test]
async fn what_is_wanted_is_read_by_its_name_and_forgotten_when_it_is_not() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("referents").await?;
    let (web, later, map) = (secret(&ns, "web"), secret(&ns, "later"), config_map(&ns, "ca"));
    let maps = |text: &str| object("ConfigMap", &ns, "ca", &format!("data: {{key: {text}}}"));
    server
        .apply(
            &(object("Secret", &ns, "web", "stringData: {other: x}")
                + &object("Secret", &ns, "unwanted", "stringData: {other: x}")
                + &maps("one")),
        )
        .await?;
    let (mut receiver, wanted) = start(&server.kubeconfig()).await?;
    wanted.send_replace(BTreeSet::from([web.clone(), later.clone(), map.clone()]));
    receiver.until("all are answered", |w| w.answers.len() == 3).await?;
    assert_eq!(receiver.fault(&web), Some("it has no tls.crt"));
    assert!(receiver.is_absent(&later));
    assert_eq!(receiver.text(&map, "key").as_deref(), Some("one"));

    let created = object("Secret", &ns, "later", "stringData: {tls.crt: x}");
    server.apply(&(created.clone() + &maps("two"))).await?;
    receiver.until("it is there", |w| w.fault(&later) == Some("it has no tls.key")).await?;
    receiver.until("it is another", |w| w.text(&map, "key").as_deref() == Some("two")).await?;
    server.delete(&created).await?;
    receiver.until("it is gone", |w| w.is_absent(&later)).await?;

    wanted.send_replace(BTreeSet::from([web.clone()]));
    receiver.until("others are forgotten", |w| w.answers.len() == 1).await?;
    assert!(receiver.answers.contains_key(&web), "nothing of what was never wanted");
    // It is read anew when it is wanted again.
    wanted.send_replace(BTreeSet::from([web, map.clone()]));
    receiver.until("it is read again", |w| w.text(&map, "key").as_deref() == Some("two")).await
}

#[tokio::test]
async fn defaults_of_classes_are_read_by_their_label() -> anyhow::Result<()> {
    let server = ApiServer::shared().await?;
    let ns = server.namespace("defaults").await?;
    let map = |name: &str, labels: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: {ns}, labels: {{{labels}}}}}}}\n---\n"
        )
    };
    let of_class = format!("{CLASS_DEFAULTS}: istio");
    server.apply(&(map("one", &of_class) + &map("other", "a: b"))).await?;
    let (mut receiver, wanted) = start(&server.kubeconfig()).await?;
    let of = Referent::ClassDefaults(ns.as_str().into());
    wanted.send_replace(BTreeSet::from([of.clone()]));
    let names = |receiver: &Receiver| match receiver.answers.get(&of) {
        Some(Answer::ConfigMaps(maps)) => maps.iter().map(|map| map.name.name.to_string()).collect(),
        _ => vec!["unanswered".to_owned()],
    };
    receiver.until("the first", |w| names(w) == ["one"]).await?;
    server.apply(&map("two", &of_class)).await?;
    receiver.until("a second", |w| names(w) == ["one", "two"]).await?;
    server.apply(&map("one", "a: b")).await?;
    receiver.until("without its label", |w| names(w) == ["two"]).await
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_what_it_is_for_is_read_once_it_is_granted() -> anyhow::Result<()>
{
    let server = ApiServer::shared().await?;
    let (own, certs) = (server.namespace("reader").await?, server.namespace("certs").await?);
    let kubeconfig = server.kubeconfig_of(&own, "default").await?;
    let of = secret(&certs, "web");
    server.apply(&object("Secret", &certs, "web", "stringData: {other: x}")).await?;
    let (mut receiver, wanted) = start(&kubeconfig).await?;
    wanted.send_replace(BTreeSet::from([of.clone()]));
    receiver.until("an answer", |w| w.answers.contains_key(&of)).await?;
    let expected = format!(
        "this control plane may not watch secrets in namespace {certs:?}; name the namespace in the value \
         secretNamespaces of its chart"
    );
    assert_eq!(receiver.answers.get(&of), Some(&Answer::Unreadable(expected.into())));
    server
        .apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: secrets, namespace: {certs}}}
rules: [{{apiGroups: [''], resources: [secrets], verbs: [get, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: secrets, namespace: {certs}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: secrets}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {own}}}]
"
        ))
        .await?;
    let is_read = receiver.until("it is read", |w| w.fault(&of) == Some("it has no tls.crt")).await;
    is_read.context("with get and watch alone")
}
