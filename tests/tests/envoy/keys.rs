//! Keys of issuers, fetched over real TLS by a control plane, and what waypoints are sent of them.

use super::jwt::Issuer;
use super::proxy::LIMIT;
use super::publisher::{Answer, Publisher};
use anyhow::Context;
use clap::{Args, Command, FromArgMatches};
use model::{Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::until;
use plane::ResourceChange;
use proto::ResourceType;
use runtime::config::ServeArgs;
use runtime::engine_thread::EngineHandle;
use runtime::serve::Daemon;
use serde_json::json;
use std::fs;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

const MESH: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 127.0.0.1}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: api}
spec: {clusterIP: 10.96.0.2, ports: [{name: http, port: 80}]}
";

/// A control plane that serves a folder.
struct Control {
    folder: TempDir,
    engine: EngineHandle,
    _stop: DropGuard,
}

impl Control {
    async fn start(publisher: &Publisher, more: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (mesh, roots) = (folder.path().join("mesh"), folder.path().join("roots.pem"));
        fs::create_dir(&mesh)?;
        fs::write(mesh.join("mesh.yaml"), MESH)?;
        fs::write(&roots, publisher.roots_pem())?;
        let (mesh, roots) = (mesh.display().to_string(), roots.display().to_string());
        let own = ["serve", "--from", &mesh, "--jwks-roots", &roots];
        let addresses = ["--xds-addr", "--http-addr", "--monitoring-addr", "--secure-addr"]
            .into_iter()
            .flat_map(|of| [of, "127.0.0.1:0"]);
        let matches = ServeArgs::augment_args(Command::new("serve"))
            .try_get_matches_from(own.into_iter().chain(addresses).chain(more.iter().copied()))?;
        let daemon = Daemon::prepare(&ServeArgs::from_arg_matches(&matches)?).await?;
        let (engine, stop) = (daemon.engine().clone(), CancellationToken::new());
        let until = stop.clone();
        tokio::spawn(async move { daemon.run(until).await });
        Ok(Self { folder, engine, _stop: stop.drop_guard() })
    }

    /// Writes policies about tokens for services, each by its name.
    fn policies(&self, all: &[(&str, serde_json::Value)]) -> anyhow::Result<()> {
        let object = |(service, rule): &(&str, serde_json::Value)| {
            let spec = json!({"targetRefs": [{"group": "", "kind": "Service", "name": service}], "jwtRules": [rule]});
            json!({"apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication",
                   "metadata": {"namespace": "shop", "name": service}, "spec": spec})
        };
        let texts: Vec<String> = all.iter().map(|of| object(of).to_string()).collect();
        Ok(fs::write(self.folder.path().join("mesh/tokens.yaml"), texts.join("\n---\n"))?)
    }

    /// Tells which of these keys the waypoint has for a service, and what is told of its policy.
    async fn state(&self, service: &str, keys: &[&Issuer]) -> anyhow::Result<(Vec<bool>, String)> {
        let scope = format!("inbound-vip|80|http|{service}.shop.svc.cluster.local");
        let object = ObjectRef { kind: Kind::RequestAuthentication, name: Name::new("shop", service) };
        let found = self.engine.query(move |mesh| {
            let is_it =
                |of: &ResourceChange| of.resource_type == ResourceType::ScopedRoute && of.name == scope;
            let sent = mesh.resources().into_iter().find(is_it).and_then(|of| of.body);
            let told = mesh.diagnostics().into_iter().filter(|of| of.object.as_ref() == Some(&object));
            let told: Vec<String> = told.map(|of| format!("{} {}", of.code, of.message)).collect();
            (sent.map(|body| body.to_vec()).unwrap_or_default(), told.join("; "))
        });
        let (sent, told) = found.await.context("the engine has ended")?;
        let sent = String::from_utf8_lossy(&sent).into_owned();
        Ok((keys.iter().map(|of| sent.contains(&of.point())).collect(), told))
    }

    async fn until_so(
        &self,
        service: &str,
        keys: &[&Issuer],
        expected: &[bool],
        told: &str,
    ) -> anyhow::Result<()> {
        let mut last = None;
        let is_so = until(LIMIT, async || {
            let state = self.state(service, keys).await?;
            let is_told = if told.is_empty() { state.1.is_empty() } else { state.1.contains(told) };
            let is_so = state.0 == expected && is_told;
            last = Some(state);
            Ok(is_so.then_some(()))
        });
        is_so.await.with_context(|| format!("{service} is not {expected:?}, {told:?}: {last:?}"))
    }
}

