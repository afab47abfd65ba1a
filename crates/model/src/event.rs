//! What a source tells.

use crate::{Diagnostic, Kind, Object, ObjectRef};

/// One change of the world.
#[derive(Debug, Clone)]
pub enum Event {
    /// A full listing of `Kind` begins: what is not put until [`Event::Synced`] no longer exists.
    Begin(Kind),
    /// An object exists and is as given.
    Put(Object),
    /// An object exists and cannot be understood: its last good version stays active.
    Reject(ObjectRef, Diagnostic),
    /// An object is gone.
    Remove(ObjectRef),
    /// The listing of `Kind` is complete. A kind that the server does not know is complete at once.
    Synced(Kind),
}
