//! What holds for the whole tree: which crate may use which, what the pure ones keep away from, and
//! what no file may hold.
//!
//! The rules are those of `ARCHITECTURE.md`. Both cargo and git are asked, so that a crate or a file
//! that nobody thought of is judged too.

mod files;
mod supply;
mod words;

use anyhow::{Context, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates of the product, each with those of ours that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("engine", &[]),
    ("proto", &[]),
    ("folder", &["model"]),
    ("output", &["model", "engine", "proto"]),
    ("mesh", &["model", "engine", "proto", "output"]),
    ("gateway", &["model", "engine", "output", "mesh"]),
    ("envoy", &["model", "engine", "proto", "output", "mesh", "gateway"]),
    ("plane", &["model", "engine", "output", "mesh", "gateway", "envoy"]),
    ("admission", &["model", "plane"]),
    ("xds", &["proto"]),
    ("ca", &["model", "proto"]),
    ("limits", &[]),
    ("cluster", &["model", "limits"]),
    ("identity", &["model", "plane", "ca", "limits", "cluster"]),
    ("server", &["model", "proto", "xds", "ca", "limits", "identity"]),
    (
        "runtime",
        &[
            "model",
            "proto",
            "folder",
            "mesh",
            "plane",
            "admission",
            "xds",
            "ca",
            "limits",
            "cluster",
            "identity",
            "server",
        ],
    ),
    (
        "cli",
        &[
            "model", "proto", "folder", "mesh", "envoy", "plane", "ca", "cluster", "identity", "server",
            "runtime",
        ],
    ),
];

/// What measures or checks control planes from outside, and must not know this one: with its
/// `[dependencies]` only, since its tests may.
const OUTSIDERS: &[(&str, &[&str])] = &[("tests", &["proto"]), ("load", &["proto", "tests"])];

/// The crates that may touch the world.
const WORLDLY: &[&str] = &["cluster", "identity", "server", "runtime", "cli"];

/// Libraries that touch the world, of which pure crates must not know.
const WORLD: &[&str] = &[
    "axum",
    "futures-executor",
    "hyper",
    "kube",
    "kube-client",
    "mio",
    "notify",
    "rustls",
    "socket2",
    "tokio",
    "tonic",
    "tower",
    "tracing-subscriber",
];

/// What pure crates must not name: each with the reason.
const IMPURE: &[(&str, &str)] = &[
    ("std::env::", "settings are read in crates/runtime/src/config.rs"),
    ("std::fs", "files are read by a source"),
    ("std::net::Tcp", "sockets are opened in crates/server and crates/cluster"),
    ("std::net::Udp", "sockets are opened in crates/server and crates/cluster"),
    ("std::process::", "no process is started"),
    ("std::thread", "the engine has one writer"),
    ("Instant::now", "the time is passed in"),
    ("SystemTime::now", "the time is passed in"),
    ("Timestamp::now", "the time is passed in"),
    ("UnixTime::now", "the time is passed in"),
    ("println!", "findings are returned"),
    ("eprintln!", "findings are returned"),
];

/// The longest a file may be, in lines: a reader holds no more in mind.
const MAX_LINES: usize = 700;

/// What a program wrote, and nobody reads from end to end.
const GENERATED: &[&str] = &[
    "Cargo.lock",
    "go.sum",
    "crates/proto/src/gen/",
    "charts/base/crds/",
    "crates/folder/src/apiserver/kinds.json",
    "tests/golden/",
    "tests/golden-envoy/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns what a command says on its standard output.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.current_dir(root()).output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Every file that is or would be committed, with its text; binary ones are left out.
fn files() -> anyhow::Result<Vec<(String, String)>> {
    let list =
        output(Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))
            .context("the files of the tree are those that git knows: run this in a clone")?;
    let mut files = Vec::new();
    for path in list.split_terminator('\0') {
        // A file that was just removed is still in the index.
        let Ok(bytes) = std::fs::read(root().join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push((path.to_owned(), text));
        }
    }
    ensure!(files.iter().any(|(path, _)| path == "Cargo.toml"), "git lists no Cargo.toml");
    Ok(files)
}

fn is_generated(path: &str) -> bool {
    GENERATED
        .iter()
        .any(|part| path.starts_with(part) || path.ends_with(&format!("/{part}")) || path == *part)
        || path.ends_with(".lock")
}

/// The packages of the workspace, and which of them each needs directly.
struct Workspace {
    /// By name without the prefix: what it needs of ours, and whether by its tests only.
    needs: BTreeMap<String, Vec<(String, bool)>>,
}

/// The name of a crate of ours without the prefix that all have; none for others.
fn own(package: &Value) -> Option<String> {
    package.as_str()?.strip_prefix("pilothouse-").map(str::to_owned)
}

