//! Files that use one another in a circle.

use super::arrows::Arrows;
use std::collections::{BTreeMap, BTreeSet};

/// Returns the circles: the largest sets of two or more files each of which leads to all others.
pub fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        next.entry(from).or_default().push(to);
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> = next.keys().map(|from| (*from, reach(&next, from))).collect();
    let leads = |from: &str, to: &str| reach.get(from).is_some_and(|reached| reached.contains(to));
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for file in reach.keys().filter(|file| leads(file, file)) {
        if !found.iter().any(|circle| circle.contains(*file)) {
            let circle = reach.keys().filter(|other| leads(file, other) && leads(other, file));
            found.push(circle.map(|file| (*file).to_owned()).collect());
        }
    }
    found
}

/// Returns everything that a file leads to in one step or more.
fn reach<'a>(next: &BTreeMap<&'a str, Vec<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for to in next.get(file).into_iter().flatten() {
            if reached.insert(*to) {
                open.push(to);
            }
        }
    }
    reached
}

/// Describes a circle: each arrow in it with the names that cause it.
pub fn describe(circle: &BTreeSet<String>, arrows: &Arrows) -> String {
    let mut lines = vec![format!("a circle of {} files:", circle.len())];
    for ((from, to), names) in arrows {
        if circle.contains(from) && circle.contains(to) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            lines.push(format!("    {from} uses {to}: {}", names.join(", ")));
        }
    }
    lines.join("\n")
}
