//! Whatever objects, clients and files hold: what a person reads is one printable line after the other.
//!
//! A hostile text is put into every string of every kind that is read, one at a time, and everything that is
//! read by people is looked through: the log as text and as JSON, pages, tables, documents, complaints and
//! the conditions that kubectl shows.

use super::{ANY_PORTS, address_of, command, get};
use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, pinned_kind};
use model::{Kind, printable};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, documents, until};
use pilothouse_tests::client::{Client, Node, Options, State};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::fs;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

/// How a forged line of the log begins.
const FORGED: &str = "1999-01-01T00:00:00.000000Z  INFO issued a certificate";

/// A line of an audit log, sequences that move the cursor and set colours, controls of both sets, marks of
/// direction, and what is shown as nothing.
fn hostile() -> String {
    format!(
        "x\n{FORGED} identity=spiffe://cluster.local/ns/shop/sa/admin\r\u{1b}[2K\u{1b}]0;t\u{7}\u{8}\u{9b}1A\u{85}\
         \u{7f}\u{202a}\u{202b}\u{202d}\u{202e}cba\u{202c}\u{2066}\u{2067}\u{2068}\u{2069}\u{200b}\u{200f}\u{2028}\u{feff}"
    )
}

/// The same for fields that hold less.
const SHORT: &str = "x\n1999-01-01T00:00:00\u{1b}[1A\u{9b}2K\u{202e}\u{2066}\u{200b}";

/// Objects of every kind that is read, with the strings that a mesh depends on.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}, annotations: {a/b: c}}
---
apiVersion: v1
kind: Node
metadata: {name: node, labels: {topology.kubernetes.io/zone: z, topology.kubernetes.io/region: r}}
---
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: web
  labels: {app: web, service.istio.io/canonical-name: web, app.kubernetes.io/version: v1}
  annotations: {ambient.istio.io/redirection: enabled, networking.istio.io/tunnel: http}
spec: {nodeName: node, serviceAccountName: web, containers: [{name: web, image: web, ports: [{name: http, containerPort: 80}]}]}
status: {podIP: 10.0.0.1, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web, labels: {istio.io/use-waypoint: way}, annotations: {networking.istio.io/traffic-distribution: PreferClose}}
spec: {selector: {app: web}, clusterIP: 10.96.0.1, ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.2], nodeName: node, zone: z, targetRef: {kind: Pod, name: web, namespace: shop}}]
ports: [{name: http, port: 80, protocol: TCP, appProtocol: http}]
---
apiVersion: v1
kind: ConfigMap
metadata: {namespace: istio-system, name: istio}
data: {mesh: "trustDomain: cluster.local"}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: rules, annotations: {istio.io/dry-run: "false"}}
spec:
  action: ALLOW
  selector: {matchLabels: {app: web}}
  rules:
  - from: [{source: {principals: [a], notPrincipals: [b], namespaces: [shop], serviceAccounts: [shop/web], ipBlocks: [10.0.0.0/8], trustDomains: [x]}}]
    to: [{operation: {ports: ["80"], methods: [GET], paths: [/], hosts: [h]}}]
    when: [{key: source.ip, values: [10.0.0.1], notValues: [10.0.0.2]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {namespace: shop, name: target}
spec: {targetRefs: [{group: "", kind: Service, name: web}], rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {namespace: shop, name: peer}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {"80": {mode: PERMISSIVE}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {namespace: shop, name: entry, labels: {istio.io/use-waypoint: way}}
spec:
  hosts: [a.example.com]
  addresses: [192.0.2.1]
  exportTo: ["*"]
  location: MESH_INTERNAL
  resolution: STATIC
  subjectAltNames: ["spiffe://x/y"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 192.0.2.9, network: n, locality: r/z/s, serviceAccount: web, labels: {app: web}, ports: {http: 81}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {namespace: shop, name: machine, labels: {app: web}}
spec: {address: 192.0.2.10, network: n, locality: r/z/s, serviceAccount: web, labels: {app: web}, ports: {http: 81}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: way, labels: {istio.io/waypoint-for: service}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: Same}}}]}
status: {addresses: [{type: IPAddress, value: 10.0.0.9}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: gate, annotations: {a/b: c}}
spec: {gatewayClassName: istio, listeners: [{name: web, port: 80, protocol: HTTP, hostname: "*.example.com"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: way-in}
spec:
  parentRefs: [{name: gate, sectionName: web}, {group: "", kind: Service, name: web}]
  hostnames: [a.example.com]
  rules:
  - name: first
    matches: [{method: GET, path: {type: RegularExpression, value: /a}, headers: [{name: h, value: v}], queryParams: [{name: q, value: v}]}]
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x, value: y}], remove: [z]}}
    - {type: URLRewrite, urlRewrite: {hostname: b.example.com, path: {type: ReplaceFullPath, replaceFullPath: /b}}}
    backendRefs: [{name: web, port: 80, weight: 9}, {name: other, namespace: there, port: 80, weight: 1}]
  - filters: [{type: RequestRedirect, requestRedirect: {hostname: c.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}}}]