impl Workspace {
    fn read() -> anyhow::Result<Self> {
        let arguments = ["metadata", "--locked", "--no-deps", "--format-version", "1"];
        let metadata: Value = serde_json::from_str(&output(Command::new(env!("CARGO")).args(arguments))?)?;
        let mut needs = BTreeMap::new();
        for package in metadata["packages"].as_array().context("cargo tells no packages")? {
            let name =
                own(&package["name"]).with_context(|| format!("{} lacks our prefix", package["name"]))?;
            let list = package["dependencies"].as_array().into_iter().flatten();
            let ours = list.filter_map(|need| Some((own(&need["name"])?, need["kind"] == "dev")));
            needs.insert(name, ours.collect());
        }
        Ok(Self { needs })
    }

    fn of(&self, own: &str) -> anyhow::Result<&[(String, bool)]> {
        Ok(self.needs.get(own).with_context(|| format!("there is no crate pilothouse-{own}"))?)
    }
}

/// The names of all packages that end up in what is built of a crate, were it built alone.
fn reach(own: &str) -> anyhow::Result<BTreeSet<String>> {
    let package = format!("pilothouse-{own}");
    let arguments =
        ["tree", "--locked", "-e", "normal,build", "--prefix", "none", "--format", "{p}", "-p", &package];
    let tree = output(Command::new(env!("CARGO")).args(arguments))?;
    let names: BTreeSet<_> =
        tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    ensure!(names.contains(&package), "cargo tells no tree of {package}: {tree}");
    Ok(names)
}

fn check(broken: &[String]) -> anyhow::Result<()> {
    ensure!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
    Ok(())
}

#[test]
fn arrows_between_crates_point_one_way() -> anyhow::Result<()> {
    let workspace = Workspace::read()?;
    let mut broken = Vec::new();
    for entry in std::fs::read_dir(root().join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !ARROWS.iter().any(|(known, _)| *known == name) {
            broken.push(format!(
                "crates/{name} is not in the table of this test, nor in ARCHITECTURE.md: add it"
            ));
        }
    }
    for (own, allowed) in ARROWS {
        for (need, _) in workspace.of(own)?.iter().filter(|(need, _)| !allowed.contains(&need.as_str())) {
            broken.push(format!("{own} must not use {need}"));
        }
    }
    for (own, allowed) in OUTSIDERS {
        let needs = workspace
            .of(own)?
            .iter()
            .filter(|(need, for_tests)| !for_tests && !allowed.contains(&need.as_str()));
        broken.extend(
            needs.map(|(need, _)| format!("{own} must know nothing of {need}: it judges any control plane")),
        );
    }
    check(&broken)
}

#[test]
fn crates_are_in_the_table_of_the_architecture() -> anyhow::Result<()> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let mut above: BTreeSet<&str> = BTreeSet::new();
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let &["", name, _, uses, io, ""] = cells.as_slice() else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else { continue };
        let uses: BTreeSet<&str> = match uses {
            "all above" => above.clone(),
            "–" => BTreeSet::new(),
            list => list.split(", ").collect(),
        };
        rows.insert(name, (uses, io == "yes"));
        above.insert(name);
    }
    let mut broken = Vec::new();
    for (own, allowed) in ARROWS {
        let expected = (allowed.iter().copied().collect(), WORLDLY.contains(own));
        match rows.remove(own) {
            None => broken.push(format!("{own} is not in the table")),
            Some(row) if row != expected => broken.push(format!("{own} is {row:?}, here {expected:?}")),
            Some(_) => {}
        }
    }
    broken.extend(rows.keys().map(|name| format!("{name} is in the table, and there is no such crate")));
    check(&broken)
}

#[test]
fn pure_crates_reach_no_library_that_touches_the_world() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for (own, _) in ARROWS.iter().filter(|(own, _)| !WORLDLY.contains(own)) {
        let reach = reach(own)?;
        broken.extend(WORLD.iter().filter(|l| reach.contains(**l)).map(|l| format!("{own} reaches {l}")));
    }
    check(&broken)
}

#[test]
fn pure_crates_read_no_clock_no_file_and_no_environment() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for (path, text) in files()? {
        let mut parts = path.split('/');
        let (Some("crates"), Some(own), Some("src")) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        // Modules of tests are files of their own, or the end of a file.
        if WORLDLY.contains(&own) || path.ends_with("/tests.rs") || path.contains("/tests/") {
            continue;
        }
        for (number, line) in text.lines().enumerate().take_while(|(_, line)| !is_test_module(line)) {
            let code = line.split("//").next().unwrap_or_default();
            for (word, why) in IMPURE.iter().filter(|(word, _)| code.contains(word)) {
                broken.push(format!("{path}:{}: `{word}` in a pure crate: {why}", number + 1));
            }
        }
    }
    check(&broken)
}

