//! The demo, from outside.

use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::{LIMIT, until};
use pilothouse_tests::{envoy, program};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The copy of the example that tests read.
fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bookinfo")
}

fn demo(example: &Path, work: &Path) -> anyhow::Result<Command> {
    envoy::program()?;
    let mut command = Command::new(program::node()?);
    command.arg("demo").arg("--example").arg(example).arg("--work").arg(work).stdin(Stdio::null());
    Ok(command)
}

/// The interfaces, named namespaces and mounts that this machine shows.
fn network() -> anyhow::Result<String> {
    let of = |arguments: &[&str]| -> anyhow::Result<String> {
        let output = Command::new("ip").args(arguments).output().context("cannot run ip")?;
        ensure!(output.status.success(), "ip {arguments:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    Ok(of(&["-brief", "link"])? + &of(&["netns", "list"])? + &fs::read_to_string("/proc/self/mounts")?)
}

/// The processes that were told of a folder.
fn processes(of: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // One that ended meanwhile has none any more.
        let Ok(line) = fs::read(entry?.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&*of.to_string_lossy()) {
            found.push(line);
        }
    }
    Ok(found)
}

#[test]
fn all_steps_are_seen_and_nothing_is_left() -> anyhow::Result<()> {
    let before = network()?;
    let work = tempfile::tempdir()?;
    let output = demo(&example(), work.path())?.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    // It fails at the first answer that is another one.
    for seen in [
        "as the root of a user namespace",
        "all 9 pods run the processes that they ran before",
        "no answer",
        "from reviews-v1",
        "end-user: jason",
        "200 from reviews-v3",
        "403 RBAC: access denied",
        "the server has seen 3 requests for this one",
        "418 fault filter abort",
        "destination_workload=\"reviews-v1\", response_code=\"200\"",
    ] {
        ensure!(said.contains(seen), "nothing of {seen:?} in\n{said}");
    }
    println!("{said}");
    assert_eq!(processes(work.path())?, Vec::<String>::new());
    assert_eq!(network()?, before);
    Ok(())
}

#[test]
fn all_steps_of_the_egress_example_are_seen() -> anyhow::Result<()> {
    let (before, work) = (network()?, tempfile::tempdir()?);
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/egress");
    let output = demo(&example, work.path())?.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for seen in [
        "which is the waypoint",
        "403 RBAC: access denied",
        "the server was spoken to in TLS",
        "404 ",
        "in TLS from end to end, through the waypoint",
        "source_workload=\"stock\", destination_service=\"api.example.com\", response_code=\"403\"",
    ] {
        ensure!(said.contains(seen), "nothing of {seen:?} in\n{said}");
    }
    println!("{said}");
    assert_eq!(processes(work.path())?, Vec::<String>::new());
    assert_eq!(network()?, before);
    Ok(())
}

#[tokio::test]
async fn nothing_is_left_of_a_demo_that_is_killed() -> anyhow::Result<()> {
    let before = network()?;
    let work = tempfile::tempdir()?;
    let mut running = demo(&example(), work.path())?.stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(running.stdout.take().context("no output")?);
    // Pods run once the first answer is there.
    let lines = output.lines().map_while(Result::ok);
    ensure!(lines.into_iter().any(|line| line.contains("200 from productpage-v1")), "it ended by itself");
    ensure!(processes(work.path())?.iter().any(|line| line.contains("envoy")), "no Envoy runs");
    running.kill()?;
    running.wait()?;
    until(LIMIT, async || Ok(processes(work.path())?.is_empty().then_some(()))).await?;
    assert_eq!(network()?, before);
    Ok(())
}
