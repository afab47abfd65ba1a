//! Where objects are written, for whoever finds something wrong with them later.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::field::Step;
use crate::key::Key;
use crate::locate::place;
use crate::object::Objects;

/// The places of the objects of one answer, and the texts that they are written in.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub(crate) objects: Arc<Objects>,
    pub(crate) texts: BTreeMap<Arc<str>, Arc<str>>,
}

impl Places {
    /// The objects of the answer, declared and generated.
    pub fn objects(&self) -> &Arc<Objects> {
        &self.objects
    }

    /// The file of an object, and the line and column, from 1, of a field of it, such as
    /// `spec.ports[0].port`, or of the nearest field around it. A generated object has the place of the
    /// object that it is made for; `None` for one that is written nowhere.
    pub fn of(&self, key: &Key, field: &str) -> Option<(&str, u32, u32)> {
        let object = self.objects.get(key)?;
        let origin = object.origin.as_ref()?;
        let text = self.texts.get(&origin.file).filter(|_| object.made_for.is_none());
        let found = text.and_then(|text| place(text, origin, &Step::parse_path(field)));
        let (line, column) = found.unwrap_or((origin.line, 1));
        Some((&origin.file, line, column))
    }
}
