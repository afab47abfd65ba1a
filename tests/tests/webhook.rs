//! The validation webhook, asked by a real API server, and by clients that mean it harm.

use anyhow::{Context, bail};
use clap::{CommandFactory, FromArgMatches, Parser};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::api::{Api, Patch, PatchParams};
use kube::client::Body;
use pilothouse_tests::apiserver::{ApiServer, LIMIT, until};
use pilothouse_tests::helm::{account, chart, render};
use pilothouse_tests::kubectl::Kubectl;
use pilothouse_tests::recorder::Recorder;
use runtime::config::ServeArgs;
use runtime::serve::Daemon;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = "istiod-default-validator";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    serve: ServeArgs,
}

/// An API server with the definitions of the base chart, and a namespace for the control plane.
struct Site {
    server: ApiServer,
    client: kube::Client,
    system: String,
    shop: String,
}

impl Site {
    async fn install() -> anyhow::Result<Self> {
        let server = ApiServer::start().await?;
        let (system, shop) = (server.namespace("mesh").await?, server.namespace("shop").await?);
        for definition in render(&chart("base"), &system, &json!({}))?.definitions {
            server.apply(&definition.to_string()).await?;
        }
        let client = server.client().await?;
        Ok(Self { server, client, system, shop })
    }

    fn configs(&self) -> Api<ValidatingWebhookConfiguration> {
        Api::all(self.client.clone())
    }

    /// Has objects of Istio's kinds validated at a port of this machine.
    async fn validate_at(&self, port: u16) -> anyhow::Result<()> {
        let rendered = render(&chart("base"), &self.system, &json!({}))?;
        let mut config = rendered.only("ValidatingWebhookConfiguration")?.clone();
        let metadata = json!({"name": CONFIG, "labels": config["metadata"]["labels"]});
        config["metadata"] = metadata;
        let entry = &mut config["webhooks"][0];
        entry["clientConfig"] = json!({"url": format!("https://localhost:{port}/validate")});
        // Those with the label, too: the probe is one.
        entry["objectSelector"] = json!({});
        self.server.apply(&config.to_string()).await
    }

    async fn entry(&self) -> anyhow::Result<(String, Vec<u8>)> {
        let config = self.configs().get(CONFIG).await?;
        let entry = config.webhooks.into_iter().flatten().next().context("no entry")?;
        let bundle = entry.client_config.ca_bundle.map(|bundle| bundle.0).unwrap_or_default();
        Ok((entry.failure_policy.unwrap_or_default(), bundle))
    }

    /// Waits until the entry has this policy and trusts what namespaces are told to trust.
    async fn until_kept(&self, policy: &str) -> anyhow::Result<Vec<u8>> {
        let maps = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(self.client.clone(), &self.shop);
        let is_kept = async || {
            let roots = maps.get_opt("istio-ca-root-cert").await?.and_then(|map| map.data);
            let roots = roots.and_then(|data| data.get("root-cert.pem").cloned()).unwrap_or_default();
            let (found, bundle) = self.entry().await?;
            Ok((found == policy && !roots.is_empty() && bundle == roots.as_bytes()).then_some(bundle))
        };
        until(LIMIT, is_kept).await.with_context(|| format!("the entry does not come to {policy}"))
    }

    /// Asks the API server to create an object for nothing; returns the status, what it says, and its warnings.
    async fn create(&self, kind: &str, spec: Value) -> anyhow::Result<(StatusCode, String, Vec<String>)> {
        let plural = format!("{}s", kind.to_lowercase()).replace("policys", "policies");
        let namespace = &self.shop;
        let uri = format!("/apis/security.istio.io/v1/namespaces/{namespace}/{plural}?dryRun=All");
        let object = json!({
            "apiVersion": "security.istio.io/v1", "kind": kind, "spec": spec,
            "metadata": {"name": "never-there", "namespace": namespace},
        });
        let body = Body::from(object.to_string().into_bytes());
        let request = Request::post(uri).header("content-type", "application/json").body(body)?;
        let response = self.client.send(request).await?;
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|text| Ok(text.to_str()?.to_owned())).collect::<anyhow::Result<_>>()?;
        let (status, body) = (response.status(), response.into_body().collect().await?.to_bytes());
        Ok((status, String::from_utf8(body.to_vec())?, warnings))
    }

    /// Waits until a good policy meets this fate: an API server learns late of configurations.
    async fn until_good_is(&self, wanted: StatusCode) -> anyhow::Result<String> {
        let meets = async || {
            let (status, said, _) = self.create("AuthorizationPolicy", good()).await?;
            Ok((status == wanted).then_some(said))
        };
        until(LIMIT, meets).await.with_context(|| format!("a good policy does not come to {wanted}"))
    }
}

