//! Streams that end with the pod that opened them.

use hashbrown::HashMap;
use model::Name;
use parking_lot::Mutex;
use plane::GatewayInstance;
use std::collections::BTreeSet;
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

/// What there is to say of a pod when a stream is to be bound to it.
pub(crate) struct Found {
    pub pod: BoundPod,
    /// Its node.
    pub node: String,
    /// From when on it is gone, in seconds since 1970; `None` unless it is being deleted.
    pub gone_at: Option<i64>,
}

/// The streams that are bound to pods of one name.
#[derive(Debug, Default)]
struct Streams {
    all: Vec<Bound>,
    /// From when on the pod is gone that had the name last.
    gone_at: Option<i64>,
}

#[derive(Debug, Default)]
struct Table {
    by_pod: HashMap<Name, Streams>,
    /// The pods with streams that are being deleted, by when they are gone.
    leaving: BTreeSet<(i64, Name)>,
    next_id: u64,
}

impl Table {
    /// Notes from when on a pod is gone that has streams; tells whether it has any.
    fn set_gone_at(&mut self, name: &Name, gone_at: Option<i64>) -> bool {
        let Some(streams) = self.by_pod.get_mut(name) else { return false };
        if streams.gone_at != gone_at {
            let old = std::mem::replace(&mut streams.gone_at, gone_at);
            old.map(|old| self.leaving.remove(&(old, name.clone())));
            self.leaving.extend(gone_at.map(|gone_at| (gone_at, name.clone())));
        }
        true
    }

    /// Keeps those streams of a pod that are wanted.
    fn retain(&mut self, name: &Name, is_wanted: impl FnMut(&Bound) -> bool) {
        let Some(streams) = self.by_pod.get_mut(name) else { return };
        streams.all.retain(is_wanted);
        if streams.all.is_empty() {
            self.set_gone_at(name, None);
            self.by_pod.remove(name);
        }
    }
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
    /// Binds a stream to a pod. `find` says that the pod lives, and what it is: it is asked under the lock under which [`Bindings::release`] looks, so that no removal falls between the
    /// answer and the binding.
    ///
    /// # Errors
    /// What `find` says.
    pub fn bind<E>(&self, name: Name, find: impl FnOnce() -> Result<Found, E>) -> Result<Binding, E> {
        let mut table = self.0.lock();
        let Found { pod, node, gone_at } = find()?;
        let id = table.next_id;
        table.next_id += 1;
        let gone = CancellationToken::new();
        let instance = pod.instance.clone();
        table.by_pod.entry(name.clone()).or_default().all.push(Bound { id, pod, gone: gone.clone() });
        table.set_gone_at(&name, gone_at);
        Ok(Binding { bindings: self.clone(), pod: name, id, gone, node, instance })
    }

    /// Ends the streams that are bound to these pods, but for those of the pod that has the name now:
    /// `live` tells what that is.
    pub fn release(&self, pods: &[Name], live: impl Fn(&Name) -> Option<BoundPod>) {
        if pods.is_empty() {
            return;
        }
        let mut table = self.0.lock();
        for pod in pods.iter().filter(|pod| table.by_pod.contains_key(*pod)).cloned().collect::<Vec<_>>() {
            let live = live(&pod);
            table.retain(&pod, |bound| {
                let stays = live.as_ref() == Some(&bound.pod);
                if !stays {
                    bound.gone.cancel();
                }
                stays
            });
        }
    }

    /// Takes that pods are being deleted, and from when on each is gone; tells whether one has streams.
    pub fn leave<'n>(&self, pods: impl Iterator<Item = (&'n Name, i64)>) -> bool {
        let mut table = self.0.lock();
        // Each is noted.
        pods.fold(false, |any, (name, gone_at)| table.set_gone_at(name, Some(gone_at)) || any)
    }

    /// Takes out the pods with streams that are gone by now.
    pub fn overdue(&self, now: i64) -> Vec<Name> {
        let mut table = self.0.lock();
        let mut all = Vec::new();
        while table.leaving.first().is_some_and(|(gone_at, _)| *gone_at <= now) {
            let Some((_, name)) = table.leaving.pop_first() else { break };
            if let Some(streams) = table.by_pod.get_mut(&name) {
                streams.gone_at = None;
            }
            all.push(name);
        }
        all
    }

    /// Returns when the next pod with streams is gone.
    pub fn next_overdue(&self) -> Option<i64> {
        self.0.lock().leaving.first().map(|(gone_at, _)| *gone_at)
    }

    fn unbind(&self, pod: &Name, id: u64) {
        self.0.lock().retain(pod, |bound| bound.id != id);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        let table = self.0.lock();
        table.by_pod.is_empty() && table.leaving.is_empty()
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
        let find = || Ok::<_, ()>(Found { pod: pod(uid, None), node: "n1".to_owned(), gone_at: None });
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
        assert!(bindings.is_empty());
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
        assert!(bindings.is_empty());
        assert_eq!(bindings.bind(Name::default(), || Err("gone")).err(), Some("gone"));
        assert!(bindings.is_empty());
    }
}