/// Tells whether a module of tests begins here, as opposed to the declaration of one.
fn is_test_module(line: &str) -> bool {
    line.starts_with("mod tests {")
}

#[test]
fn one_library_does_the_cryptography() -> anyhow::Result<()> {
    let reach = reach("cli")?;
    ensure!(
        reach.contains("aws-lc-rs"),
        "the binary has no cryptography at all: this test looks at the wrong place"
    );
    let others = ["ring", "openssl", "openssl-sys", "native-tls"];
    check(
        &others
            .iter()
            .filter(|l| reach.contains(**l))
            .map(|l| format!("the binary holds {l}"))
            .collect::<Vec<_>>(),
    )
}

#[test]
fn one_module_of_the_product_names_the_library_for_yaml() -> anyhow::Result<()> {
    let module = "crates/model/src/yaml.rs";
    let names = |(path, text): &(String, String)| {
        path.starts_with("crates/") && path.ends_with(".rs") && text.contains("serde_yaml")
    };
    let naming: Vec<_> = files()?.into_iter().filter(names).map(|(path, _)| path).collect();
    ensure!(naming == [module], "{naming:?} name serde_yaml: {module} is for that");
    Ok(())
}

#[test]
fn files_are_short_enough_to_be_read() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for (path, text) in files()? {
        let lines = text.lines().count();
        if lines > MAX_LINES && !is_generated(&path) && path != "LICENSE" {
            broken.push(format!(
                "{path} has {lines} lines, more than {MAX_LINES}: split it by what it is about"
            ));
        }
    }
    check(&broken)
}

#[test]
fn nothing_is_left_to_do_and_no_test_is_switched_off() -> anyhow::Result<()> {
    // In pieces, for this file is judged too.
    let words = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("db", "g!("),
        concat!("#[ign", "ore"),
        concat!("```ign", "ore"),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
    ];
    let mut broken = Vec::new();
    for (path, text) in files()? {
        if is_generated(&path) || ![".rs", ".go", ".md", ".sh"].iter().any(|end| path.ends_with(end)) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let found = words.iter().filter(|word| line.contains(*word));
            broken.extend(found.map(|word| format!("{path}:{}: {word}", number + 1)));
        }
    }
    check(&broken)
}

#[test]
fn files_name_no_machine_and_no_private_source_of_packages() -> anyhow::Result<()> {
    let folders = [concat!("/wo", "rk"), concat!("/ho", "me"), concat!("/ro", "ot")];
    let sources = [
        concat!("replace", "-with"),
        concat!("spar", "se+http"),
        concat!("GOPR", "OXY=http"),
        concat!("GOFL", "AGS=-insecure"),
    ];
    let mut broken = Vec::new();
    for (path, text) in files()? {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{path}:{}", number + 1);
            for folder in folders.iter().filter(|folder| names_folder(line, folder)) {
                broken.push(format!("{place}: a path below {folder} is that of one machine"));
            }
            for source in sources.iter().filter(|source| line.contains(*source)) {
                broken.push(format!("{place}: {source}: sources of packages are each user's own matter"));
            }
            let locked = path.ends_with("Cargo.lock").then(|| line.strip_prefix("source = ")).flatten();
            // Cargo's own default has this name wherever it is fetched from.
            let is_default = |source: &str| {
                let source = source.trim_matches('"');
                source.starts_with("registry+") && source.ends_with("/crates.io-index")
            };
            if locked.is_some_and(|source| !is_default(source)) {
                broken.push(format!("{place}: {line}: only packages of crates.io are used"));
            }
        }
    }
    check(&broken)
}

/// Tells whether a line holds a path that begins with this folder: as a whole, at the beginning.
fn names_folder(line: &str, folder: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.}/".contains(c);
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let mut after = line[at + folder.len()..].chars();
        // A folder that only begins so, such as one of workloads, is another one.
        !before.is_some_and(is_name) && after.next() == Some('/') && after.next().is_some_and(is_name)
    })
}

#[test]
fn paths_of_machines_are_told_from_others() {
    let folder = concat!("/ho", "me");
    for (line, expected) in [
        (format!("cd {folder}/kim/src"), true),
        (format!("\"{folder}/kim\""), true),
        (format!("https://example.org{folder}/kim"), false),
        (format!("{folder}page/x"), false),
        (folder.to_owned(), false),
        (format!("$DIR{folder}/x"), false),
        (format!("${{DIR}}{folder}/x"), false),
    ] {
        assert_eq!(names_folder(&line, folder), expected, "{line}");
    }
}
