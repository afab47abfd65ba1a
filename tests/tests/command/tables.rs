//! Tables as a person sees them: what fits, what is in full, what is missing.

use super::{Server, bookinfo, command, dump};
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::LIMIT;
use std::fs;
use std::path::Path;
use std::process::Output;
use tokio::time::timeout;

/// A mesh with a service of thirty addresses, and a zone that plays with terminals.
fn wide() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let addresses: Vec<String> = (1..=30).map(|n| format!("192.0.2.{n}")).collect();
    let entry = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: many, namespace: shop}}\n\
         spec:\n  hosts: [many.example.com]\n  addresses: [{}]\n  resolution: STATIC\n  \
         ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints: [{{address: 198.51.100.1}}]\n",
        addresses.join(", ")
    );
    let node = "apiVersion: v1\nkind: Node\nmetadata:\n  name: n1\n  labels: \
                {topology.kubernetes.io/zone: \"a\\e[2J\\nINFO forged\"}\n---\n\
                apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\n\
                spec: {nodeName: n1, serviceAccountName: web, containers: [{name: web, image: web}]}\n\
                status: {podIP: 10.0.0.1}\n";
    fs::write(folder.path().join("entry.yaml"), entry)?;
    fs::write(folder.path().join("node.yaml"), node)?;
    Ok(folder)
}

/// Runs `dump` as in a terminal of so many columns.
async fn in_columns(columns: usize, from: &Path, args: &[&str]) -> anyhow::Result<Output> {
    let mut command = command(["dump"].iter().chain(args))?;
    let output = command.arg("--from").arg(from).env("COLUMNS", columns.to_string()).output();
    timeout(LIMIT, output).await.context("the command does not end")?.context("cannot run the command")
}

#[tokio::test]
async fn a_table_fits_the_terminal_and_says_what_it_has_no_room_for() -> anyhow::Result<()> {
    for from in [bookinfo(), wide()?.keep()] {
        for view in super::VIEWS {
            for columns in [20, 40, 80, 100, 132, 400] {
                let output = in_columns(columns, &from, &[view]).await?;
                let table = String::from_utf8(output.stdout)?;
                for line in table.lines() {
                    ensure!(line.chars().count() <= columns, "{view} in {columns}: {line}");
                }
                ensure!(!table.is_empty(), "{view} in {columns}");
                let heads = table.lines().next().unwrap_or_default().split_whitespace().count();
                let errors = String::from_utf8(output.stderr)?;
                if columns == 400 {
                    ensure!(heads >= 4 && !errors.contains("no room"), "{table}{errors}");
                }
                if view == "workloads" && columns == 40 {
                    ensure!(errors.contains("no room for ") && errors.contains("-o wide"), "{errors}");
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn thirty_addresses_are_a_count_in_a_table_and_all_there_elsewhere() -> anyhow::Result<()> {
    let folder = wide()?;
    let from = folder.path().to_str().context("a path of text")?;
    let shown = |args: &'static [&'static str]| async move {
        let output = super::run(["dump", "services", "--from", from].iter().chain(args)).await?;
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let table = shown(&[]).await?;
    let row = table.lines().nth(1).context("a row")?;
    assert!(row.contains("192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4 +26 more"), "{table}");
    assert!(!row.contains("192.0.2.5"), "{table}");
    for format in ["wide", "json", "yaml"] {
        let args: &'static [&'static str] = match format {
            "wide" => &["-o", "wide"],
            "json" => &["-o", "json"],
            _ => &["-o", "yaml"],
        };
        let text = shown(args).await?;
        assert!((1..=30).all(|n| text.contains(&format!("192.0.2.{n}"))), "{format}: {text}");
    }
    let output = in_columns(90, folder.path(), &["services"]).await?;
    let table = String::from_utf8(output.stdout)?;
    assert!(table.contains("192.0.2.1") && table.contains(" more"), "{table}");
    Ok(())
}

#[tokio::test]
async fn nothing_from_outside_writes_its_own_line_or_moves_the_cursor() -> anyhow::Result<()> {
    let folder = wide()?;
    // Principals are any text; what an API server would refuse does not come so far.
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\n\
                  spec: {rules: [{from: [{source: {principals: [\"a\\e[2J\\nINFO forged\"]}}]}]}\n";
    fs::write(folder.path().join("policy.yaml"), policy)?;
    for output in [vec!["policies"], vec!["policies", "-o", "wide"]] {
        let output = in_columns(200, folder.path(), &output).await?;
        let (table, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        assert_eq!(table.lines().count(), 2, "{table:?}");
        assert!(!table.contains('\u{1b}') && !errors.contains('\u{1b}'), "{table:?}, {errors:?}");
        assert!(errors.contains("a\\u{1b}[2J\\nINFO forged"), "{errors:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_namespace_without_anything_is_told_with_the_one_that_was_meant() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    for source in [["--server", server.xds.as_str()], ["--from", from]] {
        for (args, told) in [
            (["services", "-n", "bookinf"], "a namespace \"bookinf\"; did you mean \"bookinfo\"?"),
            (["nodes", "-n", "xyz\u{1b}"], "a namespace \"xyz\\u{1b}\"; there are \"bookinfo\", \""),
            (["policies", "-n", "outside"], "namespace \"outside\" has no policies"),
        ] {
            let output = super::run(["dump"].iter().chain(&args).chain(&source)).await?;
            let (table, errors) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
            assert!(output.status.success() && table.lines().count() == 1, "{args:?}: {table}");
            assert!(errors.contains(told) && errors.lines().count() == 1, "{args:?}: {errors}");
        }
    }
    // What is there needs no word.
    dump(&["services", "-n", "bookinfo", "--from", from]).await?;
    Ok(())
}

#[tokio::test]
async fn a_view_has_the_names_that_kubectl_has_and_one_that_is_not_there_suggests_another()
-> anyhow::Result<()> {
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    for (short, view) in
        [("svc", "services"), ("pods", "workloads"), ("policy", "policies"), ("node", "nodes")]
    {
        assert_eq!(dump(&[short, "--from", from]).await?, dump(&[view, "--from", from]).await?);
    }
    let output = super::run(["dump", "servces"]).await?;
    let errors = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2));
    assert!(errors.contains("similar value exists: 'services'"), "{errors}");
    Ok(())
}
