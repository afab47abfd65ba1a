//! Streams that end with the pod that opened them.

use hashbrown::HashMap;
use model::Name;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Bound {
    id: u64,
    uid: String,
    gone: CancellationToken,
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
}

impl Bindings {
    /// Binds a stream to a pod. `node_of` says that the pod of this UID lives, and on which node: it is
    /// asked under the lock under which [`Bindings::release`] looks, so that no removal falls between the
    /// answer and the binding.
    ///
    /// # Errors
    /// What `node_of` says.
    pub fn bind<E>(
        &self,
        pod: Name,
        uid: &str,
        node_of: impl FnOnce() -> Result<String, E>,
    ) -> Result<Binding, E> {
        let mut table = self.0.lock();
        let node = node_of()?;
        let id = table.next_id;
        table.next_id += 1;
        let gone = CancellationToken::new();
        let bound = Bound { id, uid: uid.to_owned(), gone: gone.clone() };
        table.by_pod.entry(pod.clone()).or_default().push(bound);
        Ok(Binding { bindings: self.clone(), pod, id, gone, node })
    }

    /// Ends the streams that are bound to these pods, but for those of the pod that has the name now:
    /// `uid_of` tells its UID.
    pub fn release(&self, pods: &[Name], uid_of: impl Fn(&Name) -> Option<String>) {
        if pods.is_empty() {
            return;
        }
        let mut table = self.0.lock();
        for pod in pods {
            let Some(bound) = table.by_pod.get_mut(pod) else { continue };
            let live = uid_of(pod);
            bound.retain(|bound| {
                let stays = live.as_ref() == Some(&bound.uid);
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

    fn bind(bindings: &Bindings, uid: &str) -> Binding {
        bindings.bind(Name::new("shop", "web-0"), uid, || Ok::<_, ()>("n1".to_owned())).unwrap()
    }

    #[test]
    fn streams_of_the_pod_that_went_end_and_those_of_its_successor_go_on() {
        let bindings = Bindings::default();
        let (first, second) = (bind(&bindings, "1"), bind(&bindings, "2"));
        bindings.release(&[Name::new("shop", "web-1")], |_| None);
        assert!(!first.gone.is_cancelled());
        bindings.release(&[Name::new("shop", "web-0")], |_| Some("2".to_owned()));
        assert!(first.gone.is_cancelled() && !second.gone.is_cancelled());
        bindings.release(&[Name::new("shop", "web-0")], |_| None);
        assert!(second.gone.is_cancelled());
        assert!(bindings.0.lock().by_pod.is_empty());
    }

    #[test]
    fn a_stream_that_ends_leaves_nothing() {
        let bindings = Bindings::default();
        drop(bind(&bindings, "1"));
        assert!(bindings.0.lock().by_pod.is_empty());
        assert_eq!(bindings.bind(Name::default(), "", || Err("gone")).err(), Some("gone"));
        assert!(bindings.0.lock().by_pod.is_empty());
    }
}
