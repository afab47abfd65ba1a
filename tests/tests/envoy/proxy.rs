//! A real Envoy, and a server that gives it what one scope has.

use anyhow::{Context, bail};
use envoy::bootstrap::{Bootstrap, ProxyKind};
use model::Str;
use pilothouse_tests::apiserver::until;
use pilothouse_tests::certificates::NewCertificate;
use pilothouse_tests::envoy::program;
use plane::ResourceChange;
use prost::Message;
use proto::envoy::config::core::v3::address::Address;
use proto::envoy::config::core::v3::socket_address::{PortSpecifier, Protocol};
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use proto::{ResourceType, Scope};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use server::{Ads, Clients, Service};
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use xds::{Snapshot, Writer};

/// A limit that only what hangs reaches.
pub const LIMIT: Duration = Duration::from_secs(60);

/// The socket of the admin interface.
const ADMIN: &str = "admin";

/// A server of one scope.
pub struct Control {
    scope: Scope,
    address: SocketAddr,
    writer: Writer,
    clients: Clients,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    _stop: DropGuard,
}

impl Control {
    /// Starts one whose proxies have certificates of an authority.
    pub async fn start(scope: &Scope, authority: &Authority) -> anyhow::Result<Self> {
        let (snapshots, newest) = watch::channel(None);
        let clients = Clients::default();
        let ads = Ads::new(newest, clients.clone())
            .with_claimed_scopes(|node| node.cluster.split(' ').map(Into::into).collect());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move { Service::new(ads).serve(listener, stopped).await });
        let mut writer = Writer::new();
        for secret in authority.secrets(scope)? {
            writer.put(scope, ResourceType::Secret, &secret.name, &secret.encode_to_vec())?;
        }
        let _stop = stop.drop_guard();
        Ok(Self { scope: scope.clone(), address, writer, clients, snapshots, _stop })
    }

    /// Publishes changes of the scope, and of those of its places; others are left out.
    pub fn publish(&mut self, changes: &[ResourceChange]) -> anyhow::Result<()> {
        let at_place = format!("{}@", self.scope);
        let is_its = |scope: &Scope| *scope == self.scope || scope.to_string().starts_with(&at_place);
        for change in changes.iter().filter(|of| is_its(&of.scope)) {
            let (scope, of, name) = (&change.scope, change.resource_type, change.name.as_str());
            match &change.body {
                None => {
                    self.writer.remove(scope, of, name);
                }
                Some(body) if name == "connect_terminate" || name.starts_with("0.0.0.0_") => {
                    self.writer.put(scope, of, name, &at_any_port(body)?)?;
                }
                Some(body) => {
                    self.writer.put(scope, of, name, body)?;
                }
            }
        }
        self.snapshots.send_replace(Some(self.writer.publish()));
        Ok(())
    }

    /// Awaits that an Envoy has taken all that was published.
    pub async fn until_taken(&self, envoy: &mut Envoy) -> anyhow::Result<()> {
        let step = self.snapshots.borrow().as_ref().map_or(0, |snapshot| snapshot.step());
        let taken = until(LIMIT, async || {
            if let Some(status) = envoy.process.try_wait()? {
                bail!("Envoy ended with {status}");
            }
            let clients = self.clients.list();
            let Some(client) = clients.first() else { return Ok(None) };
            for of in &client.stats.types {
                if let Some(nack) = &of.last_nack {
                    bail!("Envoy refuses {}: {}", of.type_url, nack.message);
                }
            }
            let has = |of: ResourceType| {
                let mut types = client.stats.types.iter().filter(|stats| stats.type_url == of.type_url());
                types.any(|stats| stats.acked_nonce == stats.sent_nonce && stats.acks > 0)
            };
            let all = [
                ResourceType::Secret,
                ResourceType::Cluster,
                ResourceType::Listener,
                ResourceType::ScopedRoute,
            ];
            Ok((client.stats.step == step && all.into_iter().all(has)).then_some(()))
        })
        .await;
        taken.with_context(|| {
            let types: Vec<_> = self.clients.list().into_iter().flat_map(|of| of.stats.types).collect();
            format!("{types:?}; Envoy says: {}", envoy.log())
        })
    }
}

/// Another Envoy may be running.
fn at_any_port(body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut listener = Listener::decode(body)?;
    let name = listener.name.clone();
    let further = listener.additional_addresses.iter_mut().filter_map(|of| of.address.as_mut());
    for address in listener.address.iter_mut().chain(further) {
        match address.address.as_mut() {
            Some(Address::SocketAddress(socket)) => {
                // Of UDP each thread would have a port of its own.
                let is_udp = socket.protocol() == Protocol::Udp;
                let free = || Ok::<_, std::io::Error>(UdpSocket::bind("0.0.0.0:0")?.local_addr()?.port());
                let port = if is_udp { free()? } else { 0 };
                socket.port_specifier = Some(PortSpecifier::PortValue(port.into()));
            }
            other => bail!("{name} listens at {other:?}"),
        }
    }
    Ok(listener.encode_to_vec())
}

