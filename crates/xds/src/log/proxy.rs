//! What single proxies are served: persistent maps of shared frames, by scope and type.
//!
//! A commit replaces the way from the changed entries to their roots; a view is these roots.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::iter::{Peekable, from_fn, once};
use std::ops::Bound::Excluded;
use std::sync::{Arc, LazyLock};

use proto::ResourceType;
use rpds::RedBlackTreeMapSync;

use crate::error::WriteError;
use crate::name::Name;
use crate::types::{PROXY_TYPES, proxy_slot};
use crate::wire::ResourceRef;

use super::frame::{Frame, Frames};
use super::sorted::Sorted;

/// A frame that stands for its name.
#[derive(Debug, Clone)]
struct ByName(Frame);

impl Borrow<[u8]> for ByName {
    fn borrow(&self) -> &[u8] {
        self.0.name_bytes()
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name_bytes() == other.0.name_bytes()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name_bytes().cmp(other.0.name_bytes())
    }
}

/// When something changed: the step, and the place among the changes of the step.
type Moment = (u64, u32);

/// Everything of one type of a scope at one step; cheap to share.
#[derive(Debug, Clone, Default)]
pub(crate) struct TypeView {
    by_name: Sorted<ByName, Moment>,
    by_change: Sorted<Moment, Frame>,
    /// Step of the newest removal.
    removed: u64,
    /// What further scopes hold of the type. No name is in two of them.
    beside: Vec<TypeView>,
}

/// Merges what is in order already.
fn merged<I: Iterator>(
    parts: Vec<I>,
    order: impl Fn(&I::Item, &I::Item) -> Ordering,
) -> impl Iterator<Item = I::Item> {
    let mut parts: Vec<Peekable<I>> = parts.into_iter().map(Iterator::peekable).collect();
    from_fn(move || {
        let mut least = 0;
        for at in 1..parts.len() {
            let (before, from) = parts.split_at_mut(at);
            let is_less = match (from[0].peek(), before[least].peek()) {
                (Some(this), Some(other)) => order(this, other).is_lt(),
                (this, None) => this.is_some(),
                (None, Some(_)) => false,
            };
            if is_less {
                least = at;
            }
        }
        parts.get_mut(least)?.next()
    })
}

impl TypeView {
    fn parts(&self) -> impl Iterator<Item = &Self> {
        once(self).chain(&self.beside)
    }

    /// Number of resources.
    pub fn len(&self) -> usize {
        self.parts().map(|part| part.by_name.len()).sum()
    }

    /// Tells whether it is of fewer scopes than another.
    pub fn has_fewer_scopes_than(&self, other: &Self) -> bool {
        self.beside.len() < other.beside.len()
    }

    /// The frame of a name.
    pub fn get(&self, name: &str) -> Option<&Frame> {
        let mut found = self.parts().filter_map(|part| part.by_name.get(name.as_bytes()));
        found.next().map(|(of, _)| &of.0)
    }

    /// The step of the last change of a name; none of one that is not there.
    pub fn step_of(&self, name: &str) -> Option<u64> {
        self.by_name.get(name.as_bytes()).map(|(_, (step, _))| *step)
    }

    /// All frames, by name.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        let parts = self.parts().map(|part| part.by_name.iter()).collect();
        merged(parts, |(a, _), (b, _)| a.cmp(b)).map(|(of, _)| &of.0)
    }

    /// All resources, by name.
    pub fn resources(&self) -> impl Iterator<Item = ResourceRef<'_>> {
        self.frames().map(Frame::resource)
    }

    /// Frames that changed after a step, oldest change first, with the step.
    pub fn changed_after(&self, step: u64) -> impl Iterator<Item = (u64, &Frame)> {
        let parts = self.parts().map(|part| part.by_change.from(Excluded(&(step, u32::MAX)))).collect();
        merged(parts, |(a, _), (b, _)| a.cmp(b)).map(|(&(step, _), frame)| (step, frame))
    }

    /// Tells whether something was removed after a step.
    pub fn has_removed_after(&self, step: u64) -> bool {
        self.parts().any(|part| part.removed > step)
    }

    /// Frames of names that this has and a later view has not.
    pub fn frames_missing_in<'a>(&'a self, later: &'a Self) -> impl Iterator<Item = &'a Frame> {
        let mut there = later.frames().peekable();
        self.frames().filter(move |frame| {
            while there.next_if(|of| of.name_bytes() < frame.name_bytes()).is_some() {}
            there.peek().is_none_or(|of| of.name_bytes() != frame.name_bytes())
        })
    }

    /// This view with further frames, instead of its own of the same names. They count as never changed.
    pub fn overlaid<'f>(&self, frames: impl Iterator<Item = &'f Frame>) -> Self {
        let mut view = self.clone();
        for (order, frame) in (0..).zip(frames) {
            view.put((0, order), frame.clone());
        }
        view
    }

    fn put(&mut self, at: Moment, frame: Frame) {
        if let Some((_, before)) = self.by_name.get(frame.name_bytes()) {
            self.by_change.remove(before);
        }
        self.by_change.insert(at, frame.clone());
        self.by_name.insert(ByName(frame), at);
    }

    fn remove(&mut self, step: u64, name: &str) -> Option<Frame> {
        let (frame, at) = self.by_name.get(name.as_bytes()).map(|(of, at)| (of.0.clone(), *at))?;
        self.by_change.remove(&at);
        self.by_name.remove(name.as_bytes());
        self.removed = step;
        Some(frame)
    }
}

