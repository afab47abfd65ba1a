//! Plays the controllers of a cluster over the declared objects.
//!
//! ```text
//! declared ─▶ namespaces, accounts ─▶ nodes ─▶ controllers ─▶ pods ─▶ services ─▶ endpoint slices
//! ```
//!
//! Every step is a function of the objects before it; what a folder declares is never overwritten.

mod address;
mod controller;
mod endpoint;
mod namespace;
mod node;
mod pod;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::field::Flaw;
use crate::{Key, Object, Objects, Origin, Problem, Severity};

use address::Addresses;

/// Tells whether an object is one that the simulation can work with: controllers of pods are read
/// in full, all others are taken as they are.
///
/// # Errors
///
/// The first invalid value of a controller.
pub(crate) fn check(object: &Object) -> Result<(), Flaw> {
    controller::read(object).map(drop)
}

/// Gives every object that a cluster would hold after `declared` was applied to it.
pub(crate) fn simulate(declared: &Objects, problems: &mut Vec<Problem>) -> Objects {
    let mut objects = declared.clone();
    namespace::complete(&mut objects);
    let mut addresses = Addresses::reserve(declared);
    let nodes = node::complete(&mut objects, &mut addresses);
    pod::run(&mut objects, declared, &nodes, &mut addresses, problems);
    service::assign_addresses(&mut objects, &mut addresses, problems);
    endpoint::slices(&mut objects);
    objects
}

/// The objects of one kind, in order of namespace and name.
fn of_kind<'o>(
    objects: &'o Objects,
    group: &str,
    kind: &str,
) -> impl Iterator<Item = &'o Arc<Object>> + use<'o> {
    let first = Key::new(group, kind, "", "");
    let (group, kind) = (group.to_owned(), kind.to_owned());
    objects
        .range(first..)
        .take_while(move |(key, _)| key.group == group && key.kind == kind)
        .map(|(_, object)| object)
}

/// Adds a generated object, unless the folder declares one of that name.
fn add(objects: &mut Objects, api_version: &str, key: Key, value: Value, cause: Option<&Object>) {
    let origin: Option<Origin> = cause.and_then(|cause| cause.origin.clone());
    let made_for = cause.map(|cause| cause.key.clone());
    objects.entry(key.clone()).or_insert_with(|| {
        Arc::new(Object { key, api_version: api_version.to_owned(), value, origin, made_for })
    });
}

/// The labels at a JSON pointer; values that are no strings are left out.
fn labels_at<'v>(value: &'v Value, pointer: &str) -> BTreeMap<&'v str, &'v str> {
    let map = value.pointer(pointer).and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(name, value)| value.as_str().map(|value| (name.as_str(), value)))
        .collect()
}

/// The string at a JSON pointer.
fn text_at<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The items at a JSON pointer.
fn items_at<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A problem with a declared object.
fn report(
    problems: &mut Vec<Problem>,
    object: &Object,
    (code, severity): (&'static str, Severity),
    message: String,
    help: &str,
) {
    if let Some(origin) = &object.origin {
        problems.push(Problem {
            file: Arc::clone(&origin.file),
            line: origin.line,
            column: 1,
            severity,
            code,
            object: Some(object.key.clone()),
            message,
            help: help.to_owned(),
        });
    }
}
