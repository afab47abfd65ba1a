//! Which services, of either kind, select a workload: a memo by namespace and labels, which the replicas of
//! a deployment share.

use engine::{Builder, Memo};
use std::sync::Arc;

use super::entry::Entries;
use super::view::{ServiceView, Services};
use crate::key::{Anchor, Selected};

/// The services that select one set of labels, ascending by key.
#[derive(PartialEq, Debug)]
pub(crate) struct SelectedServices(pub Vec<Arc<ServiceView>>);

/// Declares which services, of either kind, select a workload.
pub(crate) fn declare_services(
    b: &mut Builder,
    services: Services,
    entries: Entries,
) -> Memo<Selected, SelectedServices> {
    b.memo("selected_services", move |cx, of: &Selected| {
        let anchors = || Anchor::of_labels(Some(&of.ns), &of.labels);
        let plain = anchors().flat_map(|anchor| cx.lookup(services.by_anchor, &anchor)).map(|(_, s)| s);
        let entries = anchors().flat_map(|anchor| cx.lookup(entries.by_anchor, &anchor)).map(|(_, s)| s);
        let mut found: Vec<Arc<ServiceView>> =
            plain.chain(entries).filter(|s| s.selector.is_subset_of(&of.labels)).collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Some(SelectedServices(found))
    })
}
