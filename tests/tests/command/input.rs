//! Where `dump` reads from: folders, standard input, a variable.

use super::{Server, bookinfo, command, edit};
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::LIMIT;
use serde_json::Value;
use std::fs;
use std::process::{Output, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Runs `dump` with a text on standard input.
async fn piped(input: &[u8], args: &[&str]) -> anyhow::Result<Output> {
    let mut command = command(["dump", "--from", "-"].iter().chain(args))?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("standard input is piped")?;
    let input = input.to_vec();
    let written = tokio::spawn(async move {
        let _ = stdin.write_all(&input).await;
    });
    let output = timeout(LIMIT, child.wait_with_output()).await.context("the command does not end")??;
    written.await?;
    Ok(output)
}

/// The files of the example as one stream, as `kubectl kustomize` prints them.
fn stream() -> anyhow::Result<String> {
    let mut files: Vec<_> =
        fs::read_dir(bookinfo())?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.sort();
    let texts: Vec<String> = files.iter().map(fs::read_to_string).collect::<Result<_, _>>()?;
    Ok(texts.join("\n---\n"))
}

#[tokio::test]
async fn standard_input_shows_the_mesh_that_the_files_make() -> anyhow::Result<()> {
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    for view in super::VIEWS {
        let output = piped(stream()?.as_bytes(), &[view]).await?;
        let errors = String::from_utf8(output.stderr)?;
        ensure!(output.status.success() && errors.is_empty(), "{errors}");
        assert_eq!(String::from_utf8(output.stdout)?, super::dump(&[view, "--from", from]).await?);
    }
    Ok(())
}

#[tokio::test]
async fn standard_input_takes_the_json_of_kubectl_and_stands_beside_folders() -> anyhow::Result<()> {
    let json = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "piped", "namespace": "shop"},
         "spec": {"ports": [{"port": 80}]}}]}"#;
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    let output = piped(json.as_bytes(), &["services", "--from", from]).await?;
    let table = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains(" piped ") && table.contains(" productpage "), "{table}");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_standard_input_is_placed_in_it() -> anyhow::Result<()> {
    let broken = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: [Service\n";
    for (input, told) in [
        (broken.as_bytes(), "standard input:6:"),
        (b"", "error: standard input is empty"),
        (b" \n---\n\n", "error: standard input holds no manifest"),
        (b"a: \xff\n", "error: standard input is not text in UTF-8"),
    ] {
        let output = piped(input, &[]).await?;
        let errors = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(told) && errors.lines().count() == 1, "{told}: {errors}");
    }
    Ok(())
}

#[tokio::test]
async fn a_root_folder_that_vanishes_is_one_clear_line() -> anyhow::Result<()> {
    let around = tempfile::tempdir()?;
    let (root, away) = (around.path().join("manifests"), around.path().join("away"));
    fs::create_dir(&root)?;
    for entry in fs::read_dir(bookinfo())? {
        let entry = entry?;
        fs::copy(entry.path(), root.join(entry.file_name()))?;
    }
    let mut server = Server::of_folder(&root).await?;
    let before = super::dump(&["--server", &server.xds]).await?;
    fs::rename(&root, &away)?;
    let is_lost = |line: &Value| super::text(line, "code") == "FO012";
    let line = server.until_line("that the folder is gone", is_lost).await?;
    let problem = super::text(&line, "message");
    let told =
        format!("{} cannot be read: it does not exist; what was read from it stays active", root.display());
    assert!(problem.starts_with(&told), "{problem}");
    assert_eq!(super::dump(&["--server", &server.xds]).await?, before);

    // Nothing else is said until it is back.
    fs::rename(&away, &root)?;
    edit(&root.join("details.yaml"), "replicas: 1", "replicas: 2")?;
    let next = server.until_line("the change or a problem", |line| {
        line.get("code").is_some() || super::text(line, "message").contains(" changed: ")
    });
    let next = next.await?;
    // The end of the finding, or the change already.
    let is_end =
        super::text(&next, "code") == "FO012" && super::text(&next, "message").starts_with("no longer");
    assert!(next.get("code").is_none() || is_end, "{next}");
    Ok(())
}

#[tokio::test]
async fn a_variable_names_the_folder_and_a_flag_wins_over_it() -> anyhow::Result<()> {
    let other = super::copy_of_bookinfo()?;
    let (service, renamed) =
        ("kind: Service\nmetadata:\n  name: details", "kind: Service\nmetadata:\n  name: renamed");
    edit(&other.path().join("details.yaml"), service, renamed)?;
    let server = Server::of_folder(&bookinfo()).await?;
    let with_variable = |args: Vec<String>| {
        let folder = other.path().to_owned();
        async move {
            let mut command = command(["dump".to_owned(), "services".to_owned()].into_iter().chain(args))?;
            let output = command.env("PILOTHOUSE_FROM", folder).output();
            let output = timeout(LIMIT, output).await.context("the command does not end")??;
            anyhow::Ok((output.status.success(), String::from_utf8(output.stdout)?, output.stderr))
        }
    };
    let (_, table, _) = with_variable(vec![]).await?;
    assert!(table.contains(" renamed "), "{table}");
    let from = bookinfo().display().to_string();
    for args in [vec!["--from".to_owned(), from.clone()], vec!["--server".to_owned(), server.xds.clone()]] {
        let (good, table, errors) = with_variable(args).await?;
        assert!(good && table.contains(" details ") && !table.contains(" renamed "), "{table}{errors:?}");
    }
    // Without a flag, and without folders in the variable, the server is the one that listens there.
    let mut of_server = command(["dump", "services"])?;
    of_server.env("PILOTHOUSE_XDS_ADDR", server.xds.replace("127.0.0.1", "0.0.0.0"));
    let output = timeout(LIMIT, of_server.output()).await??;
    let table = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && table.contains(" details "), "{table}");
    let mut of_folder = command(["dump", "services"])?;
    of_folder.env("PILOTHOUSE_XDS_ADDR", &server.xds).env("PILOTHOUSE_FROM", other.path());
    let output = timeout(LIMIT, of_folder.output()).await??;
    let table = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && table.contains(" renamed "), "{table}");
    let both = ["--from".to_owned(), from, "--server".to_owned(), server.xds.clone()];
    let (good, _, errors) = with_variable(both.to_vec()).await?;
    let errors = String::from_utf8(errors)?;
    assert!(!good && errors.contains("--server and --from") && errors.lines().count() == 1, "{errors}");
    Ok(())
}
