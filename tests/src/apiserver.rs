//! A real kube-apiserver with its etcd: one process per instance, in a folder of its own.
//!
//! The server is the Go program in `tests/apiserver`; the first use builds it into
//! `target/apiserver/` (a few minutes, once). Starting takes a few seconds, so tests that only need
//! *a* server share one per test binary and take a namespace each:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use pilothouse_tests::apiserver::ApiServer;
//! let server = ApiServer::shared().await?;
//! let namespace = server.namespace("shop").await?;
//! server.apply(&format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, namespace: {namespace}}}}}")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Tests that stop the server or install kinds take their own by [`ApiServer::start`]. Those that need
//! a cluster, where a Deployment gets pods, take one by [`ApiServer::with_controllers`].

mod crds;

pub use crds::{KnownCrds, istio_api, known_crds, kubernetes_openapi};
pub(crate) use crds::{read, yaml_files};

use crate::go::Module;
use anyhow::{Context, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use serde::Deserialize;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything awaited here may take on a busy machine before it counts as failed.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A running API server; dropping it ends the process and removes its folder.
pub struct ApiServer {
    dir: tempfile::TempDir,
    controllers: Controllers,
    url: String,
    process: Option<Child>,
}

/// What runs beside the API server, in its process.
#[derive(Clone)]
enum Controllers {
    /// Service accounts appear in namespaces, deleted namespaces go away.
    Few,
    /// Those of a cluster too, with a scheduler, nodes and load balancers.
    All,
    /// All, and the pods are run by the node at this socket.
    Node(PathBuf),
}

impl ApiServer {
    /// Starts an API server of its own on a free port.
    ///
    /// # Errors
    /// When the Go program cannot be built or does not become ready; the message ends with the log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(Controllers::Few).await
    }

    /// Starts an API server of its own on a free port, and the controllers of a cluster.
    ///
    /// Deployments and ReplicaSets get pods, and Services their EndpointSlices; what is owned by nothing
    /// any more is collected, also where the owner's kind was installed later. Pods are bound to the
    /// nodes `test-node-0` and `test-node-1`, get addresses and become ready, though no process runs;
    /// deleted ones go away at once. Services of type LoadBalancer get an address of 198.18.0.0/16 each,
    /// or the one of 198.19.0.0/16 that `spec.loadBalancerIP` asks for, unless another has it. Pods of
    /// other nodes and of other schedulers, and Services with a `loadBalancerClass`, are left alone.
    ///
    /// # Errors
    /// As [`ApiServer::start`].
    pub async fn with_controllers() -> anyhow::Result<Self> {
        Self::start_with(Controllers::All).await
    }

    /// As [`ApiServer::with_controllers`], on this port, with pods that the node at the other end of a socket runs.
    ///
    /// # Errors
    /// As [`ApiServer::start`], and when the port is taken.
    pub async fn with_node(socket: &Path, port: u16) -> anyhow::Result<Self> {
        Self::start_at(port, Controllers::Node(socket.to_owned())).await
    }

    async fn start_with(controllers: Controllers) -> anyhow::Result<Self> {
        Self::start_at(0, controllers).await
    }

    async fn start_at(port: u16, controllers: Controllers) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("apiserver-").tempdir()?;
        let mut server = Self { dir, controllers, url: String::new(), process: None };
        server.launch(port).await?;
        Ok(server)
    }

    /// Returns the API server that the tests of this binary share, started by the first caller.
    ///
    /// # Errors
    /// As [`ApiServer::start`]; a failed start is tried again by the next caller.
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: Shared = Shared::of(Controllers::Few);
        SHARED.get().await
    }

    /// As [`ApiServer::shared`], of one [with controllers](ApiServer::with_controllers).
    ///
    /// # Errors
    /// As [`ApiServer::shared`].
    pub async fn shared_with_controllers() -> anyhow::Result<&'static Self> {
        static SHARED: Shared = Shared::of(Controllers::All);
        SHARED.get().await
    }

    /// Returns the URL, as in `https://127.0.0.1:40001`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the path of a kubeconfig with all rights.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Returns the folder of this instance: `kubeconfig`, `pki`, `log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns a client with all rights. A client belongs to the runtime of the test that made it.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        client_of(&self.kubeconfig()).await
    }

    /// Ends the server in order; [`ApiServer::restart`] continues with the same data.
    ///
    /// # Errors
    /// When the process does not end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if let Some(input) = process.stdin.as_mut() {
            input.write_all(b"stop\n")?;
            input.flush()?;
        }
        let ended = until(LIMIT, async || Ok(process.try_wait()?)).await;
        if ended.is_err() {
            process.kill()?;
        }
        process.wait()?;
        ended.context("the API server did not end in order").map(drop)
    }

    /// Ends the server at once, as a crash would; [`ApiServer::restart`] continues with its data.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Starts the server again on the same data and the same port, after ending it if it runs.
    ///
    /// # Errors
    /// As [`ApiServer::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.start_again(self.port()?).await
    }

    /// Starts the server again on the same data and another port (0: a free one), after ending it if
    /// it runs; the kubeconfig then leads to that port.
    ///
    /// # Errors
    /// As [`ApiServer::start`].
    pub async fn start_again(&mut self, port: u16) -> anyhow::Result<()> {
        self.stop().await?;
        self.launch(port).await
    }

    /// Starts the server again on the same data and the same port, with another key for the tokens of
    /// service accounts; the one of before is no longer published nor accepted.
    ///
    /// # Errors
    /// As [`ApiServer::start`], and when there is no openssl.
    pub async fn change_token_key(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        let path = self.dir.path().join("pki/service-account.key");
        let made = Command::new("openssl")
            .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
            .arg(&path)
            .status()
            .context("cannot run openssl; install it")?;
        anyhow::ensure!(made.success(), "openssl made no key: {made}");
        self.restart().await
    }

    /// Returns the port.
    ///
    /// # Errors
    /// Never after a start.
    pub fn port(&self) -> anyhow::Result<u16> {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port in the url")
    }

    /// Creates a namespace of a new name that starts with `prefix`; pods can be created in it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn namespace(&self, prefix: &str) -> anyhow::Result<String> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let client = self.client().await?;
        let object = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..Default::default() },
            ..Default::default()
        };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await?;
        let accounts = Api::<ServiceAccount>::namespaced(client, &name);
        until(LIMIT, async || Ok(accounts.get_opt("default").await?)).await.context("service account")?;
        Ok(name)
    }

    /// Applies every document of a YAML text by server-side apply, in order, with all rights.
    ///
    /// A definition of a kind is awaited until the API server serves the kind.
    ///
    /// # Errors
    /// At the first document that the API server refuses; the message names it.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<()> {
        apply(&self.client().await?, yaml).await
    }

    /// Deletes the objects named by a YAML text, in order, and awaits that each is gone.
    ///
    /// # Errors
    /// At the first one that is not there or cannot be deleted.
    pub async fn delete(&self, yaml: &str) -> anyhow::Result<()> {
        let client = self.client().await?;
        for document in documents(yaml)? {
            let what = describe(&document);
            delete_one(&client, document).await.with_context(|| format!("cannot delete {what}"))?;
        }
        Ok(())
    }

    /// Asks for a token of a service account, for the audiences given (none: the API server).
    ///
    /// # Errors
    /// When the account does not exist.
    pub async fn token(&self, namespace: &str, account: &str, audiences: &[&str]) -> anyhow::Result<String> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audiences.iter().map(|&a| a.to_owned()).collect()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await?;
        answer.status.and_then(|s| s.token).context("no token in the answer")
    }

    /// Writes a kubeconfig for a service account, which has only the rights that RBAC gives it.
    ///
    /// # Errors
    /// When the account does not exist.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str) -> anyhow::Result<PathBuf> {
        let token = self.token(namespace, account, &[]).await?;
        let mut config: serde_yaml::Value = serde_yaml::from_slice(&std::fs::read(self.kubeconfig())?)?;
        let user = config.get_mut("users").and_then(|u| u.get_mut(0)).and_then(|u| u.get_mut("user"));
        *user.context("no user in the kubeconfig")? = serde_yaml::to_value(json!({ "token": token }))?;
        let path = self.dir.path().join(format!("kubeconfig-{namespace}-{account}"));
        std::fs::write(&path, serde_yaml::to_string(&config)?)?;
        Ok(path)
    }

    async fn launch(&mut self, port: u16) -> anyhow::Result<()> {
        let binary = tokio::task::spawn_blocking(program).await??;
        let ready = self.dir.path().join("ready");
        if ready.exists() {
            std::fs::remove_file(&ready)?;
        }
        let log_path = self.dir.path().join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path)?;
        let process = Command::new(&binary)
            .arg("--dir")
            .arg(self.dir.path())
            .args(["--attended", "--secure-port", &port.to_string()])
            .args(match &self.controllers {
                Controllers::Few => None,
                Controllers::All | Controllers::Node(_) => Some("--controllers=*"),
            })
            .args(match &self.controllers {
                Controllers::Node(socket) => Some(format!("--node={}", socket.display())),
                Controllers::Few | Controllers::All => None,
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {}", binary.display()))?;
        let process = self.process.insert(process);
        let url = until(LIMIT, async || {
            if let Some(status) = process.try_wait()? {
                bail!("it ended: {status}");
            }
            #[derive(Deserialize)]
            struct Ready {
                url: String,
            }
            match std::fs::read(&ready) {
                Ok(content) => Ok(Some(serde_json::from_slice::<Ready>(&content)?.url)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await;
        self.url = url.with_context(|| {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            let from = log.len() - log.len().min(4000);
            format!("the API server did not become ready; its log ends:\n{}", log.get(from..).unwrap_or(&log))
        })?;
        Ok(())
    }
}

/// Returns the program of API servers, built when it is not there yet.
///
/// # Errors
/// When Go is absent or the build fails.
pub fn program() -> anyhow::Result<PathBuf> {
    Module::of("tests/apiserver").program("apiserver", "apiserver")
}

/// A server of a whole test binary.
struct Shared {
    controllers: Controllers,
    server: OnceLock<ApiServer>,
    starting: tokio::sync::Mutex<()>,
}

impl Shared {
    const fn of(controllers: Controllers) -> Self {
        Self { controllers, server: OnceLock::new(), starting: tokio::sync::Mutex::const_new(()) }
    }

    async fn get(&'static self) -> anyhow::Result<&'static ApiServer> {
        let _one_at_a_time = self.starting.lock().await;
        if let Some(server) = self.server.get() {
            return Ok(server);
        }
        // A static is never dropped: the server ends and removes its folder when this process ends.
        let server = ApiServer::start_with(self.controllers.clone()).await?;
        Ok(self.server.get_or_init(|| server))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // The folder goes with it, so there is nothing to end in order for.
        let _ = self.kill();
    }
}

/// Returns a client for a kubeconfig file.
///
/// # Errors
/// When the file cannot be read or is no kubeconfig.
pub async fn client_of(kubeconfig: &Path) -> anyhow::Result<kube::Client> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// Asks again and again until the answer is there.
///
/// # Errors
/// With the first error of the question, or when `limit` has passed.
pub async fn until<T>(
    limit: Duration,
    mut question: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = question().await? {
            return Ok(answer);
        }
        if begin.elapsed() > limit {
            bail!("not so after {} s", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Splits a YAML text into its documents as JSON; empty ones are left out.
///
/// # Errors
/// When a document is not YAML.
pub fn documents(yaml: &str) -> anyhow::Result<Vec<serde_json::Value>> {
    let mut all = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let value = serde_json::Value::deserialize(document)?;
        if !value.is_null() {
            all.push(value);
        }
    }
    Ok(all)
}

fn describe(document: &serde_json::Value) -> String {
    let text = |path: &str| document.pointer(path).and_then(|v| v.as_str()).unwrap_or_default();
    format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

async fn api_of(client: &kube::Client, object: &DynamicObject) -> anyhow::Result<Api<DynamicObject>> {
    let types = object.types.as_ref().context("no apiVersion and kind")?;
    let (resource, capabilities) =
        pinned_kind(client, &GroupVersionKind::try_from(types)?).await.context("the kind is not served")?;
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    })
}

/// Applies every document of a YAML text, as [`ApiServer::apply`] does.
pub(crate) async fn apply(client: &kube::Client, yaml: &str) -> anyhow::Result<()> {
    for document in documents(yaml)? {
        let what = describe(&document);
        apply_one(client, document).await.with_context(|| format!("cannot apply {what}"))?;
    }
    Ok(())
}

async fn apply_one(client: &kube::Client, document: serde_json::Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(document)?;
    let api = api_of(client, &object).await?;
    let name = object.metadata.name.as_deref().context("no name")?;
    api.patch(name, &PatchParams::apply("pilothouse-tests").force(), &Patch::Apply(&object)).await?;
    if object.types.as_ref().is_some_and(|t| t.kind == "CustomResourceDefinition") {
        await_served(client, name).await?;
    }
    Ok(())
}

async fn delete_one(client: &kube::Client, document: serde_json::Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(document)?;
    let api = api_of(client, &object).await?;
    let name = object.metadata.name.as_deref().context("no name")?;
    let uid = api.get(name).await?.metadata.uid;
    api.delete(name, &Default::default()).await?;
    // Another object of the same name may be there by then.
    let is_gone = async || {
        let found = api.get_opt(name).await?;
        Ok(found.is_none_or(|object| object.metadata.uid != uid).then_some(()))
    };
    until(LIMIT, is_gone).await
}

/// Awaits that the API server serves what a definition defines, in every version.
async fn await_served(client: &kube::Client, definition: &str) -> anyhow::Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let served = until(LIMIT, async || {
        let crd = definitions.get(definition).await?;
        let conditions = crd.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let is_true = |kind: &str| conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        Ok((is_true("Established") && is_true("NamesAccepted")).then_some(crd))
    })
    .await
    .with_context(|| format!("the definition {definition} is not established"))?;
    for version in served.spec.versions.iter().filter(|v| v.served) {
        let gvk = GroupVersionKind::gvk(&served.spec.group, &version.name, &served.spec.names.kind);
        until(LIMIT, async || Ok(pinned_kind(client, &gvk).await.ok()))
            .await
            .with_context(|| format!("{definition} is not served as {}", version.name))?;
    }
    Ok(())
}
