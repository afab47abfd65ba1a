//! A folder of good manifests, damaged in a thousand ways: none makes the mesh more open than the good
//! one without a finding that names the place.
//!
//! ```text
//! good files ──one is damaged, by seed──▶ folder ▸ mesh ──▶ what is let in, and what is told
//!      └──────────────────────────────▶ folder ▸ mesh ──▶ what is let in
//! ```
//!
//! A mesh is more open if a connection to one of its workloads passes that did not pass before, as a
//! ztunnel decides. What is damaged is what hands and editors damage: the name of a field, the type or
//! the case of a value, the end of a line, the structure of a document. An edit that gives another valid
//! policy, such as a rule that is removed as a whole, is no damage that anybody could tell.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damage;
mod manifests;

use std::collections::{BTreeMap, BTreeSet};

use damage::{Damage, damage};
use manifests::FILES;
use mesh::Options;
use model::Diagnostic;
use pilothouse_tests::client::{Connection, State};
use plane::Plane;
use prost::Message;
use proto::discovery::{DeltaDiscoveryResponse, Resource};
use proto::workload::TunnelProtocol;
use runtime::source::folder::{FolderSettings, load_texts};
use xds::ResourceType;

/// How many damages are tried.
const SEEDS: u64 = 1_000;

/// The trust domain of the good settings.
const TRUST_DOMAIN: &str = "corp.test";

/// What a mesh lets in: by workload, the connections that pass.
type Passing = BTreeMap<String, BTreeSet<usize>>;

/// What a folder makes, and what is told of it.
struct Seen {
    passing: Passing,
    findings: Vec<Diagnostic>,
}

/// The mesh of some files. This is the only place that knows how one is computed.
fn see(files: &[(&str, &str)]) -> Seen {
    let (events, mut findings) = load_texts(&FolderSettings::new(Vec::new()), files.iter().copied());
    let mut plane = Plane::new(&Options::default());
    plane.apply(events);
    findings.extend(plane.diagnostics());
    let mut state = State::new(false);
    for resource_type in [ResourceType::Address, ResourceType::Authorization] {
        let resources = plane.resources().into_iter().filter(|change| change.resource_type == resource_type);
        let resources = resources.map(|resource| {
            let value = resource.body.unwrap_or_default().to_vec();
            let any = prost_types::Any { type_url: resource_type.type_url().to_owned(), value };
            Resource { name: resource.name, resource: Some(any), ..Resource::default() }
                .encode_to_vec()
                .into()
        });
        let response = DeltaDiscoveryResponse {
            type_url: resource_type.type_url().to_owned(),
            resources: resources.collect(),
            ..DeltaDiscoveryResponse::default()
        };
        state.apply(&response);
    }
    Seen { passing: passing(&state), findings }
}

/// What is tried on every workload: who exists, who does not, other trust domains, plain text; from two
/// networks, to every port that policies name and one that none does.
fn connections() -> Vec<Connection> {
    let accounts = ["shop/web", "shop/db", "far/client", "far/default", "nowhere/nobody"];
    let identities = accounts.iter().flat_map(|account| {
        let (namespace, name) = account.split_once('/').unwrap();
        [TRUST_DOMAIN, "cluster.local"]
            .map(|domain| Some(format!("spiffe://{domain}/ns/{namespace}/sa/{name}")))
    });
    let sources: Vec<Option<String>> = identities.chain([None]).collect();
    let mut all = Vec::new();
    for source in sources {
        for source_ip in [[10, 1, 2, 3], [192, 0, 2, 7]] {
            for port in [8080, 5432, 9090, 1234] {
                all.push(Connection {
                    source: source.clone(),
                    source_ip: source_ip.into(),
                    destination_ip: [10, 0, 0, 1].into(),
                    port,
                });
            }
        }
    }
    all
}

/// The connections that pass, by what workloads are called: pods are as their controllers are, and one
/// that moved to another namespace is still the same to who relies on its policies.
fn passing(state: &State) -> Passing {
    let connections = connections();
    let mut passing = Passing::new();
    for (_, workload) in state.workloads() {
        let is_guarded = workload.tunnel_protocol() == TunnelProtocol::Hbone;
        let passes = |connection: &Connection| !is_guarded || state.decide(workload, connection).is_allowed();
        let open = (0..connections.len()).filter(|index| passes(&connections[*index]));
        passing.entry(workload.workload_name.clone()).or_default().extend(open);
    }
    passing
}

/// The connections that pass and did not pass before, by workload.
fn opened(before: &Passing, after: &Passing) -> Vec<String> {
    let connections = connections();
    let mut opened = Vec::new();
    for (workload, open) in after {
        let Some(were) = before.get(workload) else { continue };
        for index in open.difference(were) {
            let Connection { source, source_ip, port, .. } = &connections[*index];
            opened.push(format!("{workload}:{port} is open to {source:?} from {source_ip}"));
        }
    }
    opened
}

fn names_the_place(finding: &Diagnostic, file: &str) -> bool {
    let is_in_file = finding.place.as_ref().is_some_and(|place| place.file == file);
    is_in_file || finding.object.is_some()
}

#[test]
fn good_manifests_are_without_a_finding_and_refuse_much() {
    let seen = see(FILES);
    assert!(seen.findings.is_empty(), "{:#?}", seen.findings);
    let total = connections().len();
    for workload in ["web", "db", "client", "batch"] {
        let open = seen.passing[workload].len();
        assert!(open < total, "{workload} lets everything in");
    }
    assert!(seen.passing["web"].len() > 3, "{:?}", seen.passing);
    // One account reaches one port of the database, from one network.
    let open: Vec<Connection> = seen.passing["db"].iter().map(|index| connections().remove(*index)).collect();
    assert!(
        matches!(&open[..], [only] if only.port == 5432 && only.source.as_deref() == Some("spiffe://corp.test/ns/shop/sa/web")),
        "{open:?}"
    );
}

#[test]
fn no_damage_opens_the_mesh_without_a_finding() {
    let good = see(FILES);
    let (mut failures, mut openings, mut findings) = (Vec::new(), 0, 0);
    let mut by_kind: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for seed in 0..SEEDS {
        let Damage { file, what, text } = damage(FILES, seed);
        let damaged: Vec<(&str, &str)> = FILES
            .iter()
            .map(|(name, good)| (*name, if *name == file { text.as_str() } else { *good }))
            .collect();
        let seen = see(&damaged);
        let opened = opened(&good.passing, &seen.passing);
        let is_told = seen.findings.iter().any(|finding| names_the_place(finding, file));
        let count = by_kind.entry(what).or_default();
        count.0 += 1;
        count.1 += usize::from(is_told);
        openings += usize::from(!opened.is_empty());
        findings += usize::from(is_told);
        if !opened.is_empty() && !is_told {
            failures.push(format!("seed {seed}, {what} in {file}:\n{text}\n{}", opened[..1].join("\n")));
        }
    }
    assert!(failures.is_empty(), "{} of {SEEDS}:\n{}", failures.len(), failures.join("\n---\n"));
    // The damage is real: most of it is told, and some of it would have opened the mesh.
    assert!(findings * 2 > SEEDS as usize && openings > 20, "{findings} told, {openings} open: {by_kind:?}");
}

#[test]
fn the_same_seed_gives_the_same_damage() {
    for seed in 0..50 {
        let (one, two) = (damage(FILES, seed), damage(FILES, seed));
        assert_eq!((one.file, one.text), (two.file, two.text));
    }
}
