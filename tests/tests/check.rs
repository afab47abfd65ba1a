//! `pilothouse check` against a real API server: before an installation, beside istiod, and after it.

use anyhow::{Context, ensure};
use clap::{CommandFactory, FromArgMatches, Parser};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use pilothouse_tests::apiserver::{ApiServer, LIMIT, known_crds, until};
use pilothouse_tests::helm::{account, chart, render, render_pilothouse};
use pilothouse_tests::program::program;
use runtime::config::ServeArgs;
use runtime::serve::Daemon;
use serde_json::{Value, json};
use std::path::Path;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[derive(Parser)]
struct Serve {
    #[command(flatten)]
    serve: ServeArgs,
}

/// Runs the command; returns its status, and what it prints.
async fn run(kubeconfig: &Path, namespace: &str, more: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let mut command = Command::new(program()?);
    command.arg("check").arg("--kubeconfig").arg(kubeconfig).args(["--namespace", namespace]).args(more);
    let output = timeout(LIMIT, command.env_clear().kill_on_drop(true).output()).await??;
    let errors = String::from_utf8(output.stderr)?;
    ensure!(errors.is_empty() || output.stdout.is_empty(), "{errors}");
    Ok((output.status.code(), String::from_utf8(output.stdout)? + &errors))
}

/// Runs it for programs; returns its status, and level and message of each finding about each subject.
async fn check(
    kubeconfig: &Path,
    namespace: &str,
    more: &[&str],
) -> anyhow::Result<(Option<i32>, Vec<[String; 3]>)> {
    let (status, text) = run(kubeconfig, namespace, &[more, &["-o", "json"]].concat()).await?;
    let list: Vec<Value> = serde_json::from_str(&text).with_context(|| text.clone())?;
    let word = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let findings = list.iter().map(|of| ["subject", "level", "message"].map(|key| word(of, key)));
    Ok((status, findings.collect()))
}

fn has(all: &[[String; 3]], subject: &str, level: &str, part: &str) -> bool {
    all.iter().any(|[of, at, message]| of == subject && at == level && message.contains(part))
}

