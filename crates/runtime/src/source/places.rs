//! Where objects of folders are written, for whatever is found about them later.

use folder::{Key, Objects};
use model::{Diagnostic, ObjectRef, Place};
use parking_lot::RwLock;
use std::sync::Arc;

/// The places of the objects that a folder source has sent last; a cluster has none.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<RwLock<Arc<folder::Places>>>);

impl Places {
    /// Takes the places of what is about to be sent.
    pub(super) fn set(&self, places: folder::Places) {
        *self.0.write() = Arc::new(places);
    }

    /// The objects, declared and generated, as they were sent last.
    pub fn objects(&self) -> Arc<Objects> {
        Arc::clone(self.0.read().objects())
    }

    /// Adds its place to a finding about an object, unless it has one.
    pub fn placed(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        if let (None, Some(object)) = (&diagnostic.place, &diagnostic.object) {
            diagnostic.place = self.of(object, &diagnostic.field);
        }
        diagnostic
    }

    fn of(&self, ObjectRef { kind, name }: &ObjectRef, field: &str) -> Option<Place> {
        // Finding a line means reading a document: nobody waits for that.
        let places = Arc::clone(&self.0.read());
        let key = Key::new(kind.group(), kind.name(), &name.ns, &name.name);
        let (file, line, column) = places.of(&key, field)?;
        Some(Place { file: file.to_owned(), line: line as usize, column: column as usize })
    }
}
