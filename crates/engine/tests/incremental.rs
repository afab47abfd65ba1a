//! A small mesh-like graph with every operator, held to its laws by random edits.

#![allow(clippy::unwrap_used)]

use engine::{Builder, Graph, Index, Memo, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A pod of a namespace, with a label and the host names that it claims.
#[derive(Clone, PartialEq, Debug)]
struct Pod {
    ns: u8,
    label: u8,
    hosts: Vec<u8>,
}

struct Fixture {
    graph: Graph,
    pods: Table<u8, Pod>,
    namespaces: Table<u8, u32>,
    selectors: Table<u8, u8>,
    workloads: Table<u8, (u32, Vec<u8>, usize)>,
    hosts: Table<u8, u8>,
    sizes: Table<u8, usize>,
    total: Table<(), u32>,
    runs: Arc<AtomicUsize>,
    used: Table<(u8, u8), Vec<u8>>,
    /// Of pods that claim a host: the first, and what their namespace has.
    claims: Table<u8, (u8, Option<u32>)>,
    claim_runs: Arc<AtomicUsize>,
    _by_ns: Index<u8, u8, Pod>,
    _selection: Memo<(u8, u8), Vec<u8>>,
}

impl Default for Fixture {
    fn default() -> Self {
        let mut b = Builder::default();
        let runs = Arc::new(AtomicUsize::new(0));
        let namespaces = b.input::<u8, u32>("namespaces");
        let selectors = b.input::<u8, u8>("selectors");
        let pods = b.input::<u8, Pod>("pods");
        let by_label = b.index(selectors, "selector_by_label", |_, label| [*label]);
        let by_ns = b.index(pods, "pod_by_ns", |_, pod| [pod.ns]);
        let total = b.single("total", move |cx| {
            (0..4).filter_map(|n| cx.get(namespaces, &n)).map(|v| *v).sum::<u32>()
        });
        let selection = b.memo("selection", move |cx, (ns, label): &(u8, u8)| {
            let found: Vec<u8> = cx.lookup(by_label, label).into_iter().map(|(k, _)| k).collect();
            cx.get(namespaces, ns).map(|_| found)
        });
        let sizes = b.group("sizes", by_ns, |_, _, members| Some(members.len()));
        let counter = runs.clone();
        let workloads = b.derive("workloads", pods, move |cx, _, pod| {
            counter.fetch_add(1, Ordering::Relaxed);
            let ns = cx.get(namespaces, &pod.ns)?;
            let selected = cx.memo(selection, &(pod.ns, pod.label)).map(|s| s.to_vec()).unwrap_or_default();
            let size = cx.get(sizes, &pod.ns).map_or(0, |s| *s);
            Some((*ns, selected, size.min(2)))
        });
        let hosts = b.expand("hosts", pods, |_, key, pod| pod.hosts.iter().map(|h| (*h, *key)).collect());
        let claim_runs = Arc::new(AtomicUsize::new(0));
        let counter = claim_runs.clone();
        let claims = b.derive_where(
            "claims",
            pods,
            |_, pod| !pod.hosts.is_empty(),
            move |cx, _, pod| {
                counter.fetch_add(1, Ordering::Relaxed);
                Some((pod.hosts[0], cx.get(namespaces, &pod.ns).map(|v| *v)))
            },
        );
        let used = b.in_use("used_selections", selection);
        b.sink(used);
        b.sink(total);
        b.sink(workloads);
        b.sink(hosts);
        b.sink(sizes);
        let graph = b.build();
        Self {
            graph,
            pods,
            namespaces,
            selectors,
            workloads,
            hosts,
            sizes,
            total,
            used,
            claims,
            claim_runs,
            runs,
            _by_ns: by_ns,
            _selection: selection,
        }
    }
}

type View = (
    BTreeMap<u8, (u32, Vec<u8>, usize)>,
    BTreeMap<u8, u8>,
    BTreeMap<u8, usize>,
    Option<u32>,
    BTreeMap<(u8, u8), Vec<u8>>,
    BTreeMap<u8, (u8, Option<u32>)>,
);

fn table<K: engine::Key, V: engine::Row + Clone>(graph: &Graph, t: Table<K, V>) -> BTreeMap<K, V> {
    graph.rows(t).into_iter().map(|(k, v)| (k, (*v).clone())).collect()
}

impl Fixture {
    fn view(&self) -> View {
        let g = &self.graph;
        (
            table(g, self.workloads),
            table(g, self.hosts),
            table(g, self.sizes),
            g.get(self.total, &()).map(|v| *v),
            table(g, self.used),
            table(g, self.claims),
        )
    }

    fn apply(&mut self, edit: &Edit) {
        match edit.clone() {
            Edit::Pod(k, Some(pod)) => self.graph.put(self.pods, k, pod),
            Edit::Pod(k, None) => self.graph.remove(self.pods, &k),
            Edit::Namespace(k, Some(v)) => self.graph.put(self.namespaces, k, v),
            Edit::Namespace(k, None) => self.graph.remove(self.namespaces, &k),
            Edit::Selector(k, Some(v)) => self.graph.put(self.selectors, k, v),
            Edit::Selector(k, None) => self.graph.remove(self.selectors, &k),
        }
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Pod(u8, Option<Pod>),
    Namespace(u8, Option<u32>),
    Selector(u8, Option<u8>),
}

fn edit() -> impl Strategy<Value = Edit> {
    let pod = (0..4u8, 0..3u8, prop::collection::vec(0..6u8, 0..3)).prop_map(|(ns, label, hosts)| Pod {
        ns,
        label,
        hosts,
    });
    prop_oneof![
        4 => (0..40u8, prop::option::weighted(0.7, pod)).prop_map(|(k, p)| Edit::Pod(k, p)),
        1 => (0..4u8, prop::option::weighted(0.7, 0..3u32)).prop_map(|(k, v)| Edit::Namespace(k, v)),
        2 => (0..8u8, prop::option::weighted(0.7, 0..3u8)).prop_map(|(k, v)| Edit::Selector(k, v)),
    ]
}

/// The facts that hold after some edits, as edits that make them from nothing.
fn facts(edits: &[Edit]) -> Vec<Edit> {
    let mut last = BTreeMap::new();
    for e in edits {
        let (key, gone) = match e {
            Edit::Pod(k, v) => ((0, *k), v.is_none()),
            Edit::Namespace(k, v) => ((1, *k), v.is_none()),
            Edit::Selector(k, v) => ((2, *k), v.is_none()),
        };
        if gone {
            last.remove(&key);
        } else {
            last.insert(key, e.clone());
        }
    }
    last.into_values().collect()
}

fn from_scratch(facts: &[Edit]) -> Fixture {
    let mut f = Fixture::default();
    for e in facts {
        f.apply(e);
    }
    f.graph.commit();
    f
}

proptest! {
    #[test]
    fn incremental_equals_from_scratch(commits in prop::collection::vec(prop::collection::vec(edit(), 1..12), 1..12)) {
        let mut f = Fixture::default();
        f.graph.commit();
        let mut all = Vec::new();
        let mut mirror: BTreeMap<u8, (u32, Vec<u8>, usize)> = BTreeMap::new();
        let mut used: BTreeMap<(u8, u8), Vec<u8>> = BTreeMap::new();
        for batch in &commits {
            for e in batch {
                f.apply(e);
            }
            f.graph.commit();
            all.extend(batch.iter().cloned());
            for change in f.graph.changes(f.workloads) {
                prop_assert_ne!(&change.old, &change.new);
                prop_assert_eq!(change.old.as_deref(), mirror.get(&change.key));
                match change.new {
                    Some(v) => mirror.insert(change.key, (*v).clone()),
                    None => mirror.remove(&change.key),
                };
            }
            for change in f.graph.changes(f.used) {
                prop_assert_eq!(change.old.as_deref(), used.get(&change.key));
                match change.new {
                    Some(v) => used.insert(change.key, (*v).clone()),
                    None => used.remove(&change.key),
                };
            }
            prop_assert_eq!(&used, &f.view().4);
            let scratch = from_scratch(&facts(&all));
            prop_assert_eq!(f.view(), scratch.view());
            prop_assert_eq!(&mirror, &f.view().0);
        }
    }

    #[test]
    fn order_of_facts_does_not_matter(edits in prop::collection::vec(edit(), 1..40), seed in any::<u64>()) {
        let sorted = facts(&edits);
        let mut shuffled = sorted.clone();
        let len = shuffled.len();
        for i in (1..len).rev() {
            shuffled.swap(i, (seed.rotate_left(i as u32) % (i as u64 + 1)) as usize);
        }
        prop_assert_eq!(from_scratch(&sorted).view(), from_scratch(&shuffled).view());
    }

    #[test]
    fn put_then_remove_restores_and_leaves_nothing_behind(edits in prop::collection::vec(edit(), 1..40)) {
        let mut f = Fixture::default();
        f.graph.commit();
        let empty = (f.view(), f.graph.stats().iter().map(|s| s.rows).collect::<Vec<_>>());
        let all = facts(&edits);
        for e in &all {
            f.apply(e);
        }
        f.graph.commit();
        for e in &all {
            f.apply(&match e {
                Edit::Pod(k, _) => Edit::Pod(*k, None),
                Edit::Namespace(k, _) => Edit::Namespace(*k, None),
                Edit::Selector(k, _) => Edit::Selector(*k, None),
            });
        }
        f.graph.commit();
        prop_assert_eq!((f.view(), f.graph.stats().iter().map(|s| s.rows).collect::<Vec<_>>()), empty);
    }
}

fn pod(ns: u8, label: u8, hosts: &[u8]) -> Option<Pod> {
    Some(Pod { ns, label, hosts: hosts.to_vec() })
}

#[test]
fn each_row_is_computed_at_most_once_a_commit_and_only_if_it_read_a_change() {
    let mut f = from_scratch(&[
        Edit::Namespace(0, Some(1)),
        Edit::Namespace(1, Some(1)),
        Edit::Pod(0, pod(0, 0, &[])),
        Edit::Pod(1, pod(0, 1, &[])),
        Edit::Pod(2, pod(1, 0, &[])),
    ]);
    assert_eq!(f.runs.swap(0, Ordering::Relaxed), 3);
    // Three reasons at once for pod 0, one for pod 1 (the namespace), none for pod 2 but the label.
    f.apply(&Edit::Namespace(0, Some(9)));
    f.apply(&Edit::Pod(0, pod(0, 2, &[])));
    f.apply(&Edit::Selector(5, Some(2)));
    f.graph.commit();
    assert_eq!(f.runs.swap(0, Ordering::Relaxed), 2);
    assert_eq!(f.graph.changes(f.workloads).len(), 2);
}

#[test]
fn an_equal_result_stops_there() {
    let mut f = from_scratch(&[
        Edit::Namespace(0, Some(1)),
        Edit::Pod(0, pod(0, 0, &[])),
        Edit::Pod(1, pod(0, 0, &[])),
    ]);
    f.runs.store(0, Ordering::Relaxed);
    f.apply(&Edit::Selector(1, Some(2)));
    f.graph.commit();
    assert_eq!(f.runs.load(Ordering::Relaxed), 0, "nobody reads label 2");
    f.apply(&Edit::Namespace(0, Some(1)));
    f.graph.commit();
    assert_eq!(f.runs.load(Ordering::Relaxed), 0, "an equal fact is no change");
    f.apply(&Edit::Selector(1, Some(0)));
    f.graph.commit();
    assert_eq!(f.runs.load(Ordering::Relaxed), 2, "both read the same selection");
}

#[test]
fn what_a_table_does_not_want_it_does_not_compute() {
    let mut f = from_scratch(&[Edit::Namespace(0, Some(1)), Edit::Pod(0, pod(0, 0, &[]))]);
    let mut runs_after = |edit| {
        f.claim_runs.store(0, Ordering::Relaxed);
        f.apply(&edit);
        f.graph.commit();
        (f.claim_runs.load(Ordering::Relaxed), f.view().5.get(&0).copied())
    };
    assert_eq!(runs_after(Edit::Pod(0, pod(0, 1, &[]))), (0, None));
    assert_eq!(runs_after(Edit::Pod(0, pod(0, 1, &[5]))), (1, Some((5, Some(1)))));
    assert_eq!(runs_after(Edit::Namespace(0, Some(2))), (1, Some((5, Some(2)))));
    // What was wanted before goes, without being computed.
    assert_eq!(runs_after(Edit::Pod(0, pod(0, 1, &[]))), (0, None));
    assert_eq!(runs_after(Edit::Namespace(0, Some(3))), (0, None));
}

#[test]
fn an_absent_key_is_a_dependency() {
    let mut f = from_scratch(&[Edit::Pod(0, pod(3, 0, &[]))]);
    assert!(f.view().0.is_empty());
    f.apply(&Edit::Namespace(3, Some(7)));
    f.graph.commit();
    assert_eq!(f.view().0[&0].0, 7);
}

#[test]
fn of_two_claims_on_a_key_the_smaller_owner_has_it_and_the_other_follows() {
    for order in [[1, 2], [2, 1]] {
        let mut f = Fixture::default();
        for k in order {
            f.apply(&Edit::Pod(k, pod(0, 0, &[5])));
            f.graph.commit();
        }
        assert_eq!(f.view().1[&5], 1);
        f.apply(&Edit::Pod(1, None));
        f.graph.commit();
        assert_eq!(f.view().1[&5], 2);
    }
}

#[test]
fn a_memo_goes_with_its_last_reader() {
    let mut f = from_scratch(&[
        Edit::Namespace(0, Some(1)),
        Edit::Pod(0, pod(0, 0, &[])),
        Edit::Pod(1, pod(0, 0, &[])),
    ]);
    let rows = |f: &Fixture| f.graph.stats().iter().find(|s| s.name == "selection").unwrap().rows;
    assert_eq!(rows(&f), 1);
    f.apply(&Edit::Pod(0, None));
    f.graph.commit();
    assert_eq!(rows(&f), 1);
    f.apply(&Edit::Pod(1, None));
    f.graph.commit();
    assert_eq!(rows(&f), 0);
}

#[test]
fn the_rows_of_a_memo_in_use_are_a_table_that_follows_its_readers() {
    let mut f = from_scratch(&[
        Edit::Namespace(0, Some(1)),
        Edit::Pod(0, pod(0, 0, &[])),
        Edit::Pod(1, pod(0, 0, &[])),
    ]);
    assert_eq!(f.graph.changes(f.used).len(), 1);
    f.apply(&Edit::Pod(0, None));
    f.graph.commit();
    assert_eq!(f.graph.changes(f.used), [], "another pod reads it still");
    // Its last reader turns to another row: one goes, one comes, in the same commit.
    f.apply(&Edit::Pod(1, pod(0, 1, &[])));
    f.graph.commit();
    let changes = f.graph.changes(f.used);
    assert_eq!(
        changes.iter().map(|c| (c.key, c.new.is_some())).collect::<Vec<_>>(),
        [((0, 0), false), ((0, 1), true)]
    );
    let trace = f.graph.why(f.used, &(0, 1), 2).unwrap().to_string();
    assert!(trace.contains("selection (0, 1)") && trace.contains("namespaces 0"), "{trace}");
}

#[test]
fn why_names_what_was_read_and_what_was_absent() {
    let f = from_scratch(&[
        Edit::Pod(0, pod(3, 1, &[])),
        Edit::Selector(4, Some(1)),
        Edit::Namespace(3, Some(1)),
    ]);
    let trace = f.graph.why(f.workloads, &0, 3).unwrap();
    let text = trace.to_string();
    assert!(text.starts_with("workloads 0\n") && text.contains("\n  pods 0\n"), "{text}");
    assert!(text.contains("selection (3, 1)") && text.contains("selectors 4"), "{text}");
    let f = from_scratch(&[Edit::Pod(0, pod(3, 1, &[]))]);
    let text = f.graph.why(f.workloads, &0, 1).map(|t| t.to_string()).unwrap_or_default();
    assert!(text.is_empty() || text.contains("namespaces 3 (absent)"), "{text}");
}

#[test]
fn the_inputs_of_a_row_are_told_once_each_and_not_what_lies_between() {
    let f = from_scratch(&[
        Edit::Pod(0, pod(3, 1, &[])),
        Edit::Pod(1, pod(3, 2, &[])),
        Edit::Selector(4, Some(1)),
        Edit::Selector(5, Some(2)),
        Edit::Namespace(3, Some(1)),
    ]);
    let origins = |limit| -> Vec<String> {
        let found = f.graph.origins(f.workloads, &0, limit).into_iter();
        found.map(|of| format!("{} {}", of.table, of.key)).collect()
    };
    let mut all = origins(100);
    all.sort();
    // The other pod is one by which its namespace has its size; the other selector is nothing to this row.
    assert_eq!(all, ["namespaces 3", "pods 0", "pods 1", "selectors 4"]);
    assert!(origins(2).len() <= 2);
    assert!(f.graph.origins(f.workloads, &9, 100).is_empty());
}

#[test]
fn changes_that_nobody_took_end_with_the_next_commit() {
    let mut b = Builder::default();
    let words = b.input::<u8, u8>("words");
    let other = b.input::<u8, u8>("other");
    b.sink(words);
    let mut graph = b.build();
    graph.put(words, 1, 1);
    graph.commit();
    graph.put(other, 1, 1);
    graph.commit();
    assert_eq!(graph.changes(words), []);
    graph.put(words, 1, 2);
    graph.put(words, 1, 1);
    graph.commit();
    assert_eq!(graph.changes(words), [], "it is what it was");
    graph.put(words, 1, 3);
    graph.commit();
    assert_eq!(graph.changes(words).len(), 1);
    assert_eq!(graph.changes(words), [], "each is taken once");
}

#[test]
fn a_graph_may_move_to_its_thread() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&Fixture::default().graph);
}

