//! Labels and annotations of the mesh that pods have in vain.

use engine::{Builder, Memo, Table};
use model::facts::Pod;
use model::parse::ignored_metadata;
use model::{Kind, Name, Ns, ObjectRef, Str};
use output::Outputs;

use crate::namespace::NamespaceView;

/// What pods of one template have in vain.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Ignored {
    ns: Ns,
    /// The name of what made the pods.
    workload: Str,
    field: Str,
    value: Str,
}

/// Declares the diagnostics: one for all pods of a template, told of the first.
pub(super) fn declare(
    b: &mut Builder,
    out: &mut Outputs,
    pods: Table<Name, Pod>,
    namespaces: Memo<Ns, NamespaceView>,
) {
    // Few pods have any: the others cost a look at it, and no row.
    let by_ignored = b.index(pods, "pod_by_ignored", |name: &Name, pod: &Pod| {
        let ignored = pod.ignored.iter().map(|(field, value)| Ignored {
            ns: name.ns.clone(),
            workload: pod.workload_name.clone(),
            field: field.clone(),
            value: value.clone(),
        });
        ignored.collect::<Vec<_>>()
    });
    let first =
        b.group("pods_with_ignored", by_ignored, |_, _, pods| pods.first().map(|(name, _)| name.clone()));
    out.diagnostics_where(
        b,
        "ignored_findings",
        first,
        |_, _| true,
        move |cx, of, pod| {
            let is_sent = cx.memo(namespaces, &of.ns)?.in_scope;
            let object = ObjectRef { kind: Kind::Pod, name: pod.clone() };
            ignored_metadata(&object, &of.field, &of.value).filter(|_| is_sent)
        },
    );
}