/// A running Envoy.
pub struct Envoy {
    process: Child,
    folder: TempDir,
}

impl Envoy {
    /// Starts one at these places with the bootstrap that waypoints have, but for the way to the control plane, which is not
    /// encrypted here, and for fixed ports.
    pub fn start(control: &Control, places: &[Str]) -> anyhow::Result<Self> {
        let text = |text: &str| text.to_owned();
        let documents = Bootstrap {
            kind: ProxyKind::Waypoint,
            namespace: text("shop"),
            gateway: text("waypoint"),
            pod: text("waypoint-1"),
            ip: IpAddr::from([127, 0, 0, 1]),
            service_account: text("waypoint"),
            xds_host: control.address.ip().to_string(),
            xds_port: control.address.port(),
            xds_name: text("control"),
            root_cert: text("/none"),
            token_file: text("/none"),
            secrets: text("/none"),
        }
        .documents();
        let mut bootstrap = documents.bootstrap;
        let of_places = places.iter().map(|place| format!(" {}{place}", control.scope));
        bootstrap["node"]["cluster"] = json!(control.scope.to_string() + &of_places.collect::<String>());
        let folder = tempfile::tempdir()?;
        // No port of the machine is fixed, and the one of the admin interface has to be known before it is there.
        let admin = json!({"pipe": {"path": folder.path().join(ADMIN)}});
        let own = &mut bootstrap["static_resources"]["clusters"][1];
        own["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = admin.clone();
        bootstrap["admin"]["address"] = admin;
        let listeners = bootstrap["static_resources"]["listeners"].as_array_mut().context("listeners")?;
        for listener in listeners {
            listener["address"]["socket_address"]["port_value"] = json!(0);
        }
        let cluster = &mut bootstrap["static_resources"]["clusters"][0];
        cluster.as_object_mut().context("a cluster")?.remove("transport_socket");
        let options = cluster["typed_extension_protocol_options"].as_object_mut().context("options")?;
        for options in options.values_mut() {
            options.as_object_mut().context("options of HTTP")?.remove("http_filters");
        }
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

    /// Connects to its admin interface.
    pub async fn admin(&self) -> anyhow::Result<UnixStream> {
        Ok(UnixStream::connect(self.folder.path().join(ADMIN)).await?)
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Who signs the certificates of a mesh.
pub struct Authority {
    pub root_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> anyhow::Result<Self> {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of another name than those of accounts: what has the name of its issuer is taken for a root.
        root.distinguished_name.push(DnType::OrganizationName, "root");
        let key = KeyPair::generate()?;
        let root_pem = root.self_signed(&key)?.pem();
        Ok(Self { root_pem, issuer: Issuer::new(root, key) })
    }

    /// Returns a certificate of an account and its key, PEM. It has the account's name, too.
    pub fn certificate(&self, account: &str) -> anyhow::Result<(String, String)> {
        self.certificate_of(account, &format!("spiffe://cluster.local/ns/shop/sa/{account}"))
    }

    /// Returns a certificate of a name and an identity, and its key, PEM.
    pub fn certificate_of(&self, name: &str, identity: &str) -> anyhow::Result<(String, String)> {
        let mut leaf = CertificateParams::new([name.to_owned()])?;
        leaf.subject_alt_names.push(SanType::URI(identity.to_owned().try_into()?));
        let key = KeyPair::generate()?;
        Ok((leaf.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    /// Returns a certificate of an account as its ztunnel gets it.
    pub fn issued(&self, account: &str) -> anyhow::Result<NewCertificate> {
        let (chain, key_pem) = self.certificate(account)?;
        Ok(NewCertificate { key_pem, chain: vec![chain, self.root_pem.clone()] })
    }

    /// The certificate of a gateway, and the roots of its mesh. Those of the namespace `shop` have the account `waypoint`,
    /// all others one of their own name.
    fn secrets(&self, of: &Scope) -> anyhow::Result<[Secret; 2]> {
        let of = of.to_string();
        let (ns, name) = of.split_once('/').context("the scope of a gateway")?;
        let name = if ns == "shop" { "waypoint" } else { name };
        let (chain, key) =
            self.certificate_of("waypoint", &format!("spiffe://cluster.local/ns/{ns}/sa/{name}"))?;
        let inline = |text: String| Some(DataSource { specifier: Some(Specifier::InlineString(text)) });
        let own = TlsCertificate { certificate_chain: inline(chain), private_key: inline(key) };
        let roots = CertificateValidationContext {
            trusted_ca: inline(self.root_pem.clone()),
            ..CertificateValidationContext::default()
        };
        let secret = |name: &str, of| Secret { name: name.to_owned(), r#type: Some(of) };
        Ok([
            secret("default", secret::Type::TlsCertificate(own)),
            secret("ROOTCA", secret::Type::ValidationContext(roots)),
        ])
    }
}
