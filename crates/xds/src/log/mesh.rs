//! The log of one resource type of the mesh: what exists and what is gone, each in order of change.

use crate::capability::{Capabilities, is_withheld};
use crate::error::WriteError;
use crate::types::rules;
use crate::version::Version;
use crate::wire::{self, ResourceRef};
use proto::ResourceType;

use super::chain::Chain;
use super::view::View;

/// Tombstones kept however few resources exist.
const MIN_TOMBSTONES: usize = 16 * 1024;

/// Everything of one resource type, as the writer holds it.
#[derive(Debug)]
pub(crate) struct Log {
    of: ResourceType,
    present: Chain,
    gone: Chain,
    horizon: u64,
    /// Step of the newest service.
    newest_service: u64,
    /// How many resources require each bit.
    requiring: [usize; Capabilities::BITS as usize],
}

/// Everything of one resource type at one step.
#[derive(Debug, Clone)]
pub(crate) struct LogView {
    /// Frames of resources.
    pub present: View,
    /// Frames of removed names.
    pub gone: View,
    /// Removals up to this step may have been forgotten.
    pub horizon: u64,
    /// What all resources require together.
    required: Capabilities,
    newest_service: u64,
}

impl LogView {
    /// Tells whether nothing is withheld from a client of these capabilities.
    pub fn is_open_to(&self, capabilities: Capabilities) -> bool {
        !is_withheld(self.required, capabilities)
    }

    /// Tells whether, of what changed after a step, a service may stand behind a workload. One commit has
    /// them in order; later ones bring services behind workloads that changed before.
    pub fn is_mixed_after(&self, step: u64) -> bool {
        let first = || self.present.entries_after(step).next().map(|(step, ..)| step);
        self.newest_service > step && first().is_some_and(|first| first < self.newest_service)
    }

    /// True when something happened after a step.
    pub fn changed_after(&self, present: u64, gone: u64) -> bool {
        self.present.newest() > present || self.gone.newest() > gone
    }
}

impl Log {
    pub fn new(of: ResourceType) -> Self {
        let (present, gone) = (Chain::new(), Chain::new());
        Self { of, present, gone, horizon: 0, newest_service: 0, requiring: Default::default() }
    }

    pub fn is_changed(&self) -> bool {
        self.present.is_changed() || self.gone.is_changed()
    }

    /// Puts a resource; false when it is there already with equal bytes and requirements.
    pub fn put(
        &mut self,
        step: u64,
        name: &str,
        body: &[u8],
        required: Capabilities,
    ) -> Result<bool, WriteError> {
        WriteError::check(name, body)?;
        let before = self.present.get(name);
        if before.is_some_and(|(frame, of)| of == required && wire::read_frame(frame).body == body) {
            return Ok(false);
        }
        let required_before = before.map_or(0, |(_, required)| required);
        self.count(required_before, required);
        let version = if rules(self.of).is_versioned { Version::of(body).to_string() } else { String::new() };
        let resource = ResourceRef { name, version: &version, body };
        let type_url = self.of.type_url();
        self.gone.remove(name);
        if wire::is_service(type_url, body) {
            self.newest_service = step;
        }
        self.present.put(step, name, required, |out| wire::put_resource_frame(out, resource, type_url));
        Ok(true)
    }

    /// Counts what a resource requires now instead of before.
    fn count(&mut self, before: Capabilities, now: Capabilities) {
        for (bit, count) in self.requiring.iter_mut().enumerate() {
            *count += usize::from(now >> bit & 1 == 1);
            *count -= usize::from(before >> bit & 1 == 1);
        }
    }

    /// Moves a resource to the head with equal bytes; false when there is none.
    pub fn resend(&mut self, step: u64, name: &str) -> bool {
        let Some((frame, required)) = self.present.get(name) else { return false };
        let frame = frame.to_vec();
        if wire::is_service(self.of.type_url(), wire::read_frame(&frame).body) {
            self.newest_service = step;
        }
        self.present.put(step, name, required, |out| out.extend_from_slice(&frame));
        true
    }

