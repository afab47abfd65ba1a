//! The writer and what it publishes.

use std::sync::Arc;

use crate::error::WriteError;
use crate::log::{Log, LogView, Needs};
use crate::lookup::LookupCell;
use crate::wire::{ResourceRef, frame_name, read_frame};

/// A resource type with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceType {
    /// Workloads and services; versioned by content.
    Address,
    /// Policies; without a version, as istiod sends them.
    Authorization,
}

impl ResourceType {
    /// The type URL on the wire.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Address => proto::type_url::ADDRESS,
            Self::Authorization => proto::type_url::AUTHORIZATION,
        }
    }
}

/// Everything published at one step, of all types; immutable and cheap to share.
#[derive(Debug)]
pub struct Snapshot {
    step: u64,
    address: LogView,
    authorization: LogView,
    lookup: LookupCell,
}

impl Snapshot {
    /// Number of the step; 1 for the first publication.
    pub fn step(&self) -> u64 {
        self.step
    }

    pub(crate) fn log(&self, kind: ResourceType) -> &LogView {
        match kind {
            ResourceType::Address => &self.address,
            ResourceType::Authorization => &self.authorization,
        }
    }

    pub(crate) fn lookup(&self) -> &LookupCell {
        &self.lookup
    }

    /// Number of resources of a type.
    pub fn len(&self, kind: ResourceType) -> usize {
        self.log(kind).present.len()
    }

    /// True when no type has a resource.
    pub fn is_empty(&self) -> bool {
        self.len(ResourceType::Address) == 0 && self.len(ResourceType::Authorization) == 0
    }

    /// Bytes of all resources of a type, as they go out.
    pub fn bytes(&self, kind: ResourceType) -> u64 {
        self.log(kind).present.bytes_after(0)
    }

    /// Resources of a type that changed after a step, oldest change first, each with the step of it and
    /// what it needs of a client (see [`is_withheld`](crate::is_withheld)).
    pub fn changed_after(
        &self,
        kind: ResourceType,
        step: u64,
    ) -> impl Iterator<Item = (u64, Needs, ResourceRef<'_>)> {
        let entries = self.log(kind).present.entries_after(step);
        entries.map(|(step, needs, frame)| (step, needs, read_frame(frame)))
    }

    /// Names of a type that were removed after a step, in order; nothing when some are forgotten.
    pub fn removed_after(&self, kind: ResourceType, step: u64) -> Option<impl Iterator<Item = &str>> {
        let log = self.log(kind);
        let names =
            log.gone.frames_after(step).filter_map(|frame| std::str::from_utf8(frame_name(frame)).ok());
        (step >= log.horizon).then_some(names)
    }

    /// Resources of a type in the order of their last change.
    pub fn resources(&self, kind: ResourceType) -> impl Iterator<Item = ResourceRef<'_>> {
        self.log(kind).present.frames_after(0).map(read_frame)
    }
}

/// The one place where resources enter; owned by the thread that computes them.
///
/// Changes gather until [`publish`](Self::publish), which makes them visible at once.
///
/// ```
/// use pilothouse_xds::{ResourceType, Writer};
///
/// let mut writer = Writer::new();
/// writer.upsert(ResourceType::Authorization, "shop/allow-web", b"\x0a\x09allow-web")?;
/// let snapshot = writer.publish();
/// assert_eq!((snapshot.step(), snapshot.len(ResourceType::Authorization)), (1, 1));
/// # Ok::<(), pilothouse_xds::WriteError>(())
/// ```
#[derive(Debug)]
pub struct Writer {
    address: Log,
    authorization: Log,
    lookup: LookupCell,
    published: Option<Arc<Snapshot>>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A writer without resources.
    pub fn new() -> Self {
        Self {
            address: Log::new(proto::type_url::ADDRESS, true),
            authorization: Log::new(proto::type_url::AUTHORIZATION, false),
            lookup: LookupCell::default(),
            published: None,
        }
    }

    /// The step that the next publication will have.
    fn step(&self) -> u64 {
        self.published.as_ref().map_or(0, |snapshot| snapshot.step) + 1
    }

    fn log(&mut self, kind: ResourceType) -> &mut Log {
        match kind {
            ResourceType::Address => &mut self.address,
            ResourceType::Authorization => &mut self.authorization,
        }
    }

    /// Puts a resource; false, and no effect, when it is there with equal bytes.
    ///
    /// # Errors
    /// When the name is empty, or name or body too long; nothing changes then.
    pub fn upsert(&mut self, kind: ResourceType, name: &str, body: &[u8]) -> Result<bool, WriteError> {
        self.upsert_for(kind, name, body, 0)
    }

    /// Puts a resource for those clients only that understand what it needs (see
    /// [`Session::understanding`](crate::Session::understanding)): for others it does not exist.
    ///
    /// # Errors
    /// As of [`upsert`](Self::upsert).
    pub fn upsert_for(
        &mut self,
        kind: ResourceType,
        name: &str,
        body: &[u8],
        needs: Needs,
    ) -> Result<bool, WriteError> {
        let step = self.step();
        self.log(kind).upsert(step, name, body, needs)
    }

    /// Sends a resource again although its bytes are equal; false when it does not exist.
    ///
    /// For workloads whose meaning changed with their service: a ztunnel reads them anew only
    /// when they arrive again.
    pub fn resend(&mut self, kind: ResourceType, name: &str) -> bool {
        let step = self.step();
        self.log(kind).resend(step, name)
    }

    /// Removes a resource; false when it does not exist.
    pub fn remove(&mut self, kind: ResourceType, name: &str) -> bool {
        let step = self.step();
        self.log(kind).remove(step, name)
    }

    /// Makes all changes since the last publication visible; the same snapshot again when there
    /// are none. The first call publishes even without resources.
    pub fn publish(&mut self) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.published
            && !self.address.is_changed()
            && !self.authorization.is_changed()
        {
            return Arc::clone(snapshot);
        }
        self.lookup.age();
        let snapshot = Arc::new(Snapshot {
            step: self.step(),
            address: self.address.publish(),
            authorization: self.authorization.publish(),
            lookup: self.lookup.clone(),
        });
        self.published = Some(Arc::clone(&snapshot));
        snapshot
    }
}