fn good() -> Value {
    json!({"rules": [{"from": [{"source": {"namespaces": ["shop"]}}]}]})
}

fn bad() -> Value {
    json!({"action": "DENY", "rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.0/99"]}}]}]})
}

/// A running control plane.
struct Plane {
    webhook: SocketAddr,
    monitoring: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Plane {
    async fn start(site: &Site, kubeconfig: &Path, more: &[&str]) -> anyhow::Result<Self> {
        let command = Command::command();
        let flags = command.get_arguments().filter_map(clap::Arg::get_long);
        let ports = flags.filter(|flag| flag.ends_with("-addr")).map(|flag| format!("--{flag}=127.0.0.1:0"));
        let of = [
            "serve".to_owned(),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--system-namespace={}", site.system),
        ];
        let more = more.iter().map(|flag| (*flag).to_owned());
        let command = Command::command().args_override_self(true);
        let matches = command.try_get_matches_from(of.into_iter().chain(ports).chain(more))?;
        let daemon = Daemon::prepare(&ServeArgs::from_arg_matches(&matches)?).await?;
        let webhook = daemon.webhook_addr().context("no webhook")?;
        let monitoring = daemon.monitoring_addr();
        let stop = CancellationToken::new();
        let running = tokio::spawn(daemon.run(stop.clone()));
        Ok(Self { webhook, monitoring, stop, running })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        timeout(LIMIT, self.running).await.context("it does not stop")?.map_err(Into::into)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_objects_are_denied_in_words_and_good_ones_pass() -> anyhow::Result<()> {
    let site = Site::install().await?;
    let plane = Plane::start(&site, &site.server.kubeconfig(), &[]).await?;
    site.validate_at(plane.webhook.port()).await?;
    let roots = site.until_kept("Fail").await?;

    let (status, said, _) = site.create("AuthorizationPolicy", bad()).await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
    for part in [
        "denied the request: AuthorizationPolicy",
        "spec.rules[0].from[0].source.ipBlocks[0]",
        "(help: ",
        "[AP101]",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (status, said, warnings) = site.create("AuthorizationPolicy", good()).await?;
    assert_eq!((status, warnings.as_slice()), (StatusCode::CREATED, &[] as &[String]), "{said}");
    let audit = json!({"action": "AUDIT", "rules": [{}]});
    let (status, said, warnings) = site.create("AuthorizationPolicy", audit).await?;
    assert_eq!((status, warnings.len()), (StatusCode::CREATED, 1), "{said}");
    assert!(
        warnings[0].contains("a ztunnel cannot enforce AUDIT") && warnings[0].contains("AP105"),
        "{warnings:?}"
    );

    // As people see it.
    let file = site.server.dir().join("policy.yaml");
    let metadata = json!({"name": "web", "namespace": site.shop});
    let object = |spec: Value| json!({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec});
    let kubectl = Kubectl::of(&site.server.kubeconfig()).await?;
    let apply = async |spec: Value| {
        std::fs::write(&file, object(spec).to_string())?;
        kubectl.run([std::ffi::OsStr::new("apply"), "-f".as_ref(), file.as_os_str()]).await
    };
    let refusal = apply(bad()).await.err().context("kubectl applied a bad policy")?.to_string();
    assert!(refusal.contains("admission webhook \"validation.istio.io\" denied the request"), "{refusal}");
    assert!(refusal.contains("write one such as") || refusal.contains("help"), "{refusal}");
    assert!(apply(good()).await?.contains("created"));
    let refusal = apply(bad()).await.err().context("kubectl applied a bad change")?.to_string();
    assert!(refusal.contains("AP101"), "{refusal}");

    // What somebody else writes is put right, and nothing is written besides.
    let configs = site.configs();
    let edit = Patch::Json::<()>(serde_json::from_value(json!([
        {"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": k8s_openapi::ByteString(b"none".to_vec())},
        {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"},
    ]))?);
    configs.patch(CONFIG, &PatchParams::default(), &edit).await?;
    assert_eq!(site.until_kept("Fail").await?, roots);
    let settled = configs.get(CONFIG).await?.metadata.resource_version;

    // A control plane that is gone: closed, nothing passes; open, everything does.
    let port = plane.webhook.port();
    let scraped = scrape(plane.monitoring).await?;
    for sample in [
        "galley_validation_passed{group=\"security.istio.io\",version=\"v1\",resource=\"authorizationpolicies\"} ",
        "galley_validation_failed{group=\"security.istio.io\",version=\"v1\",resource=\"authorizationpolicies\",reason=\"invalid_resource\"} 2",
        "galley_validation_config_updates ",
    ] {
        assert!(scraped.contains(sample), "{sample} in {scraped}");
    }
    plane.stop().await?;
    assert_eq!(configs.get(CONFIG).await?.metadata.resource_version, settled);
    let said = site.until_good_is(StatusCode::INTERNAL_SERVER_ERROR).await?;
    assert!(said.contains("failed calling webhook"), "{said}");
    let open = json!({"webhooks": [{"name": "validation.istio.io", "failurePolicy": "Ignore"}]});
    configs.patch(CONFIG, &PatchParams::default(), &Patch::Strategic(open)).await?;
    site.until_good_is(StatusCode::CREATED).await?;

    // And one that comes back closes it again.
    let flag = format!("--webhook-addr=127.0.0.1:{port}");
    let plane = Plane::start(&site, &site.server.kubeconfig(), &[&flag]).await?;
    site.until_kept("Fail").await?;
    site.until_good_is(StatusCode::CREATED).await?;
    plane.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_closed_before_the_webhook_is_seen_to_work() -> anyhow::Result<()> {
    let site = Site::install().await?;
    // As the account of the chart: its rights are enough.
    let kubeconfig = account(&site.server, &site.system).await?;
    let recorder = Recorder::before(&kubeconfig, None).await?;
    let plane = Plane::start(&site, recorder.kubeconfig(), &[]).await?;
    // Where nobody is.
    let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    site.validate_at(unused).await?;
    site.until_kept("Ignore").await?;
    let probes = || {
        let asked = recorder.asked().into_iter();
        let probes = asked.filter(|asked| asked.method == "POST" && asked.path.contains("/telemetries"));
        probes.map(|asked| (asked.path.contains("dryRun=All"), asked.status)).collect::<Vec<_>>()
    };
    let some = until(LIMIT, async || Ok(Some(probes()).filter(|probes| probes.len() >= 4))).await?;
    assert!(some.iter().all(|probe| *probe == (true, 201)), "{some:?}");
    assert_eq!(site.entry().await?.0, "Ignore");
    site.until_good_is(StatusCode::CREATED).await?;

    let url = format!("https://localhost:{}/validate", plane.webhook.port());
    let edit = Patch::Json::<()>(serde_json::from_value(json!([
        {"op": "replace", "path": "/webhooks/0/clientConfig/url", "value": url},
    ]))?);
    site.configs().patch(CONFIG, &PatchParams::default(), &edit).await?;
    site.until_kept("Fail").await?;
    plane.stop().await?;

    // A configuration of another revision is left alone, and so is one while nobody is to keep any.
    let off = Plane::start(&site, &site.server.kubeconfig(), &["--validation-webhooks="]).await?;
    site.validate_at(off.webhook.port()).await?;
    let relabelled = json!({"metadata": {"labels": {"istio.io/rev": "blue"}}});
    let on = Plane::start(&site, recorder.kubeconfig(), &[]).await?;
    site.configs().patch(CONFIG, &PatchParams::default(), &Patch::Merge(relabelled)).await?;
    for plane in [off, on] {
        plane.stop().await?;
    }
    Ok(())
}

/// Returns the text of metrics.
async fn scrape(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_are_answered_and_end_nothing() -> anyhow::Result<()> {
    let site = Site::install().await?;
    let plane = Plane::start(&site, &site.server.kubeconfig(), &[]).await?;
    site.validate_at(plane.webhook.port()).await?;
    let roots = site.until_kept("Fail").await?;
    let uri = format!("https://localhost:{}/", plane.webhook.port()).parse()?;
    let mut config = kube::Config::new(uri);
    config.root_cert = Some(certificates(&roots)?);
    let https = kube::Client::try_from(config)?;
    let send = async |method: &str, path: &str, content: &str, body: Vec<u8>| -> anyhow::Result<u16> {
        let request = Request::builder().method(method).uri(path).header("content-type", content);
        let response =
            timeout(LIMIT, https.send(request.body(Body::from(body))?)).await.context("no answer")?;
        Ok(response?.status().as_u16())
    };
    let review = |object: &str| {
        format!(
            "{{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\", \"request\": {{\"uid\": \"1\", \
             \"operation\": \"CREATE\", \"kind\": {{\"group\": \"security.istio.io\", \"version\": \"v1\", \"kind\": \
             \"AuthorizationPolicy\"}}, \"object\": {object}}}}}"
        )
        .into_bytes()
    };
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let many: Vec<String> = (0..150_000).map(|n| format!("\"10.0.0.{n}/99\"")).collect();
    let many = format!(
        "{{\"metadata\": {{\"name\": \"a\", \"namespace\": \"b\"}}, \"spec\": {{\"rules\": [{{\"from\": [{{\"source\": \
         {{\"ipBlocks\": [{}]}}}}]}}]}}}}",
        many.join(",")
    );
    let json = "application/json";
    for _ in 0..3 {
        for (method, path, content, body, status) in [
            ("GET", "/validate", json, Vec::new(), 405),
            ("DELETE", "/validate/", json, b"{}".to_vec(), 405),
            ("POST", "/", json, b"{}".to_vec(), 404),
            ("POST", "/validate", "application/yaml", b"a: b".to_vec(), 415),
            ("POST", "/validate", json, Vec::new(), 400),
            ("POST", "/validate", json, b"not JSON".to_vec(), 400),
            ("POST", "/validate", json, vec![0; 100_000], 400),
            ("POST", "/validate", json, deep.clone().into_bytes(), 400),
            ("POST", "/validate", json, review(&deep), 200),
            ("POST", "/validate", json, review(&format!("{{\"spec\": {deep}}}")), 200),
            ("POST", "/validate", json, review(&many), 200),
            ("POST", "/inject", json, review("{}"), 200),
            ("GET", "/ready", json, Vec::new(), 200),
        ] {
            assert_eq!(send(method, path, content, body).await?, status, "{method} {path} {content}");
        }
    }
    // What is longer than what is read is cut; whether the answer comes through depends on who is quicker.
    for (content, status) in [("text/plain", 415), (json, 413)] {
        let request = Request::post("/validate").header("content-type", content);
        let sent = https.send(request.body(Body::from(vec![b' '; 16 << 20]))?);
        if let Ok(response) = timeout(LIMIT, sent).await.context("no answer")? {
            assert_eq!(response.status().as_u16(), status);
        }
    }
    // No TLS at all, and connections that say nothing while others are answered.
    let mut silent = Vec::new();
    for garbage in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 0xff, 0xff, 1], &[0xff; 4096]] {
        let mut stream = TcpStream::connect(plane.webhook).await?;
        stream.write_all(garbage).await?;
        silent.push(stream);
    }
    assert_eq!(send("GET", "/ready", json, Vec::new()).await?, 200);
    if plane.running.is_finished() {
        bail!("it ended");
    }
    let (status, said, _) = site.create("AuthorizationPolicy", bad()).await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{said}");
    plane.stop().await
}

/// Returns the certificates of a PEM text, as DER.
fn certificates(text: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(text).map(|der| Ok(der?.to_vec())).collect()
}
