//! The folder's behaviour, from text to objects.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod controllers;
mod example;
mod loading;
mod properties;
mod repositories;
mod services;

use std::sync::Arc;

use model::Severity;
use serde_json::Value;

use crate::{Folder, Key, Object, Resolved};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> Folder {
    let mut folder = Folder::default();
    for (path, text) in files {
        folder.set(path, text);
    }
    folder
}

fn resolve(text: &str) -> Resolved {
    folder(&[("a.yaml", text)]).resolve()
}

/// The objects of a kind, in order.
fn all<'r>(resolved: &'r Resolved, kind: &str) -> Vec<&'r Arc<Object>> {
    resolved.objects.values().filter(|object| object.key.kind == kind).collect()
}

fn names(resolved: &Resolved, kind: &str) -> Vec<String> {
    all(resolved, kind).iter().map(|object| format!("{}/{}", object.key.namespace, object.key.name)).collect()
}

fn get<'r>(resolved: &'r Resolved, group: &str, kind: &str, namespace: &str, name: &str) -> &'r Value {
    let key = Key::new(group, kind, namespace, name);
    &resolved.objects.get(&key).unwrap_or_else(|| panic!("{key} is missing")).value
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{pointer} is no string in {value}"))
}

/// The problems of at least warning level, as text.
fn complaints(resolved: &Resolved) -> Vec<String> {
    resolved
        .problems
        .iter()
        .filter(|problem| problem.severity <= Severity::Warning)
        .map(ToString::to_string)
        .collect()
}

/// A Deployment with its account.
fn deployment(namespace: &str, name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}, version: v1}}}}
    spec:
      containers:
      - name: app
        image: app
        ports: [{{name: http, containerPort: 8080}}]
"
    )
}
