//! The table of labels and annotations has all that Istio's API publishes, and says what is true of each.

use anyhow::{Context, ensure};

use model::field::{FieldState, MetadataPart, is_of_mesh, metadata_keys};
use model::{Kind, Labels, Object, RequestLimit};
use pilothouse_tests::apiserver::{documents, istio_api};
use serde_json::json;
use std::sync::Arc;

#[test]
fn every_label_and_annotation_of_the_api_is_in_the_table() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (part, file) in
        [(MetadataPart::Label, "label/labels"), (MetadataPart::Annotation, "annotation/annotations")]
    {
        let path = istio_api()?.join(file).with_extension("yaml");
        let published = documents(&std::fs::read_to_string(&path)?)?;
        let published = published.iter().find_map(|document| document[part.field()].as_array());
        let published = published.with_context(|| format!("{} lists nothing", path.display()))?;
        ensure!(published.len() > 20, "{} lists {}", path.display(), published.len());
        for key in published {
            let name = key["name"].as_str().unwrap_or_default();
            let is_it = |known: &str| match known.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => known == name,
            };
            if is_of_mesh(name) && !metadata_keys().any(|known| known.part == part && is_it(known.name)) {
                wrong.push(format!("{part} {name} is not in the table"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Returns what is made of an object with a label or annotation, and what is told of it.
fn parse(kind: Kind, part: MetadataPart, pairs: &[(&str, &str)]) -> anyhow::Result<(Object, Vec<String>)> {
    let pairs: serde_json::Map<_, _> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let object = json!({"metadata": {"name": "web", "namespace": "shop", part.field(): pairs}});
    let mut object =
        model::parse(kind, object.to_string().as_bytes()).map_err(|why| anyhow::anyhow!("{why}"))?;
    let told = match &object {
        Object::Pod(pod) => pod.ignored.iter().map(|(field, _)| field.to_string()).collect(),
        _ => object.unsupported().iter().map(|told| told.field.clone()).collect(),
    };
    // What is told aside, two objects are the same if nothing of it was read.
    if let Some(told) = object.unsupported_mut() {
        told.clear();
    }
    match &mut object {
        Object::Pod(pod) => Arc::make_mut(pod).ignored = Labels::default(),
        // All annotations of a Gateway are put on what is deployed for it.
        Object::Gateway(gateway) => Arc::make_mut(gateway).annotations = gateway.meta.annotations.clone(),
        _ => {}
    }
    Ok((object, told))
}

#[test]
fn annotations_are_read_or_told_as_the_table_says() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let annotations = metadata_keys().filter(|key| key.part == MetadataPart::Annotation);
    for key in annotations {
        let name = key.name.replace('*', "some");
        for &kind in Kind::ALL.iter().filter(|kind| Object::judges_metadata(**kind)) {
            // Another line has those of other kinds.
            let is_of = key.kinds.is_empty() || key.kinds.contains(&kind);
            let others = metadata_keys().any(|other| {
                other.part == key.part && other.name == key.name && other.kinds != key.kinds
                    || other.name == name && other.name != key.name
            });
            if !is_of && others {
                continue;
            }
            let any = if key.name == RequestLimit::ANNOTATION { "1/s" } else { "a" };
            let value = key.values.first().copied().unwrap_or(any);
            let (bare, _) = parse(kind, key.part, &[])?;
            let (object, told) = parse(kind, key.part, &[(&name, value)])?;
            let is_read = object != bare;
            let (should_be_read, should_be_told) = match key.state {
                _ if !is_of => (false, true),
                FieldState::Read => (true, false),
                FieldState::Deprecated { .. } => (true, true),
                FieldState::Outside(_) => (false, false),
                FieldState::Unsupported { .. } => (false, true),
            };
            if is_read != should_be_read
                || (told == [format!("metadata.annotations[{name}]")]) != should_be_told
            {
                wrong.push(format!("{kind} {name}: read {is_read}, told {told:?}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
