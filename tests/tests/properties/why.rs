//! Where everything that leaves the mesh comes from can be asked.

use std::collections::BTreeMap;

use plane::Plane;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{cluster_events, config, options, synced, told};

/// Checks that of every resource, and of the conditions of every object, it is known what they were made
/// from: of each exactly once.
fn is_answered(mesh: &Plane) -> Result<(), TestCaseError> {
    let mut named: BTreeMap<String, usize> = BTreeMap::new();
    for resource in mesh.resources() {
        *named.entry(resource.name).or_default() += 1;
    }
    for (object, _) in mesh.conditions() {
        *named.entry(object.to_string()).or_default() += 1;
    }
    for (name, count) in named {
        let traces = mesh.why(&name, 1);
        prop_assert_eq!(traces.len(), count, "{}", name);
        prop_assert!(
            traces.iter().all(|trace| trace.present && !trace.reads.is_empty()),
            "{}: {:?}",
            name,
            traces
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_resource_and_condition_says_what_it_was_made_from(
        options in options(),
        objects in vec(told(), 0..40).prop_map(cluster_events),
    ) {
        let mesh = synced(&options, objects);
        is_answered(&mesh)?;
        prop_assert!(mesh.why("nobody/knows", 1).is_empty());
    }
}
