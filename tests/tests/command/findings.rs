//! What is wrong with manifests, as the log of a server tells it: once, at its severity, with its place.

use super::{LIMIT, Server, edit, get, text};
use anyhow::Context;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use tokio::time::timeout;

impl Server {
    /// Returns the findings that are told until a line of the log: severity, code, and the text.
    async fn findings_until(
        &mut self,
        is_last: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Vec<(String, String, String)>> {
        let mut told = Vec::new();
        loop {
            let line = timeout(LIMIT, self.lines.recv()).await.context("the log ends too soon")?;
            let line = line.context("the log has ended")?;
            if line.get("code").is_some() {
                let part = |field| text(&line, field).to_owned();
                told.push((part("level"), part("code"), part("message")));
            }
            if is_last(&line) {
                return Ok(told);
            }
        }
    }
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{namespace: shop, name: {name}}}\nspec: {spec}\n"
    )
}

fn peer(name: &str, spec: &str) -> String {
    policy(name, spec).replace("AuthorizationPolicy", "PeerAuthentication")
}

/// Manifests with a finding each, in the order of their places: the level, the code, and of whom.
fn wrong() -> (String, Vec<(&'static str, &'static str, &'static str)>) {
    let deny = |source: &str, rest: &str| {
        format!("{{action: DENY, rules: [{{from: [{{source: {{{source}}}}}]{rest}}}]}}")
    };
    let waypoint = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {namespace: shop, name: wp}\n\
                    spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}\n\
                    status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}\n\
                    ---\napiVersion: v1\nkind: Service\n\
                    metadata: {namespace: shop, name: web, labels: {istio.io/use-waypoint: wp}}\n\
                    spec: {ports: [{port: 80}]}\n";
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
                 metadata: {namespace: shop, name: web-1, labels: {kubernetes.io/service-name: web}}\n\
                 addressType: IPv4\nports: [{name: http, port: 8080, protocol: TCP}]\n\
                 endpoints: [{addresses: [192.0.2.1]}]\n";
    let parts = [
        (("ERROR", "AP002", "action"), policy("action", "{action: ALOW, rules: [{}]}")),
        (("ERROR", "KO004", "field"), policy("field", "{Action: DENY, rules: [{}]}")),
        (("ERROR", "AP001", "port"), policy("port", "{rules: [{to: [{operation: {ports: [80]}}]}]}")),
        (("ERROR", "PA002", "mode"), peer("mode", "{mtls: {mode: strict}, selector: {matchLabels: {a: b}}}")),
        (
            ("ERROR", "AP101", "scheme"),
            policy("scheme", &deny("principals: [\"spiffe://td/ns/a/sa/b\"]", "")),
        ),
        (
            ("ERROR", "AP104", "methods"),
            policy("methods", &deny("namespaces: [shop]", ", to: [{operation: {methods: [GET]}}]")),
        ),
        (
            ("WARN", "AP109", "target"),
            policy("target", "{rules: [{}], targetRefs: [{group: '', kind: Service, name: absent}]}"),
        ),
        (
            ("ERROR", "AP111", "unenforced"),
            policy("unenforced", "{rules: [{}], targetRefs: [{group: '', kind: Service, name: web}]}"),
        ),
        (("", "", ""), peer("first", "{mtls: {mode: STRICT}}")),
        (("WARN", "PA005", "second"), peer("second", "{mtls: {mode: PERMISSIVE}}")),
        (("WARN", "WP007", "wp"), waypoint.to_owned()),
        (("WARN", "ES001", "web-1"), slice.to_owned()),
    ];
    let of = parts.iter().map(|(of, _)| *of).filter(|(level, ..)| !level.is_empty()).collect();
    (parts.map(|(_, text)| text).concat(), of)
}