const LOCAL: [&str; 2] = ["--jwks-networks", "127.0.0.0/8"];

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_once_for_all_policies_and_found_by_discovery() {
    let publisher = Publisher::start().await.unwrap();
    let (issuer, other) = (Issuer::new("https://issuer.test"), Issuer::new(&publisher.url("/realm")));
    publisher.put("/keys", Answer::document(issuer.key_set()));
    let control = Control::start(&publisher, &LOCAL).await.unwrap();
    let by_uri = json!({"issuer": issuer.name, "jwksUri": publisher.url("/keys")});
    control.policies(&[("web", by_uri.clone()), ("api", by_uri)]).unwrap();
    for service in ["web", "api"] {
        control.until_so(service, &[&issuer], &[true], "").await.unwrap();
    }
    assert_eq!(publisher.requests(), 1);
    // Another one, whose discovery document says where.
    let discovery = json!({"issuer": other.name, "jwks_uri": publisher.url("/moved")});
    publisher.put("/realm/.well-known/openid-configuration", Answer::document(discovery.to_string()));
    publisher.put("/moved", Answer::redirect("/others"));
    publisher.put("/others", Answer::document(other.key_set()));
    control.policies(&[("web", json!({"issuer": other.name}))]).unwrap();
    control.until_so("web", &[&issuer, &other], &[false, true], "").await.unwrap();
    assert_eq!(publisher.requests(), 4);
    let strange = json!({"issuer": "https://else.test", "jwks_uri": publisher.url("/others")});
    publisher.put("/strange/.well-known/openid-configuration", Answer::document(strange.to_string()));
    control.policies(&[("web", json!({"issuer": publisher.url("/strange")}))]).unwrap();
    control.until_so("web", &[&other], &[false], "that of another issuer").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_again_and_outlive_their_publisher() {
    let publisher = Publisher::start().await.unwrap();
    let (first, second) = (Issuer::new("https://issuer.test"), Issuer::new("https://issuer.test"));
    let both = [&first, &second];
    let often = ["--jwks-refresh-interval", "1s"];
    let control = Control::start(&publisher, &[LOCAL, often].concat()).await.unwrap();
    control
        .policies(&[(
            "web",
            json!({"issuer": first.name, "jwksUri": publisher.url("/keys"), "timeout": "2s"}),
        )])
        .unwrap();
    // There is none yet.
    control.until_so("web", &both, &[false, false], "404").await.unwrap();
    publisher.put("/keys", Answer::document(first.key_set()));
    control.until_so("web", &both, &[true, false], "").await.unwrap();
    publisher.put("/keys", Answer::document(second.key_set()));
    control.until_so("web", &both, &[false, true], "").await.unwrap();
    for (answer, told) in [
        (Answer::Silence, "no answer within 2s"),
        (Answer::Response("500 Internal Server Error", String::new(), String::new()), "500"),
        (Answer::document("{}".to_owned()), "no list of `keys`"),
    ] {
        publisher.put("/keys", answer);
        control.until_so("web", &both, &[false, true], told).await.unwrap();
        let (_, all) = control.state("web", &both).await.unwrap();
        assert!(all.contains("RA103") && all.contains("the last that were fetched are in use"), "{all}");
    }
    publisher.put("/keys", Answer::document(first.key_set()));
    control.until_so("web", &both, &[true, false], "").await.unwrap();
    // An empty set withdraws all keys.
    publisher.put("/keys", Answer::document("{\"keys\": []}".to_owned()));
    control.until_so("web", &both, &[false, false], "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_from_nowhere_that_a_policy_must_not_choose() {
    let publisher = Publisher::start().await.unwrap();
    let issuer = Issuer::new("https://issuer.test");
    publisher.put("/keys", Answer::document(issuer.key_set()));
    publisher.put("/metadata", Answer::redirect("https://169.254.169.254/latest/meta-data"));
    publisher.put("/plain", Answer::redirect("http://10.1.2.3/keys"));
    publisher.put("/loop", Answer::redirect("/loop"));
    publisher.put("/endless", Answer::document(" ".repeat(300 * 1024)));
    let rule = |uri: String| [("web", json!({"issuer": issuer.name, "jwksUri": uri}))];
    let closed = Control::start(&publisher, &[]).await.unwrap();
    for uri in [
        publisher.url("/keys"),
        publisher.url("/keys").replace("127.0.0.1", "localhost"),
        "http://10.96.0.1/keys".to_owned(),
        "http://[::1]/keys".to_owned(),
        "http://[::ffff:10.96.0.1]/keys".to_owned(),
    ] {
        closed.policies(&rule(uri.clone())).unwrap();
        closed.until_so("web", &[&issuer], &[false], &uri).await.unwrap();
        closed.until_so("web", &[&issuer], &[false], "at no public address").await.unwrap();
    }
    assert_eq!(publisher.requests(), 0);
    let open = Control::start(&publisher, &LOCAL).await.unwrap();
    for (path, told) in [
        ("/metadata", "must not be dialled"),
        ("/plain", "at no public address"),
        ("/loop", "redirects"),
        ("/endless", "more than"),
    ] {
        open.policies(&rule(publisher.url(path))).unwrap();
        open.until_so("web", &[&issuer], &[false], path).await.unwrap();
        open.until_so("web", &[&issuer], &[false], told).await.unwrap();
    }
    // A certificate of nobody that is trusted.
    let other = Publisher::start().await.unwrap();
    open.policies(&rule(other.url("/keys"))).unwrap();
    open.until_so("web", &[&issuer], &[false], "certificate").await.unwrap();
}
