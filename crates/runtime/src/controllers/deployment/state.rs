//! What is to be deployed and what was observed, and what of it is to be written: no I/O.

use super::compare::{Desired, is_held, object_of, owner_of, text};
use cluster::{WrittenKind, WrittenObject};
use model::{Name, Str};
use plane::{GatewayDeployment, Manifest};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// An object that a watch has shown.
struct Observed {
    uid: String,
    /// The Gateway that owns it, with its uid.
    owner: Option<(Name, Str)>,
}

/// An object to be written, with what was read of it where that is known.
pub(super) type Work = (WrittenObject, Desired, Option<Arc<Value>>);

/// The deployments of all gateways, and the objects that are there.
#[derive(Default)]
pub(super) struct State {
    desired: BTreeMap<Name, Arc<GatewayDeployment>>,
    /// The gateways that want an object: of several, one has it.
    claims: BTreeMap<WrittenObject, BTreeSet<Name>>,
    observed: BTreeMap<WrittenObject, Observed>,
    /// What the API server holds of an object where it writes the same in other words.
    accepted: BTreeMap<WrittenObject, Value>,
    /// The kinds that were listed once, and while one is listed again, what it has shown.
    listed: BTreeSet<WrittenKind>,
    listing: BTreeMap<WrittenKind, BTreeSet<WrittenObject>>,
}

impl State {
    /// Sets what is deployed for a gateway; returns what is to be written for that.
    pub fn set(&mut self, gateway: &Name, new: Option<Arc<GatewayDeployment>>) -> Vec<Work> {
        let old = match &new {
            Some(new) => self.desired.insert(gateway.clone(), Arc::clone(new)),
            None => self.desired.remove(gateway),
        };
        let before = manifests(old.as_deref());
        for manifest in before {
            let object = object_of(gateway, manifest);
            if let Some(claims) = self.claims.get_mut(&object) {
                claims.remove(gateway);
                if claims.is_empty() {
                    self.claims.remove(&object);
                }
            }
        }
        let Some(new) = new else { return Vec::new() };
        let now = manifests(Some(&new));
        let mut work = Vec::new();
        for manifest in now {
            let object = object_of(gateway, manifest);
            self.claims.entry(object.clone()).or_default().insert(gateway.clone());
            if !before.contains(manifest) {
                self.accepted.remove(&object);
                // Before a kind is listed, its objects are compared when they are shown.
                if self.listed.contains(&object.kind) {
                    work.push((object.clone(), self.present(&object, &new, manifest), None));
                }
            }
        }
        if new.manifests.is_ok() {
            let stale = self.observed.iter().filter(|(object, observed)| {
                observed.owner.as_ref().is_some_and(|(owner, uid)| owner == gateway && *uid == new.uid)
                    && !now.iter().any(|manifest| object_of(gateway, manifest) == **object)
            });
            work.extend(
                stale.map(|(object, observed)| (object.clone(), Desired::Absent(observed.uid.clone()), None)),
            );
        }
        work
    }

    /// Returns the gateways of which something is known.
    pub fn gateways(&self) -> BTreeSet<Name> {
        self.desired.keys().cloned().collect()
    }

    /// Begins a listing of a kind.
    pub fn begin_listing(&mut self, kind: WrittenKind) {
        self.listing.insert(kind, BTreeSet::new());
    }

    /// Ends a listing; returns what is to be written for the objects that it did not show.
    pub fn end_listing(&mut self, kind: WrittenKind) -> Vec<Work> {
        self.listed.insert(kind);
        let shown = self.listing.remove(&kind).unwrap_or_default();
        self.observed.retain(|object, _| object.kind != kind || shown.contains(object));
        let wanted = self.claims.keys().filter(|object| object.kind == kind && !shown.contains(object));
        let wanted: Vec<WrittenObject> = wanted.cloned().collect();
        wanted.into_iter().filter_map(|object| self.wanted(&object, None)).collect()
    }

    /// Takes note of an object that is there; returns what is to be done with it.
    pub fn observe(&mut self, object: WrittenObject, stored: Arc<Value>) -> Option<Work> {
        if let Some(shown) = self.listing.get_mut(&object.kind) {
            shown.insert(object.clone());
        }
        let (uid, owner) = (text(&stored, "/metadata/uid").to_owned(), owner_of(&stored));
        self.observed.insert(object.clone(), Observed { uid: uid.clone(), owner: owner.clone() });
        if let Some((deployment, manifest)) = self.manifest(&object) {
            // What was applied a moment ago is shown as well.
            let is_current = is_held(&manifest, &self.accepted.get(&object).cloned(), &stored);
            return (!is_current).then(|| {
                let desired = self.present(&object, &deployment, &manifest);
                (object, desired, Some(stored))
            });
        }
        let (gateway, owner) = owner?;
        let deployment = self.desired.get(&gateway)?;
        let is_stale = deployment.uid == owner && deployment.manifests.is_ok();
        is_stale.then(|| (object, Desired::Absent(uid), None))
    }

    /// Takes note that an object is gone; returns what is to be done about it.
    pub fn removed(&mut self, object: &WrittenObject) -> Option<Work> {
        self.observed.remove(object);
        self.wanted(object, None)
    }

    /// Takes note of what the API server holds of an object that was applied.
    pub fn applied(&mut self, object: &WrittenObject, now: &Value) {
        let observed = Observed { uid: text(now, "/metadata/uid").to_owned(), owner: owner_of(now) };
        self.observed.insert(object.clone(), observed);
        let Some((_, manifest)) = self.manifest(object) else { return };
        let held = manifest.held_by(now);
        if held == *manifest.body {
            self.accepted.remove(object);
        } else {
            self.accepted.insert(object.clone(), held);
        }
    }

    /// Returns the work of comparing an object again; `None` if nobody wants it.
    pub fn wanted(&self, object: &WrittenObject, stored: Option<Arc<Value>>) -> Option<Work> {
        let (deployment, manifest) = self.manifest(object)?;
        Some((object.clone(), self.present(object, &deployment, &manifest), stored))
    }

    /// Returns the gateways that want an object.
    pub fn claimants(&self, object: &WrittenObject) -> String {
        let names = self.claims.get(object).into_iter().flatten().map(Name::to_string);
        names.collect::<Vec<_>>().join(", ")
    }

    /// Returns what an object is to be: as the gateway says that owns it already, else the first that wants it.
    fn manifest(&self, object: &WrittenObject) -> Option<(Arc<GatewayDeployment>, Manifest)> {
        let claims = self.claims.get(object)?;
        let owner = self.observed.get(object).and_then(|observed| observed.owner.as_ref());
        let gateway = owner.map(|(name, _)| name).filter(|name| claims.contains(*name));
        let gateway = gateway.or_else(|| claims.first())?;
        let deployment = self.desired.get(gateway)?;
        let mut of_gateway = manifests(Some(deployment)).iter();
        let manifest = of_gateway.find(|manifest| object_of(gateway, manifest) == *object)?;
        Some((Arc::clone(deployment), manifest.clone()))
    }

    fn present(
        &self,
        object: &WrittenObject,
        deployment: &GatewayDeployment,
        manifest: &Manifest,
    ) -> Desired {
        Desired::Present {
            manifest: manifest.clone(),
            owner: deployment.uid.clone(),
            accepted: self.accepted.get(object).cloned(),
        }
    }
}

fn manifests(of: Option<&GatewayDeployment>) -> &[Manifest] {
    of.and_then(|deployment| deployment.manifests.as_deref().ok()).unwrap_or_default()
}