/// Everything of one scope at one step, of all types; cheap to share.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProxyView {
    types: [TypeView; PROXY_TYPES.len()],
    /// Step of the newest change.
    changed: u64,
}

/// What is served in a scope that holds nothing.
static EMPTY: LazyLock<Arc<ProxyView>> = LazyLock::new(Arc::default);

impl ProxyView {
    /// What a scope holds that has no resources.
    pub fn empty() -> Arc<Self> {
        Arc::clone(&EMPTY)
    }

    /// Step of the newest change; 0 of a scope without resources.
    pub fn changed(&self) -> u64 {
        self.changed
    }

    /// Everything of a type.
    pub fn of(&self, of: ResourceType) -> &TypeView {
        proxy_slot(of).map_or_else(|| &EMPTY.types[0], |slot| &self.types[slot])
    }

    /// Number of resources of all types.
    pub fn len(&self) -> usize {
        self.types.iter().map(TypeView::len).sum()
    }

    /// What this and further scopes hold together, which have no name in common.
    pub fn beside(&self, further: &[&Arc<Self>]) -> Self {
        let mut all = self.clone();
        for (slot, of) in all.types.iter_mut().enumerate() {
            let parts = further.iter().map(|view| &view.types[slot]);
            of.beside.extend(parts.filter(|of| of.len() > 0 || of.removed > 0).cloned());
        }
        all
    }
}

/// How many scopes that lost all resources are remembered with the step when they did.
const MAX_VANISHED: usize = 1_024;

/// All scopes at one step; cheap to share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    scopes: RedBlackTreeMapSync<Name, Arc<ProxyView>>,
    /// Scopes by the step of their newest change, also of some that hold nothing any more.
    changes: RedBlackTreeMapSync<(u64, Name), ()>,
    /// Scopes that vanished up to this step may be missing in `changes`.
    horizon: u64,
}

impl Proxies {
    /// What a scope holds; `None` when it has no resources.
    pub fn get(&self, scope: &str) -> Option<&Arc<ProxyView>> {
        self.scopes.get(scope)
    }

    /// All scopes that have resources, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Arc<ProxyView>)> {
        self.scopes.iter()
    }

    /// Names of the scopes that have resources, from this name on.
    pub fn names_from(&self, name: Name) -> impl Iterator<Item = &Name> {
        self.scopes.range(name..).map(|(name, _)| name)
    }

    /// Number of scopes that have resources.
    pub fn len(&self) -> usize {
        self.scopes.size()
    }

    /// Names of the scopes that changed after a step; `None` when some of them are forgotten.
    pub fn changed_after(&self, step: u64) -> Option<impl Iterator<Item = &Name>> {
        let first: (u64, Name) = (step.saturating_add(1), "".into());
        let names = self.changes.range(first..).map(|((_, name), ())| name);
        (step >= self.horizon).then_some(names)
    }
}

/// One scope as the writer holds it.
#[derive(Debug, Default)]
struct Scope {
    view: ProxyView,
    /// Changes so far in this step.
    order: u32,
    /// Whether and when it was published last.
    published: Option<u64>,
}

