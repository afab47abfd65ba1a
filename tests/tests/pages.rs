//! The pages of `docs/` say what the code says, and their links lead somewhere.
//!
//! Tables that follow from the code stand between `<!-- begin: NAME -->` and `<!-- end -->`. After a
//! change of the code, `UPDATE_PAGES=1 cargo test -p pilothouse-tests --test pages` writes them anew.

use admission::{Decision, Reason, Review};
use anyhow::{Context, ensure};
use clap::{Args, Command};
use model::field::{FieldState, MetadataKey, fields, metadata_keys};
use model::{Kind, KindState, known_kinds};
use runtime::config::ServeArgs;
use runtime::engine_thread::EngineHandle;
use runtime::metrics::Metrics;
use runtime::webhook::WebhookStats;
use server::Clients;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below a folder with this ending, in order.
fn files(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, ending)?);
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Compares a table with the one on the page, or writes it there.
fn compare(page: &str, name: &str, table: &str) -> anyhow::Result<()> {
    let path = root().join(page);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {page}"))?;
    let begin = format!("<!-- begin: {name} -->\n\n");
    let (before, rest) = text.split_once(&begin).with_context(|| format!("{page} has no table {name}"))?;
    let (written, after) =
        rest.split_once("\n<!-- end -->").with_context(|| format!("{page}: {name} has no end"))?;
    if std::env::var_os("UPDATE_PAGES").is_some() {
        return Ok(std::fs::write(&path, format!("{before}{begin}{table}\n<!-- end -->{after}"))?);
    }
    ensure!(
        written == table,
        "{page} differs from the code: UPDATE_PAGES=1 writes the table anew. It should be\n{table}"
    );
    Ok(())
}

#[tokio::test]
async fn the_page_of_metrics_lists_every_metric() -> anyhow::Result<()> {
    let engine = EngineHandle::start(mesh::Options::default())?;
    // Labels show where there is something to count.
    let finding = model::Diagnostic {
        code: "XX001",
        severity: model::Severity::Info,
        object: None,
        field: String::new(),
        message: "a finding".to_owned(),
        help: String::new(),
        place: None,
    };
    engine.log().found(&plane::Findings { began: vec![finding], ended: Vec::new() });
    let webhook = Arc::new(WebhookStats::default());
    let review = br#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "kind": {"group": "networking.istio.io", "version": "v1", "kind": "Sidecar"}}}"#;
    let review = Review::read(review).map_err(anyhow::Error::msg)?;
    webhook.judged(&review.request, &Decision::Allowed { warnings: Vec::new() });
    let denied = Decision::Denied { reason: Reason::Invalid, message: String::new(), warnings: Vec::new() };
    webhook.judged(&review.request, &denied);
    webhook.unanswered(http::StatusCode::BAD_REQUEST);
    let text = Metrics::new(engine, Clients::default()).with_webhook(webhook).render().await;
    let mut help = BTreeMap::new();
    let mut kinds = Vec::new();
    let mut labels = BTreeMap::<&str, BTreeSet<&str>>::new();
    for line in text.lines() {
        if let Some((name, words)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            help.insert(name, words);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' ')) {
            kinds.push((name, kind));
        } else if let Some((name, rest)) = line.split_once('{') {
            // Of a histogram the family has the labels; the bounds of its buckets are part of the type.
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let pairs = rest.split('}').next().unwrap_or_default().split(',');
            labels
                .entry(name)
                .or_default()
                .extend(pairs.filter_map(|pair| pair.split('=').next()).filter(|label| *label != "le"));
        }
    }
    ensure!(kinds.len() > 10, "so few metrics cannot be all: {text}");
    kinds.sort_unstable();
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for (name, kind) in kinds {
        let labels: Vec<String> = labels.get(name).into_iter().flatten().map(|l| format!("`{l}`")).collect();
        let words = help.get(name).with_context(|| format!("{name} says nothing of itself"))?;
        writeln!(table, "| `{name}` | {kind} | {} | {words} |", labels.join(", "))?;
    }
    compare("docs/reference/metrics.md", "metrics", &table)
}

