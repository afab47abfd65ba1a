//! A real Envoy takes what waypoints are sent, by the way that it is sent.

use super::cases;
use anyhow::{Context, bail, ensure};
use envoy::bootstrap::{Bootstrap, ProxyKind};
use pilothouse_tests::apiserver::until;
use pilothouse_tests::envoy::program;
use plane::Plane;
use prost::Message;
use proto::envoy::config::core::v3::address::Address;
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier, socket_address::PortSpecifier};
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use proto::{ResourceType, Scope};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use server::{Ads, Clients, Service};
use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds::{Snapshot, Writer};

/// A limit that only what hangs reaches.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_all_that_each_case_sends() {
    let (certificate, roots) = secrets().unwrap();
    let mut failures = Vec::new();
    for (case, input) in cases() {
        let mesh = input.apply_at_once(input.events.clone());
        let scopes: BTreeSet<Scope> =
            mesh.resources().into_iter().map(|of| of.scope).filter(|of| *of != Scope::Mesh).collect();
        for scope in scopes {
            if let Err(error) = accepted(&mesh, &scope, &certificate, &roots).await {
                failures.push(format!("{case}, {scope}: {error:#}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Runs an Envoy with the resources of one scope until it has all of them.
async fn accepted(mesh: &Plane, scope: &Scope, certificate: &Secret, roots: &Secret) -> anyhow::Result<()> {
    let mut writer = Writer::new();
    let mut put = |of: ResourceType, name: &str, body: &[u8]| writer.put(scope, of, name, body);
    for secret in [certificate, roots] {
        put(ResourceType::Secret, &secret.name, &secret.encode_to_vec())?;
    }
    for resource in mesh.resources().into_iter().filter(|of| of.scope == *scope) {
        let body = resource.body.context("a resource that is there")?;
        let body = if resource.name == "connect_terminate" { at_any_port(&body)? } else { body.to_vec() };
        put(resource.resource_type, &resource.name, &body)?;
    }
    let snapshot = writer.publish();
    let step = snapshot.step();
    let control = Control::start(snapshot).await?;
    let mut envoy = Envoy::start(&control.address, scope)?;
    until(LIMIT, async || {
        if let Some(status) = envoy.process.try_wait()? {
            bail!("Envoy ended with {status}: {}", envoy.log()?);
        }
        let clients = control.clients.list();
        let Some(client) = clients.first() else { return Ok(None) };
        for of in &client.stats.types {
            if let Some(nack) = &of.last_nack {
                bail!("Envoy refuses {}: {}", of.type_url, nack.message);
            }
        }
        let has = |of: ResourceType| {
            let mut types = client.stats.types.iter();
            types.any(|stats| {
                stats.type_url == of.type_url() && stats.acked_nonce == stats.sent_nonce && stats.acks > 0
            })
        };
        let all =
            [ResourceType::Secret, ResourceType::Cluster, ResourceType::Listener, ResourceType::ScopedRoute];
        Ok((client.stats.step == step && all.into_iter().all(has)).then_some(()))
    })
    .await
    .with_context(|| format!("{:?}; Envoy says: {}", control.stats(), envoy.log().unwrap_or_default()))
}

/// Another Envoy may be running.
fn at_any_port(body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut listener = Listener::decode(body)?;
    match listener.address.as_mut().and_then(|of| of.address.as_mut()) {
        Some(Address::SocketAddress(socket)) => socket.port_specifier = Some(PortSpecifier::PortValue(0)),
        other => bail!("connect_terminate listens at {other:?}"),
    }
    Ok(listener.encode_to_vec())
}

/// A server of one snapshot.
struct Control {
    address: std::net::SocketAddr,
    clients: Clients,
    _snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    _stop: DropGuard,
}

impl Control {
    async fn start(snapshot: Arc<Snapshot>) -> anyhow::Result<Self> {
        let (snapshots, newest) = watch::channel(Some(snapshot));
        let clients = Clients::default();
        let ads = Ads::new(newest, clients.clone()).with_scopes(|node, _| Some(node.cluster.as_str().into()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { Service::new(ads).serve(listener, stopped).await });
        Ok(Self { address, clients, _snapshots: snapshots, _stop: stop.drop_guard() })
    }

    fn stats(&self) -> Vec<xds::TypeStats> {
        self.clients.list().into_iter().flat_map(|client| client.stats.types).collect()
    }
}

/// A running Envoy.
struct Envoy {
    process: Child,
    folder: TempDir,
}

impl Envoy {
    /// Starts one with the bootstrap that waypoints have, but for the way to the control plane, which is not
    /// encrypted here, and for fixed ports.
    fn start(control: &std::net::SocketAddr, scope: &Scope) -> anyhow::Result<Self> {
        let text = |text: &str| text.to_owned();
        let documents = Bootstrap {
            kind: ProxyKind::Waypoint,
            namespace: text("shop"),
            gateway: text("waypoint"),
            pod: text("waypoint-1"),
            ip: std::net::IpAddr::from([127, 0, 0, 1]),
            service_account: text("waypoint"),
            xds_host: control.ip().to_string(),
            xds_port: control.port(),
            xds_name: text("control"),
            root_cert: text("/none"),
            token_file: text("/none"),
            secrets: text("/none"),
        }
        .documents();
        let mut bootstrap = documents.bootstrap;
        bootstrap["node"]["cluster"] = json!(scope.to_string());
        bootstrap["admin"]["address"]["socket_address"]["port_value"] = json!(0);
        bootstrap["static_resources"]["listeners"] = json!([]);
        let cluster = &mut bootstrap["static_resources"]["clusters"][0];
        cluster.as_object_mut().context("a cluster")?.remove("transport_socket");
        let options = cluster["typed_extension_protocol_options"].as_object_mut().context("options")?;
        for options in options.values_mut() {
            options.as_object_mut().context("options of HTTP")?.remove("http_filters");
        }
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("bootstrap.json");
        fs::write(&file, Value::to_string(&bootstrap))?;
        let log = fs::File::create(folder.path().join("log"))?;
        let process = Command::new(program()?)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Envoy")?;
        Ok(Self { process, folder })
    }

    fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.folder.path().join("log"))?)
    }
}

/// The certificate of a waypoint, and the roots of its mesh.
fn secrets() -> anyhow::Result<(Secret, Secret)> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate()?;
    let root_pem = root.self_signed(&root_key)?.pem();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI("spiffe://cluster.local/ns/shop/sa/waypoint".try_into()?)];
    let key = KeyPair::generate()?;
    let chain = leaf.signed_by(&key, &Issuer::new(root, root_key))?.pem();
    ensure!(chain.contains("CERTIFICATE"), "no certificate");
    let inline = |text: String| Some(DataSource { specifier: Some(Specifier::InlineString(text)) });
    let certificate =
        TlsCertificate { certificate_chain: inline(chain), private_key: inline(key.serialize_pem()) };
    let validation = CertificateValidationContext {
        trusted_ca: inline(root_pem),
        ..CertificateValidationContext::default()
    };
    Ok((
        Secret { name: "default".to_owned(), r#type: Some(secret::Type::TlsCertificate(certificate)) },
        Secret { name: "ROOTCA".to_owned(), r#type: Some(secret::Type::ValidationContext(validation)) },
    ))
}