#[tokio::test]
async fn findings_are_told_once_at_their_severity_with_file_and_line() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.yaml");
    let (manifests, wrong) = wrong();
    fs::write(&path, &manifests)?;
    // Waypoints are somebody else's.
    let args = [OsStr::new("--configure-waypoints=false"), OsStr::new("--from"), folder.path().as_os_str()];
    let mut server = Server::start(args).await?;
    let is_ready = |line: &Value| text(line, "message").starts_with("ready: ");
    let told = server.findings_until(is_ready).await?;
    for (level, code, name) in &wrong {
        let of: Vec<_> = told.iter().filter(|(_, told, _)| told == code).collect();
        let [(severity, _, message)] = of.as_slice() else { anyhow::bail!("{code}: {told:#?}") };
        assert_eq!(severity, level, "{message}");
        let place = format!("{}:", path.display());
        let line =
            message.strip_prefix(&place).and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        let line = line.with_context(|| format!("{message} has no place"))?;
        // The document of that line is the object's.
        let lines: Vec<&str> = manifests.lines().collect();
        let begin = lines[..line].iter().rposition(|line| *line == "---").unwrap_or_default();
        let document = lines[begin + 1..].split(|line| *line == "---").next().unwrap_or_default().join("\n");
        assert!(document.contains(&format!("name: {name}")), "{message}: {document}");
    }
    let codes: Vec<&String> = told.iter().map(|(_, code, _)| code).collect();
    assert_eq!(told.len(), wrong.len(), "{codes:?}");

    // What is shown has the places, too, and each finding once.
    let (_, page) = get(&server.monitoring, "/debug/diagnosticz").await?;
    assert_eq!(page.lines().count(), wrong.len(), "{page}");
    assert!(page.lines().all(|line| line.contains("shop.yaml:")), "{page}");

    // Edits that leave findings standing, on other lines, end and begin nothing.
    let marker = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{namespace: shop, name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        )
    };
    let is_changed = |line: &Value| text(line, "message").contains("marker.shop.svc");
    let moved = format!("# a comment\n{manifests}{}", marker("marker"));
    fs::write(&path, moved.replace("Action: DENY, rules: [{}]", "Action: DENY, rules: [{}, {}]"))?;
    let told = server.findings_until(is_changed).await?;
    assert_eq!(told, []);
    let (_, page) = get(&server.monitoring, "/debug/diagnosticz").await?;
    assert_eq!(page.lines().count(), wrong.len(), "{page}");
    Ok(())
}

#[tokio::test]
async fn what_stays_active_of_a_policy_under_a_wrong_kind_is_told() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.yaml");
    fs::write(&path, policy("deny", "{action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]}"))?;
    let mut server = Server::of_folder(folder.path()).await?;
    let before = super::dump(&["policies", "--server", &server.xds]).await?;
    edit(&path, "kind: AuthorizationPolicy", "kind: authorizationPolicy")?;
    let told = server.findings_until(|line| line.get("code").is_some()).await?;
    let [(level, code, message)] = told.as_slice() else { anyhow::bail!("{told:?}") };
    assert_eq!((level.as_str(), code.as_str()), ("ERROR", "KO005"), "{message}");
    assert!(
        message.contains("its last good version stays active") && !message.contains("denies"),
        "{message}"
    );
    assert_eq!(super::dump(&["policies", "--server", &server.xds]).await?, before);
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_emptied_is_told() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shop.yaml");
    fs::write(&path, policy("deny", "{action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]}"))?;
    let mut server = Server::of_folder(folder.path()).await?;
    fs::write(&path, "")?;
    let told = server.findings_until(|line| line.get("code").is_some()).await?;
    let [(level, code, message)] = told.as_slice() else { anyhow::bail!("{told:?}") };
    assert_eq!((level.as_str(), code.as_str()), ("WARN", "FO023"), "{message}");
    assert!(message.contains("removed: AuthorizationPolicy shop/deny"), "{message}");
    Ok(())
}

#[tokio::test]
async fn one_fault_is_one_finding() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let settings = |mesh: &str| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: istio-system, name: istio}}\ndata:\n  mesh: |\n    {mesh}\n"
        )
    };
    let workload = "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: shop, name: web}\n\
                    spec: {serviceAccountName: web, containers: [{name: web, image: web}]}\nstatus: {podIP: 10.0.0.1}\n";
    let source = |source: &str| policy("p", &format!("{{rules: [{{from: [{{source: {{{source}}}}}]}}]}}"));
    for (manifest, code) in [
        (source("namespaces: [Shop]"), "AP101"),
        (source("serviceAccounts: [shop/Web]"), "AP101"),
        (source("principals: [\"cluster.local/ns/shop/sa\"]"), "AP101"),
        (source("principals: [\"cluster.locl/ns/shop/sa/web\"]"), "AP110"),
        (source("namespaces: [shpo]"), "FO020"),
        (source("serviceAccounts: [shop/wbe]"), "FO020"),
        (settings("{discoverySelectors: 1}"), "MS001"),
        (settings("{serviceScopeConfigs: [{scope: ALL}]}"), "MS003"),
        (settings("{trustDomainAliases: ['*']}"), "MS005"),
        (settings("{trustdomain: a.test}"), "KO004"),
        (settings("{discoverySelectors: [{matchLables: {a: b}}]}"), "FO022"),
    ] {
        fs::write(folder.path().join("a.yaml"), format!("{manifest}{workload}"))?;
        let from = folder.path().to_str().context("a path of text")?;
        let output = super::run(["dump", "--from", from]).await?;
        let errors = String::from_utf8(output.stderr)?;
        let told: Vec<&str> = errors
            .lines()
            .filter_map(|line| line.split_once('[')?.1.split_once(']').map(|(code, _)| code))
            .collect();
        assert_eq!(told, [code], "{manifest}{errors}");
    }
    Ok(())
}
