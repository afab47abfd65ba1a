//! The debug API of the secure port, asked as istioctl asks: over state of the world, with a token that no pod holds.

use crate::plane::{Plane, Site, UNAUTHENTICATED};
use crate::token::bound_token;
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::LIMIT;
use pilothouse_tests::client::transport::channel;
use pilothouse_tests::client::{Client, Node, Options, Target, Tls};
use prost::Message;
use prost_types::Any;
use proto::discovery::{DiscoveryRequest, DiscoveryResponse};
use proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use proto::type_url::{ADDRESS, AUTHORIZATION, CLUSTER};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// A stream of questions.
struct Asking {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    answers: Streaming<DiscoveryResponse>,
    /// Who it says that it is, in its first request only.
    node: Option<proto::discovery::Node>,
}

impl Asking {
    /// Opens a stream as istioctl does, of an account of a namespace.
    async fn open(target: &Target, namespace: &str) -> anyhow::Result<Result<Self, Status>> {
        let (requests, outbound) = mpsc::unbounded_channel();
        let mut call = Request::new(UnboundedReceiverStream::new(outbound));
        if let Some(token) = &target.token {
            call.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        }
        let mut grpc = tonic::client::Grpc::new(channel(target).await?);
        grpc.ready().await?;
        let path = http::uri::PathAndQuery::from_static(proto::rpc_path::STREAM_AGGREGATED_RESOURCES);
        let codec = ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
        let answers = match grpc.streaming(call, path, codec).await {
            Ok(answers) => answers.into_inner(),
            Err(refused) => return Ok(Err(refused)),
        };
        let metadata = [
            ("GENERATOR", "event"),
            ("NAMESPACE", namespace),
            ("SERVICE_ACCOUNT", "default"),
            ("ISTIO_VERSION", "65536.65536.65536"),
        ];
        let fields = metadata.map(|(key, value)| (key.to_owned(), value.to_owned().into())).into();
        let node = proto::discovery::Node {
            id: format!("sidecar~10.1.2.3~test-1.{namespace}~{namespace}.svc.cluster.local"),
            metadata: Some(prost_types::Struct { fields }),
            ..Default::default()
        };
        Ok(Ok(Self { requests, answers, node: Some(node) }))
    }

    fn send(&mut self, type_url: &str, names: &[&str], nonce: &str) -> anyhow::Result<()> {
        self.requests.send(DiscoveryRequest {
            node: self.node.take(),
            type_url: type_url.to_owned(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            // Of no response: a time, as istioctl has it there.
            response_nonce: nonce.to_owned(),
            ..Default::default()
        })?;
        Ok(())
    }

    async fn ask(
        &mut self,
        type_url: &str,
        names: &[&str],
    ) -> anyhow::Result<Result<DiscoveryResponse, Status>> {
        self.send(type_url, names, "2026-08-27 12:45:20.123 +0000 UTC m=+0.1")?;
        let answer = timeout(LIMIT, self.answers.message()).await.context("no answer")?;
        answer
            .map(|answer| answer.context("the stream has ended"))
            .map_or_else(|refused| Ok(Err(refused)), |of| of.map(Ok))
    }

    /// The text of a page.
    async fn page(&mut self, name: &str) -> anyhow::Result<String> {
        let answer = self
            .ask("istio.io/debug", &[name])
            .await?
            .map_err(|refused| anyhow::anyhow!("{name}: {refused}"))?;
        let [Any { type_url, value }] = answer.resources.as_slice() else { anyhow::bail!("{answer:?}") };
        ensure!(type_url == "istio.io/debug" && answer.type_url == "istio.io/debug", "{answer:?}");
        Ok(String::from_utf8(value.clone())?)
    }
}

/// A mesh whose root namespace is that of its control plane, with a ztunnel connected.
struct Mesh {
    site: Site,
    plane: Plane,
    ztunnel: Client,
}

impl Mesh {
    async fn new() -> anyhow::Result<Self> {
        let site = Site::new().await?;
        site.server
            .apply(&format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: {of}}}, \
                  data: {{mesh: 'rootNamespace: {of}'}}}}",
                of = site.system
            ))
            .await?;
        let plane = Plane::open(&site.settings()?).await?;
        let token = site.ztunnel("n1").await?;
        let node = Node { namespace: site.system.clone(), ..Node::ztunnel("n1") };
        let ztunnel = Client::connect(Options { node, ..plane.client_options(&token)? }).await?;
        ztunnel.until("both types answered", |state| state.is_ready()).await?;
        Ok(Self { site, plane, ztunnel })
    }

    fn target(&self, token: &str) -> anyhow::Result<Target> {
        let tls =
            Tls { roots_pem: self.plane.roots()?.into_bytes(), server_name: Some("localhost".to_owned()) };
        Ok(Target {
            address: self.plane.secure.to_string(),
            tls: Some(tls),
            token: Some(token.to_owned()),
            ..Target::default()
        })
    }

    /// A token of an account that is bound to no pod, as `kubectl create token` makes it.
    async fn token(&self, namespace: &str) -> anyhow::Result<String> {
        unbound_token(&self.site, namespace, "istio-ca").await
    }

    async fn asking(&self, namespace: &str) -> anyhow::Result<Asking> {
        let target = self.target(&self.token(namespace).await?)?;
        Ok(Asking::open(&target, namespace).await??)
    }
}