"#;

/// Every object with a hostile text in the place of one string or key, each under a name of its own.
fn variants() -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    for object in documents(OBJECTS)? {
        for text in [hostile(), SHORT.to_owned()] {
            let mut places = Vec::new();
            replaced(&object, &text, &mut |variant| places.push(variant));
            for mut variant in places {
                let is_typed =
                    variant["apiVersion"] == object["apiVersion"] && variant["kind"] == object["kind"];
                let keeps_name = variant["metadata"]["name"] != object["metadata"]["name"]
                    || matches!(object["kind"].as_str(), Some("ConfigMap" | "GatewayClass"));
                if !keeps_name {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    variant["metadata"]["name"] = json!(format!("{name}-{}", all.len()));
                }
                if is_typed {
                    all.push(variant);
                }
            }
        }
    }
    ensure!(all.len() > 200, "{} variants", all.len());
    Ok(all)
}

/// Calls `found` with the value for every string and every key of it replaced.
fn replaced(value: &Value, text: &str, found: &mut dyn FnMut(Value)) {
    match value {
        Value::String(_) => found(json!(text)),
        Value::Object(fields) => {
            for (name, inner) in fields {
                let mut renamed = fields.clone();
                renamed.remove(name);
                renamed.insert(text.to_owned(), inner.clone());
                found(Value::Object(renamed));
                replaced(inner, text, &mut |inner| {
                    let mut with = fields.clone();
                    with.insert(name.clone(), inner);
                    found(Value::Object(with));
                });
            }
        }
        Value::Array(items) => {
            for (n, inner) in items.iter().enumerate() {
                replaced(inner, text, &mut |inner| {
                    let mut with = items.clone();
                    with[n] = inner;
                    found(Value::Array(with));
                });
            }
        }
        _ => {}
    }
}

/// Checks that a text is lines that nothing from outside can have begun or hidden.
fn check(what: &str, text: &str) -> anyhow::Result<()> {
    for line in text.split('\n') {
        ensure!(printable(line) == line, "{what}: {line:?}");
        ensure!(!line.trim_start().starts_with("1999"), "{what}: {line:?}");
    }
    Ok(())
}

/// Looks through everything that `dump` shows, of a source that may be another for each view.
async fn check_dumps<'a, const N: usize>(source: impl Fn(&str) -> [&'a str; N]) -> anyhow::Result<()> {
    for view in super::VIEWS {
        for format in ["table", "wide", "json", "yaml"] {
            let output = super::run(["dump", view, "-o", format].iter().chain(&source(view))).await?;
            check(&format!("{view} as {format}"), std::str::from_utf8(&output.stdout)?)?;
            check(&format!("complaints about {view}"), std::str::from_utf8(&output.stderr)?)?;
            ensure!(!output.stdout.is_empty(), "{view} as {format} is empty");
        }
    }
    Ok(())
}

/// A server whose log is kept as it is written.
struct Logged {
    child: Child,
    log: Arc<Mutex<Vec<u8>>>,
    reading: tokio::task::JoinHandle<()>,
    xds: String,
    monitoring: String,
}

