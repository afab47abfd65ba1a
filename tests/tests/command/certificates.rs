//! `pilothouse token` and `pilothouse cert`, against a server with a state folder.

use super::{Server, run, text};
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::LIMIT;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const PODS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {serviceAccountName: web, nodeName: laptop, containers: [{name: web, image: web}]}
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: shop}
spec: {serviceAccountName: api, nodeName: elsewhere, containers: [{name: api, image: api}]}
";

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

/// A server of a folder with two pods, and its state folder.
struct Laptop {
    dir: tempfile::TempDir,
    server: Server,
    address: String,
}

impl Laptop {
    async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (manifests, state) = (dir.path().join("manifests"), dir.path().join("state"));
        fs::create_dir(&manifests)?;
        fs::write(manifests.join("pods.yaml"), PODS)?;
        let args = [
            "--from".as_ref(),
            manifests.as_os_str(),
            "--state-dir".as_ref(),
            state.as_os_str(),
            "--renewal-by-certificate=all".as_ref(),
        ];
        let mut server = Server::start(args).await?;
        let is_it = |line: &serde_json::Value| text(line, "message") == "the secure port is open";
        let open = server.until_line("that the secure port is open", is_it).await?;
        let address = text(&open, "address").to_owned();
        Ok(Self { dir, server, address })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command with the state folder; returns whether it succeeds, and what it says.
    async fn run(&self, args: &[&str]) -> anyhow::Result<(bool, String)> {
        let state = self.path("state");
        let state = state.to_str().context("a path of text")?;
        said(&[args, &["--state-dir", state]].concat()).await
    }

    async fn request(&self, args: &[&str]) -> anyhow::Result<(bool, String)> {
        self.run(&[&["cert", "request", "--server", &self.address], args].concat()).await
    }
}

