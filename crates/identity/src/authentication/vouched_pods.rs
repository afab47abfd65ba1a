//! The pods that development tokens vouch for.

use crate::identity_index::LivePods;
use ca::{Caller, Pods, RunningPod};

/// The known pods, and the caller's own pod if a development token vouches for it: the holder of the state
/// folder's key may claim a pod that no manifest defines.
pub(super) struct VouchedPods<'a> {
    pub pods: LivePods<'a>,
    pub caller: &'a Caller,
}

impl Pods for VouchedPods<'_> {
    fn pod(&self, namespace: &str, name: &str) -> Option<RunningPod<'_>> {
        let vouched = || {
            let pod = self.caller.pod.as_ref().filter(|pod| pod.name == name)?;
            (self.caller.namespace == namespace).then_some(RunningPod {
                uid: pod.uid.as_str().into(),
                service_account: &self.caller.service_account,
                node: self.caller.node.as_deref().unwrap_or_default(),
                is_gone: false,
            })
        };
        self.pods.pod(namespace, name).or_else(vouched)
    }

    fn runs_on(&self, node: &str, namespace: &str, service_account: &str) -> bool {
        self.pods.runs_on(node, namespace, service_account)
    }

    fn has_pod(&self, namespace: &str, service_account: &str) -> bool {
        self.pods.has_pod(namespace, service_account)
    }

    fn has_outside(&self, namespace: &str, service_account: &str) -> bool {
        self.pods.has_outside(namespace, service_account)
    }
}