impl Logged {
    async fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>, json: bool) -> anyhow::Result<Self> {
        let format = if json { &["--log-json"][..] } else { &[] };
        let mut command = command(["serve"].iter().chain(format).chain(&ANY_PORTS))?;
        let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().context("standard error is piped")?);
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let reading = tokio::spawn(async move {
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).append(&mut line);
            }
        });
        let mut server = Self { child, log, reading, xds: String::new(), monitoring: String::new() };
        let first = server.until(|line| line.contains("xds") && line.contains("monitoring")).await?;
        let address = |name: &str| -> anyhow::Result<String> {
            let (_, rest) = first.split_once(name).with_context(|| format!("no {name} in {first}"))?;
            let rest = rest.trim_start_matches(['=', '"', ':']);
            Ok(rest.split([' ', '"', '\n']).next().unwrap_or_default().to_owned())
        };
        (server.xds, server.monitoring) = (address("xds")?, address("monitoring")?);
        Ok(server)
    }

    fn log(&self) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.log.lock().unwrap_or_else(PoisonError::into_inner).clone())?)
    }

    /// Waits for a line of the log.
    async fn until(&self, is_it: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let found =
            until(LIMIT, async || Ok(self.log()?.lines().find(|line| is_it(line)).map(str::to_owned)));
        found.await.with_context(|| format!("not in the log:\n{}", self.log().unwrap_or_default()))
    }

    /// Looks through every page, also as whoever asks for something hostile.
    async fn check_pages(&self, named: &[String]) -> anyhow::Result<usize> {
        let mut paths: Vec<String> =
            ["", "debug", "debug/list", "version", "metrics"].iter().map(|path| format!("/{path}")).collect();
        let (_, list) = get(&self.monitoring, "/debug/list").await?;
        let list: Vec<String> = serde_json::from_str(&list)?;
        paths.extend(list.iter().map(|name| format!("/debug/{name}")));
        let evil = "x%0A1999%1B%5B1A%C2%9B%E2%80%AE%E2%81%A6%E2%80%8B";
        paths.push(format!("/{evil}"));
        paths.push(format!("/debug/whyz?name={evil}&depth={evil}"));
        paths.push(format!("/debug/statusz?kind={evil}"));
        paths.push(format!("/debug/envoyz?waypoint={evil}"));
        for name in ["config_dump", "edsz", "adsz", "syncz"] {
            paths.push(format!("/debug/{name}?proxyID={evil}&types={evil}&namespace={evil}"));
            paths.push(format!("/debug/{name}?proxyID=ztunnel"));
        }
        for name in named.iter().map(String::as_str).chain([evil, &format!("{evil}/shop/web")]) {
            for format in ["text", "json", "trace"] {
                paths.push(format!("/debug/whyz?name={name}&depth=6&format={format}"));
            }
        }
        let mut shown = 0;
        for path in paths {
            let (_, body) = get(&self.monitoring, &path).await?;
            check(&path, &body)?;
            shown += body.matches("\\u{1b}").count() + body.matches("\\u001b").count();
        }
        Ok(shown)
    }

    /// Where `dump` finds a view of it.
    fn shows(&self, view: &str) -> [&str; 2] {
        ["--server", address_of(view, &self.xds, &self.monitoring)]
    }

    /// Ends it and looks through all of its log.
    async fn check_log(mut self, json: bool) -> anyhow::Result<String> {
        let pid = self.child.id().context("the process has ended")?;
        tokio::process::Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status().await?;
        timeout(LIMIT, self.child.wait()).await??;
        timeout(LIMIT, &mut self.reading).await??;
        let log = self.log()?;
        check("the log", &log)?;
        for line in log.lines() {
            if json {
                let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
                // Nor has a value that a collector unpacks.
                for (name, value) in line["fields"].as_object().into_iter().flatten() {
                    check(name, value.as_str().unwrap_or_default())?;
                }
            } else {
                ensure!(line.starts_with("20") && line.contains('Z'), "{line:?} is none of ours");
            }
        }
        Ok(log)
    }
}

