//! A real Envoy, started from `pilothouse bootstrap`, as the waypoint of a real `pilothouse serve`.
//!
//! Everything is as it is deployed, also the ports: one test at a time has them.

use super::peers::{Call, Workload, page, text};
use super::proxy::LIMIT;
use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use identity::StateDir;
use pilothouse_tests::apiserver::until;
use pilothouse_tests::certificates::{CertificateTarget, NewCertificate, request_certificate};
use pilothouse_tests::{envoy, program};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Who has the ports.
static PORTS: Mutex<()> = Mutex::const_new(());

const SECURE: &str = "127.0.0.1:15012";
const MONITORING: &str = "127.0.0.1:15014";
const HBONE: &str = "127.0.0.1:15008";
const READY: &str = "127.0.0.1:15021";
/// Where the pod of the service takes HBONE.
const WEB: &str = "127.0.0.2:15008";
const SERVICE: &str = "10.96.0.1:80";

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
kind: Pod
metadata: {namespace: shop, name: waypoint-1, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}
spec: {serviceAccountName: waypoint, nodeName: laptop, containers: [{name: envoy, image: envoy}]}
status: {phase: Running, podIP: 127.0.0.1, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Pod
metadata:
  namespace: shop
  name: web-1
  labels: {app: web}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
status: {phase: Running, podIP: 127.0.0.2, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: client-1}
spec: {serviceAccountName: client, nodeName: laptop, containers: [{name: client, image: client}]}
status: {phase: Running, podIP: 127.0.0.3, conditions: [{type: Ready, status: \"True\"}]}
---
apiVersion: v1
kind: Node
metadata: {name: laptop, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: a}}
---
# What is for a place comes to who proves to be there.
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec: {clusterIP: 10.96.0.1, selector: {app: web}, trafficDistribution: PreferSameZone, ports: [{name: http, port: 80, targetPort: 8080}]}
";

/// A folder of manifests, a control plane that serves it, and the Envoy of its waypoint.
struct Site {
    folder: TempDir,
    settings: Vec<String>,
    control: Child,
    envoy: Option<Child>,
    _ports: MutexGuard<'static, ()>,
}

/// Runs the command to its end, and returns what it prints.
async fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> anyhow::Result<String> {
    let output = Command::new(program::program()?).args(args).env_clear().output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

impl Site {
    /// Starts both, and waits until the Envoy says that it is ready.
    async fn start(settings: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(settings, |_| {}).await
    }

    /// As [`Site::start`], with an Envoy whose bootstrap is changed.
    async fn start_with(settings: &[&str], edit: fn(&mut Value)) -> anyhow::Result<Self> {
        let _ports = PORTS.lock().await;
        let folder = tempfile::tempdir()?;
        for part in ["mesh", "token", "boot"] {
            fs::create_dir(folder.path().join(part))?;
        }
        fs::write(folder.path().join("mesh/mesh.yaml"), MESH)?;
        let settings: Vec<String> = settings.iter().map(|&text| text.to_owned()).collect();
        let control = serve(folder.path(), &settings)?;
        let mut site = Self { folder, settings, control, envoy: None, _ports };
        site.until_open().await?;
        site.write_token(&site.token("waypoint", "waypoint-1").await?)?;
        site.envoy = Some(site.start_envoy(edit).await?);
        until(LIMIT, async || {
            if let Some(status) = site.envoy.as_mut().and_then(|envoy| envoy.try_wait().transpose()) {
                anyhow::bail!("Envoy ended with {}", status?);
            }
            let ready = page(READY, "/healthz/ready").await;
            Ok(ready.is_ok_and(|(status, _)| status == StatusCode::OK).then_some(()))
        })
        .await
        .with_context(|| site.logs())?;
        Ok(site)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    fn logs(&self) -> String {
        let log = |part: &str| fs::read_to_string(self.path(part)).unwrap_or_default();
        format!("control plane: {}\nEnvoy: {}", log("control.log"), log("envoy.log"))
    }

    async fn until_open(&self) -> anyhow::Result<()> {
        let open = async || Ok(tokio::net::TcpStream::connect(SECURE).await.ok().map(drop));
        until(LIMIT, open).await.with_context(|| self.logs())
    }

    async fn token(&self, account: &str, pod: &str) -> anyhow::Result<String> {
        let state = self.path("state");
        let namespace = if account == "ztunnel" { "istio-system" } else { "shop" };
        let args = ["token", "--namespace", namespace, "--service-account", account, "--pod", pod];
        let args = args.iter().map(OsStr::new).chain(["--node", "laptop", "--state-dir"].map(OsStr::new));
        Ok(run(args.chain([state.as_os_str()])).await?.trim().to_owned())
    }

    /// Replaces the token of the waypoint as volumes are: by a move.
    fn write_token(&self, token: &str) -> anyhow::Result<()> {
        fs::write(self.path("next-token"), token)?;
        Ok(fs::rename(self.path("next-token"), self.path("token/istio-token"))?)
    }

    async fn start_envoy(&self, edit: fn(&mut Value)) -> anyhow::Result<Child> {
        let file = self.path("boot/bootstrap.json");
        let text = |path: PathBuf| path.display().to_string();
        let (roots, token) =
            (StateDir::open(&self.path("state"))?.root_file(), self.path("token/istio-token"));
        run([
            "bootstrap",
            "--kind",
            "waypoint",
            "--namespace",
            "shop",
            "--gateway",
            "waypoint",
            "--pod",
            "waypoint-1",
            "--ip",
            "127.0.0.1",
            "--service-account",
            "waypoint",
            "--xds",
            SECURE,
            "--xds-name",
            "localhost",
            "-o",
            "json",
            "--root-cert",
            &text(roots),
            "--token-file",
            &text(token),
            "--file",
            &text(file.clone()),
        ])
        .await?;
        let mut bootstrap: Value = serde_json::from_slice(&fs::read(&file)?)?;
        edit(&mut bootstrap);
        fs::write(&file, bootstrap.to_string())?;
        let log = fs::File::create(self.path("envoy.log"))?;
        Command::new(envoy::program()?)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Envoy")
    }

    /// Kills the control plane at once.
    async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.control.kill().await?)
    }

    /// Ends both, so that their ports are free.
    async fn end(mut self) -> anyhow::Result<()> {
        if let Some(mut envoy) = self.envoy.take() {
            envoy.kill().await?;
        }
        self.kill().await
    }

    /// Starts the control plane again.
    async fn restart(&mut self) -> anyhow::Result<()> {
        self.control = serve(self.folder.path(), &self.settings)?;
        self.until_open().await
    }

    /// What the control plane knows of the waypoint's stream, once there is one and all of it is acknowledged:
    /// the bytes that were sent, by the last part of the type's name.
    async fn until_taken(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let taken = until(LIMIT, async || {
            let (_, clients) = page(MONITORING, "/debug/clientz").await?;
            let of_waypoint = |of: &&Value| of["node"].as_str().is_some_and(|id| id.starts_with("waypoint~"));
            let Some(client) = clients.as_array().into_iter().flatten().find(of_waypoint) else {
                return Ok(None);
            };
            let types = client["types"].as_array().cloned().unwrap_or_default();
            let is_taken = |of: &Value| of["acks"] == of["responses"] && of["responses"] != 0;
            if types.len() < 5 || !types.iter().all(is_taken) {
                return Ok(None);
            }
            let bytes = types.iter().filter_map(|of| {
                let name = of["type"].as_str()?.rsplit('.').next()?.to_owned();
                Some((name, of["bytes"].as_u64()?))
            });
            Ok(Some(bytes.collect()))
        });
        taken.await.with_context(|| self.logs())
    }

    /// Tells whether the log of the control plane has a text.
    fn logged(&self, text: &str) -> anyhow::Result<bool> {
        Ok(fs::read_to_string(self.path("control.log"))?.contains(text))
    }

    /// A certificate of an account, as its ztunnel gets it.
    async fn certificate(&self, account: &str) -> anyhow::Result<NewCertificate> {
        let target = CertificateTarget {
            address: SECURE.to_owned(),
            server_name: "localhost".to_owned(),
            roots_pem: fs::read(StateDir::open(&self.path("state"))?.root_file())?,
            token: self.token("ztunnel", "ztunnel").await?,
            client: None,
            time: None,
        };
        Ok(request_certificate(&target, Some(&format!("spiffe://cluster.local/ns/shop/sa/{account}")), 0)
            .await?)
    }
}

fn serve(folder: &Path, settings: &[String]) -> anyhow::Result<Child> {
    let log = fs::File::options().create(true).append(true).open(folder.join("control.log"))?;
    let mut command = Command::new(program::program()?);
    command.arg("serve").arg("--from").arg(folder.join("mesh")).arg("--state-dir").arg(folder.join("state"));
    command
        .args(["--deploy-gateways=false", "--xds-addr=127.0.0.1:0", "--http-addr=127.0.0.1:0"])
        .args([format!("--secure-addr={SECURE}"), format!("--monitoring-addr={MONITORING}")])
        .args(settings)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    command.spawn().context("cannot start the control plane")
}

fn hbone() -> anyhow::Result<SocketAddr> {
    Ok(HBONE.parse()?)
}

/// Requests without a pause, some on one connection and some on new ones each.
struct Load {
    done: Arc<AtomicU64>,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Load {
    fn start(with: NewCertificate) -> Self {
        let (done, stop, mut tasks) = (Arc::<AtomicU64>::default(), CancellationToken::new(), JoinSet::new());
        for is_kept in [true, false] {
            let (with, done, stop) = (with.clone(), Arc::clone(&done), stop.clone());
            tasks.spawn(async move {
                let mut call = Call::open(&with, hbone()?, SERVICE).await?;
                while !stop.is_cancelled() {
                    if !is_kept {
                        call = Call::open(&with, hbone()?, SERVICE).await?;
                    }
                    call.get().await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        Self { done, stop, tasks }
    }

    /// Waits for so many more requests.
    async fn further(&mut self, count: u64) -> anyhow::Result<()> {
        let until_done = self.done.load(Ordering::Relaxed) + count;
        until(LIMIT, async || {
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
            }
            Ok((self.done.load(Ordering::Relaxed) >= until_done).then_some(()))
        })
        .await
    }

    /// Ends; fails with the first request that failed.
    async fn end(mut self) -> anyhow::Result<u64> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waypoint_as_it_is_deployed_serves_and_outlives_its_control_plane() -> anyhow::Result<()> {
    let mut site = Site::start(&[]).await?;
    let first = site.until_taken().await?;
    let _web = Workload::start(WEB.parse()?, &site.certificate("web").await?)?;
    let client = site.certificate("client").await?;
    let mut call = Call::open(&client, hbone()?, SERVICE).await.with_context(|| site.logs())?;
    let of = |account: &str| format!("spiffe://cluster.local/ns/shop/sa/{account}");
    assert_eq!(call.waypoint, of("waypoint"));
    let answer = call.get().await?;
    assert_eq!((&answer["peer"], &answer["to"]), (&of("waypoint").into(), &"127.0.0.2:8080".into()));

    let mut load = Load::start(client.clone());
    load.further(100).await?;
    site.kill().await?;
    load.further(500).await?;
    site.restart().await?;
    let again = site.until_taken().await?;
    load.further(500).await?;
    let requests = load.end().await?;
    assert!(requests >= 1100, "{requests}");
    println!("{requests} requests, none failed; sent at first: {first:?}; after the restart: {again:?}");
    // Only that there is nothing: no resource, no certificate.
    for (of, bytes) in &again {
        assert!(*bytes < 200 && *bytes <= first[of], "{of}: {bytes} bytes, at first {}", first[of]);
    }

    // The token is read anew: with one of nobody it is refused, and with a good one it is served.
    site.write_token("made.up.token")?;
    site.kill().await?;
    fs::write(site.path("control.log"), "")?;
    site.restart().await?;
    until(LIMIT, async || Ok(site.logged("token_malformed")?.then_some(()))).await?;
    site.write_token(&site.token("waypoint", "waypoint-1").await?)?;
    site.until_taken().await?;
    call.get().await?;
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_root_is_replaced() -> anyhow::Result<()> {
    // The root is replaced when a fifth of its life is left; both are trusted for as long as certificates live.
    let site = Site::start(&["--root-ttl=50s", "--default-cert-ttl=8s", "--root-overlap=8s"]).await?;
    let roots = async || -> anyhow::Result<Vec<String>> {
        let (_, page) = page(MONITORING, "/debug/identityz").await?;
        let all = page["roots"].as_array().into_iter().flatten();
        Ok(all.filter_map(|root| Some(root["serial"].as_str()?.to_owned())).collect())
    };
    let web = Workload::start(WEB.parse()?, &site.certificate("web").await?)?;
    let old = roots().await?;
    let (mut requests, mut seen) = (0, vec![old.clone()]);
    until(LIMIT * 3, async || {
        // Peers have certificates that live as short, and renew them as they call.
        let client = site.certificate("client").await?;
        web.renew(&site.certificate("web").await?)?;
        for _ in 0..5 {
            let mut call = Call::open(&client, hbone()?, SERVICE).await.with_context(|| site.logs())?;
            call.get().await.with_context(|| site.logs())?;
            requests += 1;
        }
        let now = roots().await?;
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        Ok((now.len() == 1 && now != old).then_some(()))
    })
    .await?;
    println!("{requests} requests on connections of their own, none failed, while the roots were {seen:?}");
    assert_eq!(seen.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(requests > 50, "{requests}");
    site.end().await
}

/// Another pod of the waypoint.
const NEXT: &str = "
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: waypoint-2, labels: {gateway.networking.k8s.io/gateway-name: waypoint}}
spec: {serviceAccountName: waypoint, nodeName: laptop, containers: [{name: envoy, image: envoy}]}
status: {phase: Running, podIP: 127.0.0.9, conditions: [{type: Ready, status: \"True\"}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_goes_closes_its_connections_with_the_next_answer_on_each() -> anyhow::Result<()> {
    let site = Site::start(&[]).await?;
    let _web = Workload::start(WEB.parse()?, &site.certificate("web").await?)?;
    let mut call = Call::open(&site.certificate("client").await?, hbone()?, SERVICE).await?;
    call.get().await?;
    assert!(!call.is_last);
    let deleted = "name: waypoint-1, deletionTimestamp: \"2999-01-01T00:00:00Z\",";
    let leaving = MESH.replace("name: waypoint-1,", deleted);
    assert_ne!(leaving, MESH);
    fs::write(site.path("mesh/mesh.yaml"), leaving + NEXT)?;
    until(LIMIT, async || {
        call.get().await?;
        Ok(call.is_last.then_some(()))
    })
    .await
    .with_context(|| site.logs())?;
    // What comes late is served, and is told as well: nothing further comes over the connection to the waypoint.
    let mut late = call.beside(SERVICE).await?;
    until(LIMIT, async || Ok(call.beside(SERVICE).await.is_err().then_some(()))).await?;
    late.get().await?;
    assert!(late.is_last);
    let (status, _) = page(READY, "/healthz/ready").await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    site.end().await
}

/// Has an Envoy take shorter expressions than ours do: nothing that is sent is refused else, as far as is known.
fn allow_expressions(bootstrap: &mut Value, size: u32) {
    let layer = &mut bootstrap["layered_runtime"]["layers"][0]["static_layer"];
    layer["re2.max_program_size.error_level"] = size.into();
}

/// A route that matches by an expression of some length.
const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {namespace: shop, name: versions}
spec:
  parentRefs: [{group: \"\", kind: Service, name: web}]
  rules:
  - matches: [{path: {type: RegularExpression, value: EXPRESSION}}]
    backendRefs: [{name: web, port: 80}]
";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_envoy_refuses_is_told_of_the_route_that_made_it() -> anyhow::Result<()> {
    // The expressions of listeners are shorter than this, and those of this route are not, for a while.
    let site = Site::start_with(&[], |bootstrap| allow_expressions(bootstrap, 450)).await?;
    site.until_taken().await?;
    let write = |expression: &str| {
        fs::write(site.path("mesh/route.yaml"), ROUTE.replace("EXPRESSION", &format!("{expression:?}")))
    };
    let refused = async || -> anyhow::Result<Value> {
        let (_, waypoints) = page(MONITORING, "/debug/waypointz").await?;
        Ok(waypoints[0]["replicas"][0]["refused"].clone())
    };
    write("/[a-z]{500}")?;
    let told = until(LIMIT, async || Ok(Some(refused().await?).filter(|of| of.get(0).is_some()))).await;
    let told = told.with_context(|| site.logs())?;
    let (resource, message) = ("inbound-vip|80|http|web.shop.svc.cluster.local", told[0]["message"].as_str());
    assert_eq!((&told[0]["type"], &told[0]["resource"]), (&"routes".into(), &resource.into()), "{told}");
    assert_eq!(told[0]["objects"], serde_json::json!(["HTTPRoute shop/versions"]), "{told}");
    assert!(message.is_some_and(|message| message.contains("program size")), "{told}");
    let line = "kind=\"HTTPRoute\" namespace=\"shop\" name=\"versions\"";
    until(LIMIT, async || Ok(site.logged(line)?.then_some(()))).await.with_context(|| site.logs())?;
    let metrics = text(MONITORING, "/metrics").await?;
    for line in ["pilothouse_xds_refused_resources 1", "pilothouse_xds_refused_objects{kind=\"HTTPRoute\"} 1"]
    {
        assert!(metrics.lines().any(|of| of == line), "{line}: {metrics}");
    }
    write("/[a-z]{5}")?;
    let is_taken = async || Ok((refused().await? == serde_json::json!([])).then_some(()));
    until(LIMIT, is_taken).await.with_context(|| site.logs())?;
    site.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_real_envoy_refuses_is_told_of_what_made_it() -> anyhow::Result<()> {
    let site = Site::start_with(&[], |bootstrap| allow_expressions(bootstrap, 50)).await?;
    let refused = async || {
        let (_, waypoints) = page(MONITORING, "/debug/waypointz").await?;
        let refused = waypoints[0]["replicas"][0]["refused"].as_array().cloned().unwrap_or_default();
        Ok(refused.into_iter().find(|of| of["resource"] == "connect_terminate"))
    };
    let told = until(LIMIT, refused).await.with_context(|| site.logs())?;
    assert_eq!(told["type"], "listeners", "{told}");
    assert!(told["message"].as_str().is_some_and(|message| message.contains("program size")), "{told}");
    let line = "kind=\"Gateway\" namespace=\"shop\" name=\"waypoint\"";
    until(LIMIT, async || Ok(site.logged(line)?.then_some(()))).await.with_context(|| site.logs())?;
    let metrics = text(MONITORING, "/metrics").await?;
    let count = metrics.lines().find_map(|line| line.strip_prefix("pilot_xds_lds_reject "));
    assert!(count.is_some_and(|count| count != "0"), "{metrics}");
    site.end().await
}

/// Hosts whose names and addresses lead to the waypoint itself, at the port of the views.
const ITSELF: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {namespace: shop, name: named}
spec:
  hosts: [named.example.org]
  addresses: [240.0.0.1]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: tcp, protocol: TCP}]
  endpoints: [{address: localhost, ports: {http: 15000, tcp: 15000}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {namespace: shop, name: asked}
spec:
  hosts: ['*.localhost']
  addresses: [240.0.0.2]
  location: MESH_EXTERNAL
  resolution: DYNAMIC_DNS
  ports: [{number: 15000, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: named}
spec: {host: named.example.org, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {namespace: shop, name: asked}
spec: {host: '*.localhost', trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}}}
";

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_is_looked_at_from_its_pod_alone_and_ended_by_nobody() -> anyhow::Result<()> {
    const VIEWS: &str = "127.0.0.1:15000";
    let site = Site::start(&[]).await?;
    fs::write(site.path("mesh/itself.yaml"), ITSELF)?;
    // Whoever forwards the port sees what istioctl and Kiali ask for, and changes nothing.
    let (status, dump) = page(VIEWS, "/config_dump?resource=static_listeners").await?;
    assert_eq!(
        (status, dump["configs"].as_array().is_some_and(|all| !all.is_empty())),
        (StatusCode::OK, true)
    );
    for path in ["/certs", "/clusters", "/listeners", "/server_info", "/stats?filter=server"] {
        assert_eq!(page(VIEWS, path).await?.0, StatusCode::OK, "{path}");
    }
    for path in ["/quitquitquit", "/healthcheck/fail", "/logging?level=trace", "/", "/certs/../quitquitquit"]
    {
        assert_eq!(page(VIEWS, path).await?.0, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(sent(Method::POST, VIEWS, path).await?, StatusCode::NOT_FOUND, "{path}");
    }
    // What comes through the waypoint does not get there: the connection is not taken.
    let client = site.certificate("client").await?;
    let mut named =
        until(LIMIT, async || Ok(Call::open(&client, hbone()?, "240.0.0.1:80").await.ok())).await?;
    let refused = named.ask("named.example.org", "/config_dump").await?;
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.1);
    let mut asked =
        until(LIMIT, async || Ok(Call::open(&client, hbone()?, "240.0.0.2:15000").await.ok())).await?;
    let refused = asked.ask("a.localhost:15000", "/config_dump").await?;
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.1);
    let mut stream = Call::open(&client, hbone()?, "240.0.0.1:81").await?;
    assert!(stream.ask("localhost", "/config_dump").await.is_err());
    // Another port of the same address is there for those names: of the pod itself.
    assert_eq!(page(VIEWS, "/ready").await?.0, StatusCode::OK);
    site.end().await
}

/// Sends a request without a body, and returns the status of the answer.
async fn sent(method: Method, address: &str, path: &str) -> anyhow::Result<StatusCode> {
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(tokio::net::TcpStream::connect(address).await?))
            .await?;
    tokio::spawn(connection);
    let request =
        Request::builder().method(method).uri(path).header("host", "localhost").body(Empty::new())?;
    Ok(sender.send_request(request).await?.status())
}