#[test]
fn the_page_of_settings_lists_every_flag() -> anyhow::Result<()> {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let mut table = "| flag | environment | default | meaning |\n|---|---|---|---|\n".to_owned();
    let mut count = 0;
    for flag in command.get_arguments() {
        let name = flag.get_long().context("a flag has no long name")?;
        let takes = flag.get_action().takes_values();
        let value = flag.get_value_names().filter(|_| takes).and_then(|names| names.first());
        let env = flag.get_env().map(|env| format!("`{}`", env.to_string_lossy())).unwrap_or_default();
        let default = flag.get_default_values().first().filter(|_| takes).map(|d| d.to_string_lossy());
        let default = default.filter(|d| !d.is_empty()).map(|d| format!("`{d}`")).unwrap_or_default();
        let help = flag.get_help().with_context(|| format!("--{name} says nothing of itself"))?;
        let value = value.map(|v| format!(" {v}")).unwrap_or_default();
        writeln!(table, "| `--{name}{value}` | {env} | {default} | {help} |")?;
        count += 1;
    }
    ensure!(count > 10, "so few flags cannot be all");
    compare("docs/reference/settings.md", "settings", &table)
}

#[test]
fn the_page_of_kinds_lists_every_kind_and_every_field() -> anyhow::Result<()> {
    let mut table = "| kind | group | what becomes of it | use instead |\n|---|---|---|---|\n".to_owned();
    for known in known_kinds() {
        let state = match known.state {
            KindState::Active => "read",
            KindState::Resolved(_) => "read and resolved; configures no proxy in this version (KO006)",
            KindState::Unread(_) => "known and not read (KO006)",
        };
        let group = if known.group.is_empty() { "core" } else { known.group };
        writeln!(table, "| {} | {group} | {state} | {} |", known.name, known.state.instead())?;
    }
    compare("docs/reference/kinds.md", "kinds", &table)?;
    the_page_lists_every_field()
}

#[test]
fn the_page_of_compatibility_lists_every_feature_of_the_gateway_api() -> anyhow::Result<()> {
    let mut table = "| feature | shown by |\n|---|---|\n".to_owned();
    for feature in plane::FEATURES {
        let shown_by = match feature.shown_by {
            plane::ShownBy::Statuses => "statuses",
            plane::ShownBy::Traffic => "traffic",
        };
        writeln!(table, "| {} | {shown_by} |", feature.name)?;
    }
    compare("docs/compatibility.md", "features", &table)
}

/// The table of fields; it is of the same kinds, so one test writes both.
fn the_page_lists_every_field() -> anyhow::Result<()> {
    let mut text = String::new();
    for &kind in Kind::ALL {
        writeln!(
            text,
            "## {kind}\n\n| below | fields | what becomes of them | why, or what to use instead |\n|---|---|---|---|"
        )?;
        let mut rows: Vec<(String, Vec<String>, FieldState)> = Vec::new();
        for field in fields(kind) {
            let (at, name) = field.path.rsplit_once('.').unwrap_or(("", &field.path));
            match rows.last_mut() {
                Some((last, names, state)) if last == at && *state == field.state => {
                    names.push(name.to_owned())
                }
                _ => rows.push((at.to_owned(), vec![name.to_owned()], field.state)),
            }
        }
        for (at, names, state) in rows {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            let (state, words) = words(state);
            let at = if at.is_empty() { at } else { format!("`{at}`") };
            writeln!(text, "| {at} | {} | {state} | {words} |", names.join(", "))?;
        }
        text.push('\n');
    }
    compare("docs/reference/fields.md", "fields", text.trim_end_matches('\n'))
}