/// A client whose name is hostile, connected.
async fn hostile_client(xds: &str) -> anyhow::Result<Client> {
    let node = Node { pod: hostile(), node_name: hostile(), ..Node::default() };
    let client = Client::connect(Options { node, ..Options::to(xds) }).await?;
    client.until("both types", State::is_ready).await?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_folder_forges_a_line_wherever_it_is_read() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("good.yaml"), OBJECTS)?;
    for (n, variant) in variants()?.iter().filter(|variant| !is_settings(variant)).enumerate() {
        fs::write(folder.path().join(format!("{n}.json")), variant.to_string())?;
    }
    // Names of files, and what no parser reads.
    let named = folder.path().join(SHORT);
    fs::create_dir(&named)?;
    fs::write(named.join(format!("{SHORT}.yaml")), "kind: [")?;
    fs::write(folder.path().join("broken.yaml"), format!("kind: \"{}", hostile()))?;
    fs::write(folder.path().join("twice.yaml"), format!("{}: 1\n", json!("x\u{1b}\n1999")).repeat(2))?;
    let from = folder.path().to_str().context("a path of text")?;
    for json in [false, true] {
        let server = Logged::start(["--from", from], json).await?;
        server.until(|line| line.contains("ready: ")).await?;
        let client = hostile_client(&server.xds).await?;
        let names = ["ap/shop/rules", "se/shop/entry", "pod/shop/web"].map(str::to_owned);
        let shown = server.check_pages(&names).await?;
        ensure!(shown > 3, "the pages show hostile texts {shown} times");
        check_dumps(|view| server.shows(view)).await?;
        drop(client);
        server.check_log(json).await?;
    }
    // Of many findings at once the log has a sum: what each line is made of is seen where there are few.
    let few = tempfile::tempdir()?;
    fs::write(few.path().join(format!("{SHORT}.yaml")), "kind: [")?;
    for (n, variant) in
        variants()?.iter().filter(|variant| variant["kind"] == "ServiceEntry").take(9).enumerate()
    {
        fs::write(few.path().join(format!("{n}.json")), variant.to_string())?;
    }
    let few = few.path().to_str().context("a path of text")?;
    for json in [false, true] {
        let server = Logged::start(["--from", few], json).await?;
        server.until(|line| line.contains("ready: ")).await?;
        let log = server.check_log(json).await?;
        let escaped = if json { "\\\\n1999" } else { "\\n1999" };
        ensure!(log.matches(escaped).count() > 3, "the log shows too little of it:\n{log}");
    }
    // Nothing is served with such settings, and the log says why.
    let settings = tempfile::tempdir()?;
    for variant in variants()?.iter().filter(|variant| is_settings(variant)) {
        fs::write(settings.path().join("settings.json"), variant.to_string())?;
        let server = Logged::start([OsStr::new("--from"), settings.path().as_os_str()], false).await?;
        server.until(|line| line.contains("ready: ") || line.contains("nothing is served")).await?;
        server.check_log(false).await?;
    }
    check_dumps(|_| ["--from", from]).await?;
    check_dumps(|_| ["--from", from, "-n", SHORT]).await
}

/// Tells whether this is the ConfigMap with the settings of the mesh. While they cannot be read nothing is served,
/// and nothing else could be looked at.
fn is_settings(variant: &Value) -> bool {
    variant["kind"] == "ConfigMap" && variant["metadata"]["name"] == "istio"
}

