//! What a source tells.

use crate::facts::{Answer, FetchedKeys, KeySource, Referent};
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
    /// This source reads what is referred to when it is wanted: until it answers, nobody knows what is there.
    /// Without this event, what has no answer is absent.
    OnDemand,
    /// What is where a reference leads, from now on.
    Answer(Referent, Answer),
    /// Nothing is known any more of where a reference leads, since nobody wants it.
    Forget(Referent),
    /// The keys that are published at a source, from now on; `None` when nobody wants them any more.
    Keys(KeySource, Option<FetchedKeys>),
}