impl Scope {
    /// A scope that has resources from a step on. A stream may have got others before, when it had some
    /// and lost them: they count as removed.
    fn new(step: u64) -> Self {
        let mut scope = Self::default();
        scope.view.types.iter_mut().for_each(|of| of.removed = step);
        scope
    }
}

/// All scopes of proxies, as the writer holds them.
#[derive(Debug, Default)]
pub(crate) struct ProxyStore {
    scopes: BTreeMap<Name, Scope>,
    frames: Frames,
    /// Scopes that changed since the last publication.
    changed: BTreeSet<Name>,
    /// Scopes that lost all resources, by the step when they did.
    vanished: BTreeSet<(u64, Name)>,
    published: Proxies,
}

impl ProxyStore {
    pub fn is_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Notes a change of a scope, and returns the scope and all frames.
    fn touch(&mut self, step: u64, scope: &str) -> (&mut Scope, &mut Frames) {
        let name = match self.scopes.get_key_value(scope) {
            Some((name, _)) => Arc::clone(name),
            None => scope.into(),
        };
        self.changed.insert(Arc::clone(&name));
        let of = self.scopes.entry(name).or_insert_with(|| Scope::new(step));
        if of.view.changed != step {
            (of.view.changed, of.order) = (step, 0);
        }
        of.order += 1;
        (of, &mut self.frames)
    }

    fn find(&self, scope: &str, of: ResourceType, name: &str) -> Option<&Frame> {
        self.scopes.get(scope)?.view.of(of).get(name)
    }

    /// Puts a resource; false when it is there already with equal bytes.
    pub fn put(
        &mut self,
        step: u64,
        scope: &str,
        of: ResourceType,
        name: &str,
        body: &Arc<[u8]>,
    ) -> Result<bool, WriteError> {
        WriteError::check(name, body)?;
        let before = self.find(scope, of, name).cloned();
        if before.as_ref().is_some_and(|frame| *frame.resource().body == **body) {
            return Ok(false);
        }
        let Some(slot) = proxy_slot(of) else { return Ok(false) };
        let (scope, frames) = self.touch(step, scope);
        let frame = frames.take(of, name, body);
        if let Some(before) = before {
            frames.release(&before);
        }
        scope.view.types[slot].put((step, scope.order), frame);
        Ok(true)
    }

    /// Moves a resource to the head with equal bytes; false when there is none.
    pub fn resend(&mut self, step: u64, scope: &str, of: ResourceType, name: &str) -> bool {
        let (Some(frame), Some(slot)) = (self.find(scope, of, name).cloned(), proxy_slot(of)) else {
            return false;
        };
        let (scope, _) = self.touch(step, scope);
        scope.view.types[slot].put((step, scope.order), frame);
        true
    }

    /// Removes a resource; false when there is none.
    pub fn remove(&mut self, step: u64, scope: &str, of: ResourceType, name: &str) -> bool {
        let Some(slot) = proxy_slot(of).filter(|_| self.find(scope, of, name).is_some()) else {
            return false;
        };
        let (scope, frames) = self.touch(step, scope);
        if let Some(frame) = scope.view.types[slot].remove(step, name) {
            frames.release(&frame);
        }
        true
    }

    /// Number and bytes of distinct resources, each counted once however many scopes hold it.
    pub fn distinct(&self) -> (usize, u64) {
        (self.frames.len(), self.frames.bytes())
    }

    /// Closes the step and returns the content at it.
    pub fn publish(&mut self, step: u64) -> Proxies {
        for name in std::mem::take(&mut self.changed) {
            let Some(scope) = self.scopes.get_mut(&name) else { continue };
            let published = &mut self.published;
            if let Some(before) = scope.published {
                published.changes.remove_mut(&(before, Arc::clone(&name)));
            }
            if scope.view.len() > 0 {
                published.scopes.insert_mut(Arc::clone(&name), Arc::new(scope.view.clone()));
                published.changes.insert_mut((step, name), ());
                scope.published = Some(step);
                continue;
            }
            let was_published = scope.published.is_some();
            self.scopes.remove(&name);
            if was_published {
                published.scopes.remove_mut(&name);
                published.changes.insert_mut((step, Arc::clone(&name)), ());
                self.vanished.insert((step, name));
            }
        }
        while self.vanished.len() > MAX_VANISHED {
            let Some(of) = self.vanished.pop_first() else { break };
            self.published.horizon = of.0;
            self.published.changes.remove_mut(&of);
        }
        self.published.clone()
    }
}
