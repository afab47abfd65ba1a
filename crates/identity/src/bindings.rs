//! Streams that end with the pod that opened them.

use hashbrown::HashMap;
use model::Name;
use parking_lot::Mutex;
use plane::GatewayInstance;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Bound {
    id: u64,
    pod: BoundPod,
    gone: CancellationToken,
}

/// What a stream depends on of its pod: when any of it is different, the stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BoundPod {
    /// The UID.
    pub uid: String,
    /// Of which gateway it is an instance, and where.
    pub instance: Option<GatewayInstance>,
}

#[derive(Debug, Default)]
struct Table {
    by_pod: HashMap<Name, Vec<Bound>>,
    next_id: u64,
}

/// Which streams are bound to which pods.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bindings(Arc<Mutex<Table>>);

/// The tie of a stream to the pod that opened it; dropping it unties.
pub struct Binding {
    bindings: Bindings,
    pod: Name,
    id: u64,
    /// Cancelled when the pod is deleted, done, or replaced.
    pub gone: CancellationToken,
    /// The node of the pod.
    pub node: String,
    /// Of which gateway the pod is an instance, and where.
    pub instance: Option<GatewayInstance>,
}

impl Bindings {
    /// Binds a stream to a pod. `find` says that the pod lives, what it is, and on which node: it is
    /// asked under the lock under which [`Bindings::release`] looks, so that no removal falls between the
    /// answer and the binding.
    ///
    /// # Errors
    /// What `find` says.
    pub fn bind<E>(
        &self,
        name: Name,
        find: impl FnOnce() -> Result<(BoundPod, String), E>,
    ) -> Result<Binding, E> {
        let mut table = self.0.lock();
        let (pod, node) = find()?;
        let id = table.next_id;
        table.next_id += 1;
        let gone = CancellationToken::new();
        let instance = pod.instance.clone();
        table.by_pod.entry(name.clone()).or_default().push(Bound { id, pod, gone: gone.clone() });
        Ok(Binding { bindings: self.clone(), pod: name, id, gone, node, instance })
    }

    /// Ends the streams that are bound to these pods, but for those of the pod that has the name now:
    /// `live` tells what that is.
    pub fn release(&self, pods: &[Name], live: impl Fn(&Name) -> Option<BoundPod>) {
        if pods.is_empty() {
            return;
        }
        let mut table = self.0.lock();
        for pod in pods {
            let Some(bound) = table.by_pod.get_mut(pod) else { continue };
            let live = live(pod);
            bound.retain(|bound| {
                let stays = live.as_ref() == Some(&bound.pod);
                if !stays {
                    bound.gone.cancel();
                }
                stays
            });
            if bound.is_empty() {
                table.by_pod.remove(pod);
            }
        }
    }

    fn unbind(&self, pod: &Name, id: u64) {
        let mut table = self.0.lock();
        if let Some(bound) = table.by_pod.get_mut(pod) {
            bound.retain(|bound| bound.id != id);
            if bound.is_empty() {
                table.by_pod.remove(pod);
            }
        }
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        self.bindings.unbind(&self.pod, self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(uid: &str, gateway: Option<&str>) -> BoundPod {
        let instance =
            gateway.map(|gateway| GatewayInstance { gateway: gateway.into(), places: Default::default() });
        BoundPod { uid: uid.to_owned(), instance }
    }

    fn bind(bindings: &Bindings, uid: &str) -> Binding {
        let find = || Ok::<_, ()>((pod(uid, None), "n1".to_owned()));
        bindings.bind(Name::new("shop", "web-0"), find).unwrap()
    }

    #[test]
    fn streams_of_the_pod_that_went_end_and_those_of_its_successor_go_on() {
        let bindings = Bindings::default();
        let (first, second) = (bind(&bindings, "1"), bind(&bindings, "2"));
        bindings.release(&[Name::new("shop", "web-1")], |_| None);
        assert!(!first.gone.is_cancelled());
        bindings.release(&[Name::new("shop", "web-0")], |_| Some(pod("2", None)));
        assert!(first.gone.is_cancelled() && !second.gone.is_cancelled());
        bindings.release(&[Name::new("shop", "web-0")], |_| None);
        assert!(second.gone.is_cancelled());
        assert!(bindings.0.lock().by_pod.is_empty());
    }

    #[test]
    fn a_stream_ends_when_its_pod_becomes_one_of_another_gateway() {
        let bindings = Bindings::default();
        let bound = bind(&bindings, "1");
        bindings.release(&[Name::new("shop", "web-0")], |_| Some(pod("1", None)));
        assert!(!bound.gone.is_cancelled());
        bindings.release(&[Name::new("shop", "web-0")], |_| Some(pod("1", Some("front"))));
        assert!(bound.gone.is_cancelled());
    }

    #[test]
    fn a_stream_that_ends_leaves_nothing() {
        let bindings = Bindings::default();
        drop(bind(&bindings, "1"));
        assert!(bindings.0.lock().by_pod.is_empty());
        assert_eq!(bindings.bind(Name::default(), || Err("gone")).err(), Some("gone"));
        assert!(bindings.0.lock().by_pod.is_empty());
    }
}