#[tokio::test(flavor = "multi_thread")]
async fn before_an_installation_it_tells_what_is_missing_and_what_is_in_the_way() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let system = server.namespace("mesh").await?;
    let config = server.kubeconfig();
    let (status, all) = check(&config, &system, &[]).await?;
    assert_eq!(status, Some(0), "{all:#?}");
    for (subject, level, part) in [
        ("definitions of kinds", "warning", "authorizationpolicies.security.istio.io"),
        ("definitions of kinds", "warning", "httproutes.gateway.networking.k8s.io"),
        ("rights to install", "ok", "all 12"),
        ("names", "ok", "nothing in namespace"),
        ("root of certificates", "info", "one will be made"),
    ] {
        assert!(has(&all, subject, level, part), "{subject} {level} {part}: {all:#?}");
    }
    for definition in render(&chart("base"), &system, &json!({}))?.definitions {
        server.apply(&definition.to_string()).await?;
    }
    for definition in tokio::task::spawn_blocking(known_crds).await??.gateway_experimental {
        server.apply(&serde_yaml::to_string(&definition)?).await?;
    }
    let (_, all) = check(&config, &system, &[]).await?;
    assert!(has(&all, "definitions of kinds", "ok", "are there"), "{all:#?}");

    // An account that may not, and says what of it.
    let reader = server.kubeconfig_of(&system, "default").await?;
    let (status, text) = run(&reader, &system, &[]).await?;
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("error    rights to install: this user may not create customresourcedefinitions"),
        "{text}"
    );
    assert!(text.contains("warning  rights of this user: cannot read deployments"), "{text}");

    // istiod, as its chart leaves it.
    let labels = json!({"app": "istiod", "istio.io/rev": "default"});
    let release = json!({"meta.helm.sh/release-name": "istiod", "meta.helm.sh/release-namespace": system});
    let metadata =
        |name: &str| json!({"name": name, "namespace": system, "labels": labels, "annotations": release});
    let pod = json!({"containers": [{"name": "discovery", "image": "docker.example/pilot:1.30.0"}]});
    let now = k8s_openapi::jiff::Timestamp::now();
    for object in [
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("istiod"),
               "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata("istiod"), "spec": {"ports": [{"port": 443}]}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
               "metadata": {"name": "istio-sidecar-injector", "labels": labels},
               "webhooks": [{"name": "namespace.sidecar-injector.istio.io", "sideEffects": "None",
                             "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
                             "clientConfig": {"service": {"name": "istiod", "namespace": system, "path": "/inject"}}}]}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"name": "istio-status-leader", "namespace": system},
               "spec": {"holderIdentity": "istiod-7", "leaseDurationSeconds": 3000, "renewTime": format!("{now:.6}")}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "legacy", "labels": {"istio-injection": "enabled"}}}),
    ] {
        server.apply(&object.to_string()).await?;
    }
    let (status, all) = check(&config, &system, &[]).await?;
    assert_eq!(status, Some(1), "{all:#?}");
    for (subject, level, part) in [
        ("other control planes", "error", "istiod runs as Deployment"),
        ("names", "error", "Service istiod is of release istiod"),
        ("locks", "info", "Lease istio-status-leader is held by istiod-7"),
        ("webhooks", "error", "injects sidecars, which nobody does then"),
        ("sidecars", "warning", "namespace legacy asks for them"),
    ] {
        assert!(has(&all, subject, level, part), "{subject} {level} {part}: {all:#?}");
    }
    // Another revision goes beside it.
    let (_, all) = check(&config, &system, &["--revision", "blue"]).await?;
    assert!(has(&all, "other control planes", "warning", "istiod runs as Deployment"), "{all:#?}");
    assert!(has(&all, "names", "ok", "") || !all.iter().any(|of| of[0] == "names"), "{all:#?}");

    // Nobody there at all.
    let mut gone = server;
    gone.stop().await?;
    let (status, text) = run(&config, &system, &[]).await?;
    assert_eq!(status, Some(1), "{text}");
    assert!(text.starts_with("error: cannot ask the API server at "), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_installation_it_tells_what_works_and_why_not() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let system = server.namespace("mesh").await?;
    let base = render(&chart("base"), &system, &json!({}))?;
    let rendered = render_pilothouse(&system, &json!({}))?;
    for object in base.definitions.iter().chain(&base.objects).chain(&rendered.objects) {
        server.apply(&object.to_string()).await?;
    }
    let config = server.kubeconfig();
    let (status, all) = check(&config, &system, &[]).await?;
    assert_eq!(status, Some(1), "{all:#?}");
    for (subject, level, part) in [
        ("replicas", "error", "0 of 2 of Deployment"),
        ("replicas", "error", "there are no pods"),
        ("root of certificates", "error", "no root is active, or none is published"),
        ("webhooks", "error", "does not trust its root"),
        ("clients", "info", "no replica was asked"),
    ] {
        assert!(has(&all, subject, level, part), "{subject} {level} {part}: {all:#?}");
    }

    // A replica, as its account, and what the Deployment would say of it.
    let flags = Serve::command();
    let flags = flags.get_arguments().filter_map(clap::Arg::get_long);
    let ports = flags.filter(|flag| flag.ends_with("-addr")).map(|flag| format!("--{flag}=127.0.0.1:0"));
    let kubeconfig = account(&server, &system).await?;
    let of = [
        "serve".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--system-namespace={system}"),
    ];
    let matches = Serve::command().try_get_matches_from(of.into_iter().chain(ports))?;
    let daemon = Daemon::prepare(&ServeArgs::from_arg_matches(&matches)?).await?;
    let (monitoring, webhook) =
        (daemon.monitoring_addr().to_string(), daemon.webhook_addr().context("no webhook")?);
    let stop = CancellationToken::new();
    let running = tokio::spawn(daemon.run(stop.clone()));
    let client = server.client().await?;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &system);
    until(LIMIT, async || Ok(maps.get_opt("istio-ca-root-cert").await?))
        .await
        .context("no root is published")?;
    let deployments = Api::<k8s_openapi::api::apps::v1::Deployment>::namespaced(client.clone(), &system);
    let ready = json!({"status": {"replicas": 2, "readyReplicas": 2}});
    deployments.patch_status("istiod", &PatchParams::default(), &Patch::Merge(ready)).await?;
    let unseen = until(LIMIT, async || {
        let (status, all) = check(&config, &system, &["--server", &monitoring]).await?;
        let trusts = !has(&all, "webhooks", "error", "");
        Ok(trusts.then_some((status, all)))
    });
    let (status, all) = unseen.await.context("the webhooks are not kept")?;
    assert_eq!(status, Some(0), "{all:#?}");
    for (subject, level, part) in [
        ("replicas", "ok", "2 of 2"),
        ("root of certificates", "ok", "ends in 36"),
        ("webhooks", "warning", "was not seen to be asked"),
        ("clients", "warning", "none is connected"),
        ("certificates of the replica", "ok", "serving"),
    ] {
        assert!(has(&all, subject, level, part), "{subject} {level} {part}: {all:#?}");
    }

    // Where API servers reach it.
    let configs =
        Api::<k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration>::all(client);
    for name in ["istiod-default-validator".to_owned(), format!("istio-validator-{system}")] {
        let edit: Value = json!([
            {"op": "remove", "path": "/webhooks/0/clientConfig/service"},
            {"op": "add", "path": "/webhooks/0/clientConfig/url", "value": format!("https://localhost:{}/validate", webhook.port())},
        ]);
        let edit = Patch::Json::<()>(serde_json::from_value(edit)?);
        configs.patch(&name, &PatchParams::default(), &edit).await?;
    }
    let works = until(LIMIT, async || {
        let (status, text) = run(&config, &system, &["--server", &monitoring]).await?;
        let count = text.matches(", works and fails closed").count();
        Ok((count == 2).then_some((status, text)))
    });
    let (status, text) = works.await.context("the webhooks do not fail closed")?;
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.lines().all(|line| ["ok ", "info ", "warning "].iter().any(|level| line.starts_with(level))),
        "{text}"
    );
    stop.cancel();
    timeout(LIMIT, running).await.context("it does not stop")?.map_err(Into::into)
}
