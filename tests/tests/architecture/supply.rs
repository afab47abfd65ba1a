//! Where what is built in comes from: what `make deny` asks of licences too, without a tool that has to be installed.

use crate::{output, root};
use anyhow::{Context, ensure};
use std::collections::BTreeSet;
use std::process::Command;

/// Returns the crates that `deny.toml` bans.
fn banned() -> anyhow::Result<BTreeSet<String>> {
    let rules = std::fs::read_to_string(root().join("deny.toml"))?;
    let names = rules.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("{ crate = \"")?;
        Some(name.split('"').next()?.to_owned())
    });
    let names: BTreeSet<String> = names.collect();
    ensure!(names.contains("ring"), "deny.toml bans {names:?}: this reads it wrongly");
    Ok(names)
}

#[test]
fn nothing_that_is_banned_is_built() -> anyhow::Result<()> {
    let arguments = ["tree", "--locked", "--workspace", "-e", "normal,build,dev", "--prefix", "none"];
    let tree = output(Command::new(env!("CARGO")).args(arguments).args(["--format", "{p}"]))?;
    let built: BTreeSet<String> =
        tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    ensure!(built.contains("aws-lc-rs"), "cargo tells no tree: {tree}");
    let banned = banned()?;
    let found: Vec<&String> = built.intersection(&banned).collect();
    ensure!(found.is_empty(), "banned by deny.toml, and built: {found:?}");
    Ok(())
}

#[test]
fn every_package_is_of_one_registry_and_has_a_checksum_or_is_ours() -> anyhow::Result<()> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock"))?;
    let mut registries = BTreeSet::new();
    for package in lock.split("[[package]]").skip(1) {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            line.strip_suffix('"')
        };
        let name = field("name").context("a package without a name")?;
        match field("source") {
            Some(source) => {
                ensure!(source.starts_with("registry+"), "{name} is from {source}");
                ensure!(field("checksum").is_some(), "{name} has no checksum");
                registries.insert(source);
            }
            None => ensure!(name.starts_with("pilothouse-"), "{name} is from a folder"),
        }
    }
    ensure!(registries.len() == 1, "packages are from {registries:?}");
    Ok(())
}