#[test]
fn the_page_of_kinds_has_the_table_of_labels_and_annotations() -> anyhow::Result<()> {
    let mut text =
        "| | | of | what becomes of it | why, or what to use instead |\n|---|---|---|---|---|\n".to_owned();
    for MetadataKey { part, name, kinds, state, values } in metadata_keys() {
        let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let (state, words) = words(state);
        // Other spellings of booleans go without saying.
        let plain = values.iter().filter(|value| value.len() > 1 && !value.contains(char::is_uppercase));
        let values: Vec<String> = plain.map(|value| format!("`{value}`")).collect();
        let values = if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
        writeln!(text, "| {part} | `{name}` | {} | {state}{values} | {words} |", kinds.join(", "))?;
    }
    compare("docs/reference/labels.md", "metadata", text.trim_end_matches('\n'))
}

/// Returns what becomes of something, and why or what to use instead.
fn words(state: FieldState) -> (&'static str, &'static str) {
    match state {
        FieldState::Read => ("read", ""),
        FieldState::Deprecated { instead } => ("read, deprecated (KO009)", instead),
        FieldState::Unsupported { instead, .. } => ("known and not supported (KO007)", instead),
        FieldState::Outside(why) => ("outside", why),
    }
}

/// Returns the code of a line such as `pub const SYNTAX: &str = "KO001";`.
fn code_of(line: &str) -> Option<&str> {
    let (declared, value) = line.trim().split_once(": &str = \"")?;
    let code = value.strip_suffix("\";")?;
    let (letters, digits) = code.split_at_checked(2)?;
    let is_code = code.len() == 5
        && letters.bytes().all(|b| b.is_ascii_uppercase())
        && digits.bytes().all(|b| b.is_ascii_digit());
    (declared.contains("const ") && is_code).then_some(code)
}

#[test]
fn the_page_of_diagnostics_explains_exactly_the_codes_of_the_code() -> anyhow::Result<()> {
    let mut declared = BTreeSet::new();
    for path in files(&root().join("crates"), ".rs")? {
        for line in std::fs::read_to_string(&path)?.lines() {
            if let Some(code) = code_of(line) {
                ensure!(
                    declared.insert(code.to_owned()),
                    "{code} is declared twice, again in {}",
                    path.display()
                );
            }
        }
    }
    ensure!(
        folder::code::ALL.iter().all(|code| declared.contains(*code)),
        "declared codes are not all found"
    );
    let page = |name: &str| std::fs::read_to_string(root().join("docs/reference").join(name));
    let page = page("diagnostics.md")? + &page("diagnostics-folders.md")?;
    let mut explained = BTreeSet::new();
    for heading in page.lines().filter_map(|line| line.strip_prefix("### ")) {
        let (code, _) = heading.split_once(": ").with_context(|| format!("{heading:?} has no code"))?;
        ensure!(explained.insert(code.to_owned()), "{code} is explained twice");
    }
    let missing: Vec<_> = declared.difference(&explained).collect();
    let unknown: Vec<_> = explained.difference(&declared).collect();
    ensure!(
        missing.is_empty() && unknown.is_empty(),
        "not explained: {missing:?}; not in the code: {unknown:?}"
    );
    Ok(())
}

/// The targets of the links of a page that lead to files, without their anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| {
            !target.contains("://") && !target.starts_with('#') && !target.contains(char::is_whitespace)
        })
        .map(|target| target.split('#').next().unwrap_or_default())
}

