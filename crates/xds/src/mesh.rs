//! What ztunnels are served: the mesh scope at one step.

use proto::ResourceType;

use crate::capability::Capabilities;
use crate::log::LogView;
use crate::wire::{ResourceRef, frame_name, read_frame};

/// The mesh scope at the step of its last change; immutable.
#[derive(Debug)]
pub struct MeshView {
    pub(crate) step: u64,
    pub(crate) address: LogView,
    pub(crate) authorization: LogView,
}

impl MeshView {
    /// Step of the last change.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The log of a type; none for types of proxies.
    fn log(&self, of: ResourceType) -> Option<&LogView> {
        match of {
            ResourceType::Address => Some(&self.address),
            ResourceType::Authorization => Some(&self.authorization),
            _ => None,
        }
    }

    /// Number of resources of a type.
    pub fn len(&self, of: ResourceType) -> usize {
        self.log(of).map_or(0, |log| log.present.len())
    }

    /// True when no type has a resource.
    pub fn is_empty(&self) -> bool {
        self.len(ResourceType::Address) == 0 && self.len(ResourceType::Authorization) == 0
    }

    /// Bytes of all resources of a type, as they go out.
    pub fn bytes(&self, of: ResourceType) -> u64 {
        self.log(of).map_or(0, |log| log.present.bytes_after(0))
    }

    /// Resources of a type that changed after a step, oldest change first, each with the step of it and
    /// what it requires of a client (see [`is_withheld`](crate::is_withheld)).
    pub fn changed_after(
        &self,
        of: ResourceType,
        step: u64,
    ) -> impl Iterator<Item = (u64, Capabilities, ResourceRef<'_>)> {
        let entries = self.log(of).into_iter().flat_map(move |log| log.present.entries_after(step));
        entries.map(|(step, required, frame)| (step, required, read_frame(frame)))
    }

    /// Names of a type that were removed after a step, in order; nothing when some are forgotten.
    pub fn removed_after(&self, of: ResourceType, step: u64) -> Option<impl Iterator<Item = &str>> {
        let log = self.log(of)?;
        let names =
            log.gone.frames_after(step).filter_map(|frame| std::str::from_utf8(frame_name(frame)).ok());
        (step >= log.horizon).then_some(names)
    }

    /// Resources of a type in the order of their last change.
    pub fn resources(&self, of: ResourceType) -> impl Iterator<Item = ResourceRef<'_>> {
        self.log(of).into_iter().flat_map(|log| log.present.frames_after(0)).map(read_frame)
    }
}
