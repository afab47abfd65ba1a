//! `pilothouse version`, `pilothouse completions`, `pilothouse man`, and the command as a plugin of kubectl.

use super::{Server, bookinfo, run};
use anyhow::ensure;
use serde_json::{Value, json};
use std::net::TcpListener;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn versions_text() -> String {
    format!("client {VERSION}\nserver {VERSION}\n")
}

#[tokio::test]
async fn versions_of_the_command_and_of_a_server_are_told() -> anyhow::Result<()> {
    let output = run(["version"]).await?;
    assert_eq!(String::from_utf8(output.stdout)?, format!("client {VERSION}\n"));
    let server = Server::of_folder(&bookinfo()).await?;
    let output = run(["version", "--server", &server.monitoring]).await?;
    ensure!(output.status.success() && output.stderr.is_empty());
    assert_eq!(String::from_utf8(output.stdout)?, versions_text());
    let output = run(["version", "-o", "json", "--server", &server.monitoring]).await?;
    let versions: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(versions, json!({"client": VERSION, "server": VERSION}));

    // As in a container of the server, whose variable says where it listens.
    for (args, expected) in
        [(&["version"][..], format!("client {VERSION}\n")), (&["version", "--server"][..], versions_text())]
    {
        let mut command = super::command(args)?;
        let listens = server.monitoring.replace("127.0.0.1", "0.0.0.0");
        let output = command.env("PILOTHOUSE_MONITORING_ADDR", listens).output().await?;
        assert_eq!(String::from_utf8(output.stdout)?, expected);
    }

    // Another port of the same process, and one that nobody has.
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    for address in [&server.xds, &server.health, &closed] {
        let output = run(["version", "--server", address]).await?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with(&format!("error: cannot ask the control plane at {address}")), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    Ok(())
}

#[tokio::test]
async fn shells_are_told_how_to_complete() -> anyhow::Result<()> {
    for (shell, expected) in [
        ("bash", "complete -F _pilothouse"),
        ("zsh", "#compdef pilothouse"),
        ("fish", "complete -c pilothouse"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let output = run(["completions", shell]).await?;
        let script = String::from_utf8(output.stdout)?;
        ensure!(output.status.success() && output.stderr.is_empty(), "{shell}");
        assert!(script.contains(expected) && script.contains("trusted-node-accounts"), "{shell}: {script}");
    }
    // bash itself understands what is for it.
    let script = String::from_utf8(run(["completions", "bash"]).await?.stdout)?;
    let words = "COMP_WORDS=(pilothouse dump s); COMP_CWORD=2; _pilothouse pilothouse s dump; echo \"${COMPREPLY[@]}\"";
    let shell =
        tokio::process::Command::new("bash").arg("-c").arg(format!("{script}\n{words}")).output().await?;
    let completed = String::from_utf8(shell.stdout)?;
    assert_eq!(completed.trim(), "services status", "{}", String::from_utf8_lossy(&shell.stderr));
    Ok(())
}

#[tokio::test]
async fn the_manual_has_a_page_for_each_command() -> anyhow::Result<()> {
    let output = run(["man"]).await?;
    let page = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success() && page.starts_with(".ie") && page.contains("pilothouse\\-dump"),
        "{page}"
    );
    let dir = tempfile::tempdir()?;
    let output = run(["man", "--dir", dir.path().to_str().unwrap_or_default()]).await?;
    ensure!(output.status.success());
    for name in ["pilothouse", "pilothouse-serve", "pilothouse-cert-request"] {
        let page = std::fs::read_to_string(dir.path().join(format!("{name}.1")))?;
        assert!(page.contains("SYNOPSIS"), "{name}: {page}");
    }
    let output = run(["man", "--dir", "/nowhere"]).await?;
    let errors = String::from_utf8(output.stderr)?;
    assert!(!output.status.success() && errors.contains("/nowhere") && errors.contains("--dir"), "{errors}");
    Ok(())
}