#[test]
fn links_between_pages_lead_somewhere() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    let mut count = 0;
    for path in files(&root(), ".md")? {
        let text = std::fs::read_to_string(&path)?;
        for link in links(&text) {
            count += 1;
            if !path.with_file_name(link).exists() {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    ensure!(count > 10, "so few links cannot be all");
    ensure!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
    Ok(())
}

#[test]
fn the_versions_that_were_tested_are_those_that_tests_use() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(root().join("docs/compatibility.md"))?;
    for (module, required, words) in [
        ("apiserver", "k8s.io/kubernetes v", "kube-apiserver "),
        ("apiserver", "go.etcd.io/etcd/server/v3 v", "etcd "),
        ("apiserver/crds", "sigs.k8s.io/gateway-api v", "definitions of "),
        ("apiserver/crds", "istio.io/api v", "`istio.io/api` "),
        ("conformance", "sigs.k8s.io/gateway-api/conformance v", "conformance suite of "),
        ("helm", "helm.sh/helm/v4 v", "helm "),
        ("helm/upstream", "istio.io/istio v0.0.0-20260827124520-", "of commit `"),
    ] {
        let file = format!("tests/{module}/go.mod");
        let text = std::fs::read_to_string(root().join(&file))?;
        let version = text.split(required).nth(1).and_then(|rest| rest.split_whitespace().next());
        let version = version.with_context(|| format!("{file} does not require {required}"))?;
        ensure!(page.contains(&format!("{words}{version}")), "the page does not say {words}{version}");
    }
    Ok(())
}

#[test]
fn differences_from_istiod_are_on_the_page_with_their_cases() -> anyhow::Result<()> {
    let page = std::fs::read_to_string(root().join("docs/compatibility.md"))?;
    let section = page.split("## Differences from istiod by choice").nth(1).context("no such section")?;
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let mut named = BTreeSet::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        ensure!(cells.len() == 5 && cells.iter().all(|cell| !cell.trim().is_empty()), "five cells: {row}");
        for case in cells[4].split('`').skip(1).step_by(2) {
            let path =
                if case.contains('/') { root().join(case) } else { root().join("tests/golden").join(case) };
            ensure!(path.exists(), "there is no {case}");
            named.insert(case);
        }
    }
    // A case that says of itself that istiod does otherwise is there, too.
    for line in std::fs::read_to_string(root().join("tests/golden/ROWS.md"))?.lines() {
        let differs =
            ["(istiod has", "(istiod keeps", "(istiod lists", "(istiod does not", "(istiod would not"];
        if differs.iter().any(|words| line.contains(words)) {
            let case = line.split('`').nth(1).with_context(|| format!("no case: {line}"))?;
            ensure!(named.contains(case), "{case} is not among the differences: {line}");
        }
    }
    Ok(())
}

#[test]
fn no_test_reads_the_example_that_readers_edit() -> anyhow::Result<()> {
    let example = ["examples", "bookinfo"].join("/");
    for folder in ["crates", "tests"] {
        for path in files(&root().join(folder), ".rs")? {
            let text = std::fs::read_to_string(&path)?;
            let is_read = |line: &&str| line.contains(&example) && !line.trim_start().starts_with("//");
            let line = text.lines().find(is_read);
            ensure!(line.is_none(), "{}: {line:?}; tests/bookinfo is the copy for tests", path.display());
        }
    }
    Ok(())
}

#[test]
fn no_page_keeps_the_marks_of_a_merge() -> anyhow::Result<()> {
    let pages = files(&root(), ".md")?;
    ensure!(pages.len() > 10, "so few pages cannot be all");
    for path in pages {
        for (number, line) in std::fs::read_to_string(&path)?.lines().enumerate() {
            let is_mark = line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") || line == "=======";
            ensure!(!is_mark, "{}:{} is a mark of a merge", path.display(), number + 1);
        }
    }
    Ok(())
}

#[test]
fn every_decision_has_its_own_number_and_is_listed() -> anyhow::Result<()> {
    let records = files(&root().join("docs/adr"), ".md")?;
    let index = std::fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    // Numbers are given before records are written, so that one may be missing for a while.
    let mut last = 0;
    for record in &records {
        let name = record.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = name.split('-').next().filter(|number| number.len() == 4);
        let number: u32 =
            number.and_then(|n| n.parse().ok()).with_context(|| format!("{name} has no number"))?;
        ensure!(number > last, "{name} has the number of another record");
        last = number;
        ensure!(index.contains(&format!("docs/adr/{name}")), "ARCHITECTURE.md does not name docs/adr/{name}");
    }
    Ok(())
}