#[test]
fn whether_anything_is_under_a_key_is_a_read_like_any_other() {
    let mut b = Builder::default();
    let pods = b.input::<u8, u8>("pods");
    let by_ns = b.index(pods, "pod_by_ns", |_, ns| [*ns]);
    let namespaces = b.input::<u8, ()>("namespaces");
    let runs = Arc::new(AtomicUsize::new(0));
    let counter = runs.clone();
    let populated = b.derive("populated", namespaces, move |cx, ns, ()| {
        counter.fetch_add(1, Ordering::Relaxed);
        Some(cx.any(by_ns, ns))
    });
    b.sink(populated);
    let mut graph = b.build();
    graph.put(namespaces, 1, ());
    graph.commit();
    let mut seen = vec![];
    // Absent before, and yet a dependency; then as many as there are, and none again.
    let edits = [(1, Some(1)), (2, Some(1)), (1, None), (2, Some(2)), (2, Some(1)), (2, None)];
    for (pod, ns) in edits {
        match ns {
            Some(ns) => graph.put(pods, pod, ns),
            None => graph.remove(pods, &pod),
        }
        graph.commit();
        seen.push(graph.get(populated, &1).as_deref().copied().unwrap());
    }
    assert_eq!(seen, [true, true, true, false, true, false]);
    // What goes on elsewhere is not looked at.
    let before = runs.load(Ordering::Relaxed);
    graph.put(pods, 9, 2);
    graph.commit();
    assert_eq!(runs.load(Ordering::Relaxed), before);
}