    /// Removes a resource; false when there is none.
    pub fn remove(&mut self, step: u64, name: &str) -> bool {
        let Some((_, required)) = self.present.get(name) else { return false };
        self.count(required, 0);
        self.present.remove(name);
        self.gone.put(step, name, 0, |out| wire::put_removed_frame(out, name));
        true
    }

    /// Closes the step and returns the content at it.
    pub fn publish(&mut self) -> LogView {
        let present = self.present.publish();
        let mut gone = self.gone.publish();
        let bound = self.present.len().max(MIN_TOMBSTONES);
        while self.gone.len() > bound {
            let Some(step) = self.gone.drop_oldest() else { break };
            self.horizon = self.horizon.max(step);
            gone = self.gone.publish();
        }
        let bits = self.requiring.iter().enumerate().filter(|(_, count)| **count > 0);
        let required = bits.fold(0, |all, (bit, _)| all | 1 << bit);
        let (horizon, newest_service) = (self.horizon, self.newest_service);
        LogView { present, gone, horizon, required, newest_service }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bounds::{MAX_BODY_BYTES, MAX_NAME_BYTES};

    fn names(view: &View) -> Vec<String> {
        view.frames_after(0).map(|f| String::from_utf8(wire::frame_name(f).to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_name_is_either_present_or_gone() {
        let mut log = Log::new(ResourceType::Address);
        log.put(1, "a", b"x", 0).unwrap();
        log.put(1, "b", b"x", 0).unwrap();
        log.publish();
        assert!(log.remove(2, "a"));
        assert!(!log.remove(2, "a") && !log.remove(2, "never"));
        let view = log.publish();
        assert_eq!((names(&view.present), names(&view.gone)), (vec!["b".into()], vec!["a".into()]));
        log.put(3, "a", b"x", 0).unwrap();
        let view = log.publish();
        assert_eq!((names(&view.present).len(), names(&view.gone).len()), (2, 0));
    }

    #[test]
    fn equal_bytes_are_not_appended_again_unless_asked() {
        let mut log = Log::new(ResourceType::Address);
        assert!(log.put(1, "a", b"x", 0).unwrap());
        log.publish();
        assert!(!log.put(2, "a", b"x", 0).unwrap());
        assert!(!log.is_changed());
        assert!(log.resend(2, "a") && !log.resend(2, "b"));
        let view = log.publish();
        assert_eq!(view.present.frames_after(1).count(), 1);
    }

    #[test]
    fn old_tombstones_are_forgotten_and_the_horizon_tells() {
        let mut log = Log::new(ResourceType::Address);
        for i in 0..40_000u64 {
            let name = format!("a-rather-long-name/of-a-pod-{i:06}");
            log.put(i, &name, b"x", 0).unwrap();
            log.remove(i, &name);
            if i % 1_000 == 999 {
                log.publish();
            }
        }
        let view = log.publish();
        assert!(view.gone.len() <= MIN_TOMBSTONES);
        assert!(view.horizon > 0 && view.horizon < 40_000);
        // Every removal after the horizon is still there.
        assert_eq!(view.gone.frames_after(view.horizon).count() as u64, 39_999 - view.horizon);
    }

    #[test]
    fn names_and_bodies_are_bounded() {
        let mut log = Log::new(ResourceType::Address);
        assert!(matches!(log.put(1, "", b"", 0), Err(WriteError::Name { .. })));
        assert!(matches!(log.put(1, &"x".repeat(MAX_NAME_BYTES + 1), b"", 0), Err(WriteError::Name { .. })));
        assert!(matches!(log.put(1, "x", &vec![0; MAX_BODY_BYTES + 1], 0), Err(WriteError::Body { .. })));
        assert!(!log.is_changed());
    }
}
