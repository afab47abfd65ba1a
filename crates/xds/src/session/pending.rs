//! What awaits an answer.

use std::collections::BTreeSet;

use crate::name::Name;

use super::initial::InitialVersions;

/// What the place of a name in a set takes, in bytes.
const PLACE: usize = 32;

/// What a type of a stream awaits.
#[derive(Debug, Default)]
pub(super) enum Pending {
    /// Nothing: only changes go out.
    #[default]
    Nothing,
    /// The first answer of the type, which is sent even when it is empty.
    First {
        /// What the client holds already.
        initial: InitialVersions,
        /// What it asked for by name, to be sent whatever it holds.
        asked: BTreeSet<Name>,
    },
    /// Everything again.
    All,
    /// These names.
    Names(BTreeSet<Name>),
}

impl Pending {
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub fn is_first(&self) -> bool {
        matches!(self, Self::First { .. })
    }

    /// Tells whether a name is asked for, whatever the client holds.
    pub fn asks(&self, name: &str) -> bool {
        match self {
            Self::First { asked, .. } | Self::Names(asked) => asked.contains(name),
            Self::All => true,
            Self::Nothing => false,
        }
    }

    /// The version of a name that the client said it holds, until the first answer.
    pub fn held(&self, name: &str) -> Option<&str> {
        let Self::First { initial, .. } = self else { return None };
        std::str::from_utf8(initial.version(initial.find(name.as_bytes())?)).ok()
    }

    /// Adds names that are asked for.
    pub fn ask(&mut self, names: BTreeSet<Name>) {
        match self {
            Self::Nothing if !names.is_empty() => *self = Self::Names(names),
            Self::First { asked, .. } | Self::Names(asked) => asked.extend(names),
            // Whoever gets everything gets these.
            Self::Nothing | Self::All => {}
        }
    }

    /// Takes back a name that was asked for.
    pub fn withdraw(&mut self, name: &str) {
        if let Self::First { asked, .. } | Self::Names(asked) = self {
            asked.remove(name);
        }
    }

    /// What is kept until the answer, in bytes.
    pub fn held_bytes(&self) -> usize {
        let asked = match self {
            Self::First { asked, .. } | Self::Names(asked) => asked.len(),
            Self::Nothing | Self::All => 0,
        };
        // The names themselves are those that are followed.
        self.listed_bytes() + asked * PLACE
    }

    /// That part of it which the client listed as held.
    pub fn listed_bytes(&self) -> usize {
        match self {
            Self::First { initial, .. } => initial.held_bytes(),
            _ => 0,
        }
    }
}