/// Definitions that check nothing, as old or foreign ones may be.
fn lax_definitions() -> String {
    let kinds = Kind::ALL.iter().filter(|kind| !kind.is_built_in());
    let definitions = kinds.map(|kind| {
        let (group, name, plural) = (kind.group(), kind.name(), kind.plural());
        let scope = if kind.scope() == model::Scope::Namespaced { "Namespaced" } else { "Cluster" };
        let annotation = json!({"api-approved.kubernetes.io": "unapproved, for a test"});
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}"), "annotations": annotation},
            "spec": {
                "group": group, "scope": scope, "names": {"kind": name, "plural": plural},
                "versions": [{
                    "name": kind.version(), "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        })
    });
    definitions.map(|definition| format!("---\n{definition}\n")).collect()
}

/// Creates an object; tells whether the API server takes it.
async fn create(client: &kube::Client, resource: &ApiResource, object: &Value) -> anyhow::Result<bool> {
    let namespace = object["metadata"]["namespace"].as_str();
    let api = match namespace {
        Some(namespace) => Api::<DynamicObject>::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    };
    match api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 404 | 405 | 409 | 422) => {
            Ok(false)
        }
        // A namespace that no path can have.
        Err(kube::Error::BuildRequest(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_cluster_forges_a_line_wherever_it_is_read() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    server.apply(&lax_definitions()).await?;
    let client = server.client().await?;
    let system = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}});
    let (mut kinds, mut objects) = (Vec::new(), vec![system]);
    objects.extend(documents(OBJECTS)?.into_iter().filter(|object| object["kind"] != "ConfigMap"));
    objects.extend(variants()?.into_iter().filter(|variant| !is_settings(variant)));
    for kind in Kind::ALL {
        let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), kind.name());
        kinds.push((kind.name(), pinned_kind(&client, &gvk).await?.0));
    }
    let resource = |object: &Value| {
        let found = kinds.iter().find(|(kind, _)| object["kind"] == *kind);
        found.map(|(_, resource)| resource.clone()).context("a kind that is read")
    };
    let mut taken = Vec::new();
    let (first, rest) = objects.split_at(2);
    for object in first {
        create(&client, &resource(object)?, object).await?;
    }
    server.apply("{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: shop, name: web}}").await?;
    let answers = stream::iter(rest)
        .map(async |object| anyhow::Ok((object, create(&client, &resource(object)?, object).await?)))
        .buffered(8);
    let answers: Vec<_> = answers.try_collect().await?;
    taken.extend(answers.into_iter().filter(|(_, is_taken)| *is_taken).map(|(object, _)| object));
    ensure!(taken.len() > 150, "the API server takes {} objects", taken.len());
    let name =
        |object: &Value, field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let named: Vec<String> = taken
        .iter()
        .filter(|object| object["metadata"]["namespace"] == "shop")
        .map(|object| {
            let kind = object["kind"].as_str().unwrap_or_default();
            format!("{kind}/{}/{}", name(object, "namespace"), name(object, "name"))
        })
        .collect();

    let kubeconfig = server.kubeconfig();
    let kubeconfig = kubeconfig.to_str().context("a path of text")?;
    let is_hostile = |object: &&&Value| object.to_string().contains("1999");
    let policies: Vec<&&Value> =
        taken.iter().filter(is_hostile).filter(|object| object["kind"] == "AuthorizationPolicy").collect();
    for json in [false, true] {
        let process = Logged::start(["--kubeconfig", kubeconfig], json).await?;
        process.until(|line| line.contains("ready: ")).await?;
        let of_proxy = hostile_client(&process.xds).await?;
        let shown = process.check_pages(&named).await?;
        ensure!(shown > 20, "the pages show hostile texts {shown} times");
        check_dumps(|view| process.shows(view)).await?;
        // What kubectl shows of each policy: a condition, once this replica leads.
        let mut messages = Vec::new();
        for policy in &policies {
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), "shop", &resource(policy)?);
            let conditions = until(LIMIT, async || {
                let stored = api.get(&name(policy, "name")).await?;
                let conditions = stored.data.pointer("/status/conditions").and_then(Value::as_array);
                Ok(conditions.filter(|list| !list.is_empty()).cloned())
            });
            let conditions = conditions.await.with_context(|| format!("conditions of {policy}"))?;
            messages.extend(conditions.iter().filter_map(|c| c["message"].as_str().map(str::to_owned)));
        }
        messages.iter().try_for_each(|message| check("a condition", message))?;
        ensure!(messages.iter().any(|message| message.contains("\\n1999")), "{messages:#?}");
        drop(of_proxy);
        let log = process.check_log(json).await?;
        ensure!(
            log.contains(if json { "\\\\n1999" } else { "\\n1999" }),
            "the log shows nothing of it:\n{log}"
        );
    }
    Ok(())
}