/// A token of the account `default`, which it makes: no controller does here.
async fn unbound_token(site: &Site, namespace: &str, audience: &str) -> anyhow::Result<String> {
    let account = format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: default, namespace: {namespace}}}}}"
    );
    site.server.apply(&account).await?;
    site.server.token(namespace, "default", &[audience]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn istioctl_is_told_of_proxies_and_pages_and_follows_nothing() -> anyhow::Result<()> {
    let mesh = Mesh::new().await?;
    let mut asking = mesh.asking(&mesh.site.system).await?;
    let answer = asking.ask("istio.io/debug/syncz", &[]).await??;
    let identifier = answer.control_plane.context("who answers")?.identifier;
    let who: Value = serde_json::from_str(&identifier)?;
    assert_eq!(who["Component"], "istiod", "{who}");
    ensure!(who["ID"].as_str().is_some_and(|id| !id.is_empty()), "{who}");
    for field in ["version", "revision", "golang_version", "status", "tag"] {
        ensure!(who["Info"][field].is_string(), "{field}: {who}");
    }
    assert_eq!(answer.type_url, "istio.io/debug/syncz");
    let [found] = answer.resources.as_slice() else { anyhow::bail!("{:?}", answer.resources) };
    assert_eq!(found.type_url, "type.googleapis.com/envoy.service.status.v3.ClientConfig");
    let found = ClientConfig::decode(found.value.as_slice())?;
    let node = found.node.context("a node")?;
    assert_eq!(node.id, format!("ztunnel-n1.{}", mesh.site.system));
    let metadata = node.metadata.context("metadata")?.fields;
    let keys: Vec<&str> = metadata.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["CLUSTER_ID", "NAMESPACE"],
        "of the cluster that is read, and of no version: {metadata:?}"
    );
    let types: Vec<&str> = found.generic_xds_configs.iter().map(|of| of.type_url.as_str()).collect();
    assert_eq!(types, [AUTHORIZATION, ADDRESS]);
    for of in &found.generic_xds_configs {
        ensure!([ConfigStatus::Synced, ConfigStatus::Stale].contains(&of.config_status()), "{of:?}");
        ensure!(of.last_updated.is_some() && of.error_state.is_none(), "{of:?}");
    }

    // The same pages as over HTTP.
    let list: Vec<String> = serde_json::from_str(&asking.page("list").await?)?;
    ensure!(list.iter().any(|name| name == "syncz"), "{list:?}");
    let connections: Value = serde_json::from_str(&asking.page("connections").await?)?;
    assert_eq!(connections["totalClients"], 1, "who asks is no client: {connections}");
    let dump: Value = serde_json::from_str(&asking.page("config_dump?proxyID=ztunnel-n1&pretty").await?)?;
    ensure!(dump["configs"].as_array().is_some_and(|all| !all.is_empty()), "{dump}");
    // What it looks for in answers.
    ensure!(asking.page("edsz").await?.contains("You must provide a proxyID in the query string"));
    ensure!(asking.page("edsz?proxyID=nobody").await?.contains("Proxy not connected to this Pilot instance"));
    ensure!(asking.page("nosuch").await?.contains("404 page not found"));
    // Members of the dump, for whoever compares.
    let name = format!("ztunnel-n1.{}", mesh.site.system);
    let answer = asking.ask("istio.io/debug/config_dump", &[&name]).await??;
    let held = mesh.ztunnel.with(|state| state.addresses().len());
    assert_eq!(answer.resources.iter().filter(|of| of.type_url == ADDRESS).count(), held);
    for names in [&["nobody"][..], &[], &["", "a"], &[""]] {
        assert_eq!(asking.ask("istio.io/debug/config_dump", names).await??.resources, []);
    }

    // An acknowledgement is no question, and nothing comes that was not asked for.
    asking.send("istio.io/debug/config_dump", &[], &answer.nonce)?;
    let last = asking.ask("istio.io/debug/syncz", &[]).await??;
    asking.send("istio.io/debug/syncz", &[], &last.nonce)?;
    let before = mesh.ztunnel.mark();
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, namespace: {}}}, \
          spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}",
        mesh.site.shop
    );
    mesh.site.server.apply(&service).await?;
    mesh.ztunnel.until("the new service", |state| state.received().len() > before).await?;
    // The next message is the answer to the next question.
    asking.page("list").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_questions_are_answered_or_end_their_stream() -> anyhow::Result<()> {
    let mesh = Mesh::new().await?;
    let long = "x".repeat(4000);
    let mut asking = mesh.asking(&mesh.site.system).await?;
    for name in [
        "",
        "/",
        "../version",
        "//evil/syncz",
        "http://evil/debug/syncz",
        "sync%7a",
        "\u{1b}[1m",
        "a b",
        "%",
        "?",
        "#",
        &long,
    ] {
        let page = asking.page(name).await?;
        ensure!(page.starts_with("404 page not found") && !page.contains('\u{1b}'), "{name:?}: {page}");
    }
    for name in ["syncz?%", "config_dump?types=,,x&proxyID=z%00", "syncz?namespace=%ff&namespace=b"] {
        asking.page(name).await.with_context(|| name.to_owned())?;
    }
    for (type_url, names) in [
        ("istio.io/debug", &[][..]),
        ("istio.io/debug", &["list", "syncz"]),
        ("istio.io/debug/nosuch", &["list"]),
        ("istio.io/debug/syncz/more", &[]),
    ] {
        let mut asking = mesh.asking(&mesh.site.system).await?;
        let refused = asking.ask(type_url, names).await?.err().context("it was answered")?;
        assert_eq!(refused.code(), Code::InvalidArgument, "{type_url} {names:?}: {refused}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_no_pod_opens_nothing_but_the_debug_api() -> anyhow::Result<()> {
    let mesh = Mesh::new().await?;
    let token = mesh.token(&mesh.site.system).await?;
    let mut asking = mesh.asking(&mesh.site.system).await?;
    asking.page("list").await?;
    let refused = asking.ask(CLUSTER, &[]).await?.err().context("resources were served")?;
    ensure!(refused.code() != Code::Ok, "{refused}");
    // Also to whoever says who it is once more.
    for id in ["router~10.1.2.3~a.b~b.svc.cluster.local", "ztunnel~10.1.2.3~a.b~b.svc.cluster.local"] {
        let mut asking = mesh.asking(&mesh.site.system).await?;
        if let Some(node) = &mut asking.node {
            node.id = id.to_owned();
        }
        let refused = asking.ask(CLUSTER, &[]).await?.err().context("resources were served")?;
        ensure!([Code::Unauthenticated, Code::Unimplemented].contains(&refused.code()), "{id}: {refused}");
    }
    // A stream of changes, and a certificate.
    let node = Node { namespace: mesh.site.system.clone(), ..Node::ztunnel("n1") };
    let refused = Client::connect(Options { node, ..mesh.plane.client_options(&token)? }).await.err();
    ensure!(refused.is_some(), "a stream of resources was opened");
    assert_eq!(mesh.plane.refusal(&token, None).await?, UNAUTHENTICATED);
    // Of the wrong audience it is nothing at all, nor without TLS.
    let other = unbound_token(&mesh.site, &mesh.site.system, "other").await?;
    let refused = Asking::open(&mesh.target(&other)?, &mesh.site.system).await?.err().context("accepted")?;
    assert_eq!(refused.code(), Code::Unauthenticated);
    let plain = Target { address: mesh.plane.xds.to_string(), token: Some(token), ..Target::default() };
    let mut asking = Asking::open(&plain, &mesh.site.system).await??;
    let refused = asking.ask("istio.io/debug/syncz", &[]).await?.err().context("it was answered")?;
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_namespaces_see_their_own_proxies_only() -> anyhow::Result<()> {
    let mesh = Mesh::new().await?;
    let web = mesh.site.pod(&mesh.site.shop, "web", "web", "n1").await?;
    let of_pod = bound_token(mesh.site.server, &web, &["istio-ca"]).await?;
    for token in [of_pod, mesh.token(&mesh.site.shop).await?] {
        let target = mesh.target(&token)?;
        let asking = async || anyhow::Ok(Asking::open(&target, &mesh.site.shop).await??);
        let answer = asking().await?.ask("istio.io/debug/syncz", &[]).await??;
        assert_eq!(answer.resources, [], "the ztunnel is of another namespace");
        let answer = asking().await?.ask("istio.io/debug/config_dump", &["ztunnel-n1"]).await??;
        assert_eq!(answer.resources, []);
        for name in ["config_dump", "edsz", "ndsz"] {
            let page = asking().await?.page(&format!("{name}?proxyID=ztunnel-n1")).await?;
            ensure!(page.contains("Proxy not connected to this Pilot instance"), "{name}: {page}");
        }
        for name in ["syncz", "registryz", "list", "nosuch", "../version", "configz?proxyID=a"] {
            let refused = asking().await?.ask("istio.io/debug", &[name]).await?.err();
            let refused = refused.with_context(|| format!("{name} was answered"))?;
            assert_eq!(refused.code(), Code::PermissionDenied, "{name}: {refused}");
        }
    }
    Ok(())
}

/// Asks for a page over HTTP; returns the status and the body.
async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> anyhow::Result<(u16, String)> {
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{token}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(LIMIT, ask).await.context("no answer")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split_whitespace().nth(1).context("an answer has a status")?;
    Ok((status.parse()?, body.to_owned()))
}

/// An address of this machine that others reach it by. Nothing is sent to find it.
fn own_address() -> anyhow::Result<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("192.0.2.1:9").context("this machine has no address but that of itself")?;
    let address = socket.local_addr()?.ip();
    ensure!(!address.is_loopback(), "this machine has no address but that of itself");
    Ok(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_for_this_machine_and_for_those_who_show_who_they_are() -> anyhow::Result<()> {
    let site = Site::new().await?;
    let other = site.server.namespace("other").await?;
    site.server
        .apply(&format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: {of}}}, \
              data: {{mesh: 'rootNamespace: {of}'}}}}",
            of = site.system
        ))
        .await?;
    let mut args = site.settings()?;
    args.monitoring_addr = "0.0.0.0:0".parse()?;
    args.debug.debug_namespaces = vec![String::new(), other.clone()];
    let plane = Plane::open(&args).await?;
    let (near, far) = (
        SocketAddr::from(([127, 0, 0, 1], plane.monitoring.port())),
        SocketAddr::new(own_address()?, plane.monitoring.port()),
    );
    assert_eq!(get(near, "/debug/syncz", None).await?.0, 200);
    for path in ["/metrics", "/version", "/debug", "/", "//version"] {
        assert_eq!(get(far, path, None).await?.0, 200, "{path}");
    }
    let of = async |namespace: &str| unbound_token(&site, namespace, "istio-ca").await;
    let (system, shop, allowed) = (of(&site.system).await?, of(&site.shop).await?, of(&other).await?);
    let mine = "/debug/edsz?proxyID=a";
    for (path, token, expected) in [
        ("/debug/syncz", None, 401),
        (mine, None, 401),
        ("/debug/clientz", Some("made.up.token"), 401),
        ("/debug/syncz", Some(system.as_str()), 200),
        ("/debug/clientz", Some(&allowed), 200),
        ("/debug/syncz", Some(&shop), 403),
        ("//debug//syncz", Some(&shop), 403),
        ("/debug/list", Some(&shop), 403),
        (mine, Some(&shop), 404),
        (mine, Some(&system), 404),
    ] {
        let (status, body) = get(far, path, token).await?;
        assert_eq!(status, expected, "{path}: {body}");
        ensure!(![401, 403].contains(&expected) || body.is_empty(), "{path} tells {body}");
    }
    // Kinds that are not served have no objects; `tests/tests/cluster` has some.
    assert_eq!(get(near, "/debug/configz", None).await?, (200, "[]".to_owned()));
    let mesh: Value = serde_json::from_str(&get(near, "/debug/mesh", None).await?.1)?;
    assert_eq!(
        (&mesh["rootNamespace"], &mesh["trustDomain"]),
        (&site.system.clone().into(), &"cluster.local".into())
    );

    args.debug.debug_on_http = false;
    let hidden = Plane::open(&args).await?;
    let near = SocketAddr::from(([127, 0, 0, 1], hidden.monitoring.port()));
    assert_eq!(get(near, "/debug/syncz", None).await?.0, 404);
    assert_eq!(get(near, "/metrics", None).await?.0, 200);
    Ok(())
}