/// Runs a command; returns whether it succeeds, and what it prints or complains of.
async fn said(args: &[&str]) -> anyhow::Result<(bool, String)> {
    let output = run(args).await?;
    let (out, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
    ensure!(out.is_empty() || errors.is_empty(), "{args:?}: {out}{errors}");
    Ok((output.status.success(), out + &errors))
}

fn mode(path: &Path) -> anyhow::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

#[tokio::test]
async fn a_token_is_enough_for_a_certificate_whose_key_stays_private() -> anyhow::Result<()> {
    let laptop = Laptop::start().await?;
    let (good, token) = laptop.run(&["token", "--node", "laptop"]).await?;
    ensure!(good && token.ends_with('\n') && token.trim().split('.').count() == 3, "{token}");
    let (token_file, out) = (laptop.path("token"), laptop.path("out"));
    fs::write(&token_file, token)?;
    // A key of before that others can read.
    fs::create_dir(&out)?;
    fs::write(out.join("key.pem"), "old")?;
    fs::set_permissions(out.join("key.pem"), fs::Permissions::from_mode(0o644))?;

    let [token_file, folder] = [&token_file, &out].map(|path| path.display().to_string());
    let asked = ["--token-file", &token_file, "--identity", WEB, "--life", "2h", "--out", &folder];
    let (good, shown) = laptop.request(&asked).await?;
    ensure!(good && shown.contains(&format!("identity {WEB}")) && shown.contains("left"), "{shown}");
    let chain = out.join("cert-chain.pem");
    let [chain, key] = [chain, out.join("key.pem")].map(|path| path.display().to_string());
    let (_, inspected) = said(&["cert", "inspect", &chain]).await?;
    // All but the time that is left, of which some has passed.
    let lasting =
        |text: &str| text.lines().filter_map(|line| line.split(", ").next()).collect::<Vec<_>>().join("\n");
    let is_same = lasting(&shown).starts_with(&lasting(&inspected));
    ensure!(inspected.starts_with("leaf ") && is_same, "{shown}\nis not\n{inspected}");
    assert_eq!(mode(&out.join("key.pem"))?, 0o600);
    assert_eq!(mode(&out.join("root-cert.pem"))?, 0o644);
    let mut left: Vec<_> = fs::read_dir(&out)?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
    left.sort();
    assert_eq!(left, ["cert-chain.pem", "key.pem", "root-cert.pem"]);
    let (_, metrics) = super::get(&laptop.server.monitoring, "/metrics").await?;
    ensure!(metrics.lines().any(|line| line == "pilothouse_certificate_seconds_count 1"), "{metrics}");

    // The key fits: by it and the chain the workload asks for its next certificate. The flag has its old name, too.
    let roots = out.join("root-cert.pem").display().to_string();
    let renew = ["cert", "request", "--address", &laptop.address, "--roots", &roots];
    let (good, renewed) =
        said(&[&renew[..], &["--client-cert", &chain, "--client-key", &key]].concat()).await?;
    ensure!(good && renewed.contains(WEB), "{renewed}");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_of_a_token_or_a_certificate_is_refused_with_a_sentence() -> anyhow::Result<()> {
    for (args, told) in [
        (&["cert", "request", "--life", "0s"][..], "\"0s\" is shorter than 1s"),
        (&["cert", "request", "--token-life", "999ms"][..], "\"999ms\" is shorter than 1s"),
        (&["token", "--token-life", "0s"][..], "\"0s\" is shorter than 1s"),
        (
            &["token", "--namespace", "Shop"][..],
            "a namespace is called by lower-case letters, digits and `-`",
        ),
        (
            &["token", "--namespace", "shop/web"][..],
            "a namespace is called by lower-case letters, digits and `-`",
        ),
        (&["token", "--namespace", ""][..], "a namespace is called by lower-case letters, digits and `-`"),
        (&["token", "--service-account", "a b"][..], "a name has lower-case letters, digits, `-` and `.`"),
        (&["token", "--pod", "web_1"][..], "a name has lower-case letters, digits, `-` and `.`"),
    ] {
        let (good, errors) = said(args).await?;
        ensure!(!good && errors.contains(told) && errors.starts_with("error: "), "{args:?}: {errors}");
    }
    Ok(())
}

#[tokio::test]
async fn the_variable_that_a_server_listens_by_names_it_for_requests() -> anyhow::Result<()> {
    let laptop = Laptop::start().await?;
    let state = laptop.path("state").display().to_string();
    let mut command = super::command(["cert", "request", "--node", "laptop", "--state-dir", &state])?;
    // As in a container, where it listens on all addresses.
    let listens = laptop.address.replace("127.0.0.1", "0.0.0.0");
    let output = timeout(LIMIT, command.env("PILOTHOUSE_SECURE_ADDR", listens).output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_read_from_a_pipe() -> anyhow::Result<()> {
    let laptop = Laptop::start().await?;
    let roots = fs::read(laptop.path("state/ca/root-cert.pem"))?;
    let mut command = super::command(["cert", "inspect", "-"])?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("standard input is piped")?;
    input.write_all(&roots).await?;
    drop(input);
    let output = timeout(LIMIT, child.wait_with_output()).await??;
    let shown = String::from_utf8(output.stdout)?;
    ensure!(shown.starts_with("authority ") && shown.contains("O=cluster.local"), "{shown}");
    Ok(())
}

#[tokio::test]
async fn an_identity_of_another_node_is_refused_and_the_log_says_why() -> anyhow::Result<()> {
    let mut laptop = Laptop::start().await?;
    let api = "spiffe://cluster.local/ns/shop/sa/api";
    let out = laptop.path("out").display().to_string();
    let (good, errors) = laptop.request(&["--node", "laptop", "--identity", api, "--out", &out]).await?;
    ensure!(!good && errors.lines().count() == 1, "{errors}");
    let told = "refuses: request is not authenticated (gRPC status 16)";
    ensure!(errors.starts_with("error: ") && errors.contains(told), "{errors}");
    ensure!(!laptop.path("out").exists(), "nothing is written");
    let is_it = |line: &serde_json::Value| text(line, "requested") == api;
    let line = laptop.server.until_line("the refusal", is_it).await?;
    assert_eq!(text(&line, "reason"), "not_on_node");
    assert_eq!(text(&line, "caller"), "spiffe://cluster.local/ns/istio-system/sa/ztunnel");
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_shown_with_its_dates() -> anyhow::Result<()> {
    let laptop = Laptop::start().await?;
    let (good, shown) = laptop.request(&["--life", "2h", "--node", "laptop", "--identity", WEB]).await?;
    ensure!(good, "{shown}");
    let leaf = ca::Certificate::all_from_pem(&fs::read(laptop.path("state/ca/root-cert.pem"))?)?;
    let end = model::rfc3339(leaf[0].validity().not_after.as_secs());
    let valid: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("  valid    from ")).collect();
    ensure!(valid.len() == 2 && valid[1].ends_with(&format!(" to {end}")), "{shown}");
    for line in valid {
        let times: Vec<&str> = line.split(" to ").collect();
        ensure!(times.len() == 2 && times.iter().all(|time| is_time(time)), "{line}");
    }
    ensure!(shown.contains("  life     2 h") && shown.contains(" left\n"), "{shown}");

    let view: serde_json::Value =
        serde_json::from_str(&super::get(&laptop.server.monitoring, "/debug/identityz").await?.1)?;
    assert_eq!(view["roots"][0]["notAfter"], end);
    assert!(view["signing"]["notBefore"].as_str().is_some_and(is_time), "{view}");
    Ok(())
}

/// Tells whether a text is a time such as `2026-11-28T21:00:00Z`.
fn is_time(text: &str) -> bool {
    let form = |c: char| if c.is_ascii_digit() { '0' } else { c };
    text.chars().map(form).collect::<String>() == "0000-00-00T00:00:00Z"
}

#[tokio::test]
async fn what_only_reads_writes_nothing() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (nope, empty) = (path("nope"), path("empty"));
    fs::create_dir(&empty)?;
    let token = path("token");
    fs::write(&token, "token")?;
    for (state, told) in [(&nope, "there is no folder"), (&empty, "holds no key for tokens")] {
        let (good, errors) = said(&["token", "--state-dir", state]).await?;
        ensure!(!good && errors.contains(told) && errors.contains(state.as_str()), "{errors}");
    }
    for (state, told) in [(&nope, "there is no folder"), (&empty, "root-cert.pem")] {
        for args in [&["--token-file", &token][..], &[]] {
            let request = [&["cert", "request", "--state-dir", state.as_str()], args].concat();
            let (good, errors) = said(&request).await?;
            ensure!(!good && errors.contains(told) && errors.lines().count() == 1, "{errors}");
        }
    }
    for command in [&["dump", "--from"][..], &["cert", "inspect"]] {
        let (good, errors) = said(&[command, &[nope.as_str()]].concat()).await?;
        ensure!(!good && errors.contains(&nope), "{errors}");
    }
    ensure!(!Path::new(&nope).exists() && fs::read_dir(&empty)?.next().is_none(), "something was written");
    assert_eq!(fs::read_dir(dir.path())?.count(), 2);
    Ok(())
}

#[tokio::test]
async fn what_is_missing_or_no_certificate_is_named() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (file, missing, below) = (path("file"), path("missing"), path("file/state"));
    fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    fs::write(path("text"), "no certificate")?;
    let text = path("text");
    for (args, expected) in [
        (vec!["token"], "--state-dir"),
        (vec!["token", "--state-dir", &below], below.as_str()),
        (vec!["cert", "request"], "--roots"),
        (vec!["cert", "request", "--roots", &file], "--token-file"),
        (vec!["cert", "request", "--roots", &missing, "--token-file", &file], missing.as_str()),
        (vec!["cert", "request", "--roots", &text, "--token-file", &text], "cannot read the roots"),
        (vec!["cert", "inspect", &missing], missing.as_str()),
        (vec!["cert", "inspect", &text], "no certificate found"),
        (vec!["cert", "inspect", &file], "certificate 1 is not valid DER"),
        (vec!["cert", "inspect"], "no certificate found"),
    ] {
        let (good, errors) = said(&args).await?;
        ensure!(!good && errors.starts_with("error: ") && errors.contains(expected), "{args:?}: {errors}");
    }
    Ok(())
}
