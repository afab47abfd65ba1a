//! What Secrets and ConfigMaps are read: those that something refers to.

use engine::{Builder, Cx, Memo, Table};
use mesh::Inputs;
use model::facts::{Answer, ConfigMap, ObjectReference, Referent, Secret};
use model::{Kind, Name, Ns, Str};
use std::sync::Arc;

use crate::grant::Grants;

/// What is known of what a reference leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Lookup {
    /// Nothing yet: it was not read so far.
    Pending,
    /// What is there.
    Answered(Answer),
}

/// Why a reference leads to nothing that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    /// Nobody knows yet.
    Pending,
    /// There is no such object.
    Absent,
    /// It cannot be read, for this reason.
    Unreadable(Str),
}

/// Secrets and ConfigMaps by reference. To read one here is to want it: as long as a row has read it, it is
/// among [`References::wanted`].
#[derive(Clone, Copy)]
pub(crate) struct References {
    grants: Grants,
    lookups: Memo<Referent, Lookup>,
}

impl References {
    /// Declares them.
    pub fn declare(b: &mut Builder, inputs: &Inputs, grants: Grants) -> Self {
        let (answers, on_demand) = (inputs.answers, inputs.on_demand);
        let lookups = b.memo("referents", move |cx, of: &Referent| {
            Some(match (cx.get(answers, of), cx.single(on_demand)) {
                (Some(answer), _) => Lookup::Answered((*answer).clone()),
                (None, Some(_)) => Lookup::Pending,
                (None, None) => Lookup::Answered(Answer::Absent),
            })
        });
        Self { grants, lookups }
    }

    /// Declares which of them are wanted; to be called after all tables that read any.
    pub fn wanted(self, b: &mut Builder) -> Table<Referent, ()> {
        let read = b.in_use("referents_in_use", self.lookups);
        // A row of its own: what is there is nothing to whoever asks what is wanted.
        let wanted = b.derive("wanted_referents", read, |_, _, _| Some(()));
        b.sink(wanted);
        wanted
    }

    /// Tells whether an object of a kind of the Gateway API in a namespace may have a reference.
    pub fn permit(self, cx: &Cx<'_>, kind: Kind, own: &Ns, reference: &ObjectReference) -> bool {
        self.grants.permit(cx, kind, own, reference)
    }

    fn lookup(self, cx: &Cx<'_>, of: Referent) -> Result<Answer, Missing> {
        match cx.memo(self.lookups, &of).as_deref() {
            Some(Lookup::Answered(Answer::Absent)) => Err(Missing::Absent),
            Some(Lookup::Answered(Answer::Unreadable(why))) => Err(Missing::Unreadable(why.clone())),
            Some(Lookup::Answered(answer)) => Ok(answer.clone()),
            Some(Lookup::Pending) | None => Err(Missing::Pending),
        }
    }

    /// Returns a Secret. Whoever asks has asked the grants.
    ///
    /// # Errors
    /// Why there is none.
    pub fn secret(self, cx: &Cx<'_>, name: &Name) -> Result<Arc<Secret>, Missing> {
        match self.lookup(cx, Referent::Secret(name.clone()))? {
            Answer::Secret(secret) => Ok(secret),
            _ => Err(Missing::Absent),
        }
    }

    /// Returns a ConfigMap. Whoever asks has asked the grants.
    ///
    /// # Errors
    /// Why there is none.
    pub fn config_map(self, cx: &Cx<'_>, name: &Name) -> Result<Arc<ConfigMap>, Missing> {
        match self.lookup(cx, Referent::ConfigMap(name.clone()))? {
            Answer::ConfigMap(map) => Ok(map),
            _ => Err(Missing::Absent),
        }
    }

    /// Returns the ConfigMaps of a namespace with defaults of classes of gateways, ascending by name.
    ///
    /// # Errors
    /// Why they are not known.
    pub fn class_defaults(self, cx: &Cx<'_>, ns: &Ns) -> Result<Vec<Arc<ConfigMap>>, Missing> {
        match self.lookup(cx, Referent::ClassDefaults(ns.clone()))? {
            Answer::ConfigMaps(maps) => Ok(maps),
            _ => Err(Missing::Absent),
        }
    }
}
