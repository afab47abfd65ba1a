//! What one ztunnel follows of one type.

use std::collections::BTreeSet;

use crate::bounds::{MAX_BYTES_OF_NAMES, MAX_NAMES, MAX_UNRESOLVED_NAMES};
use crate::error::SessionError;
use crate::mesh::MeshView;
use crate::name::Name;
use crate::session::acks::Acks;
use crate::session::names::{ALL, NameBounds, Names, has_all, names};
use crate::session::pending::Pending;
use crate::session::request::Request;

use super::unresolved::Unresolved;

const BOUNDS: NameBounds = NameBounds { count: MAX_NAMES, bytes: MAX_BYTES_OF_NAMES };

/// How a type is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Workloads and services, all or on demand.
    Address,
    /// Policies, always all.
    Authorization,
    /// Bare workloads for old clients, always all.
    Workload,
}

impl Kind {
    fn of(type_url: &str) -> Option<Self> {
        Some(match type_url {
            proto::type_url::ADDRESS => Self::Address,
            proto::type_url::AUTHORIZATION => Self::Authorization,
            proto::type_url::WORKLOAD => Self::Workload,
            _ => return None,
        })
    }
}

/// State of one type of a stream.
#[derive(Debug)]
pub(super) struct Subscription {
    pub kind: Kind,
    pub pending: Pending,
    /// Whether the client came with resources of this type, from an earlier stream.
    pub is_returning: bool,
    /// Whether the client follows all resources.
    pub is_wildcard: bool,
    /// Names followed one by one; empty for a client that follows all.
    pub names: Names,
    /// Those of them that led nowhere when they were looked up last.
    pub unresolved: Unresolved,
    /// Resources up to this step were sent.
    pub present: u64,
    /// Removals up to this step were sent.
    pub gone: u64,
    pub acks: Acks,
}

impl Subscription {
    /// Follows a type from its first request on.
    ///
    /// All resources when the request subscribes to nothing, or to `*` without taking it back;
    /// otherwise the named ones and those the client holds.
    pub fn begin(request: Request) -> Result<Self, SessionError> {
        let Some(kind) = Kind::of(&request.type_url) else {
            // An empty answer would tell an Envoy to drop what it has.
            return Err(SessionError::unknown_type(&request.type_url));
        };
        let is_wildcard = kind != Kind::Address
            || request.subscribe.is_empty()
            || (has_all(&request.subscribe) && !has_all(&request.unsubscribe));
        let mut acks = Acks::new(request.type_url);
        acks.stats.wildcard = is_wildcard;
        let mut followed = Names::default();
        let mut asked = BTreeSet::new();
        if !is_wildcard {
            let count = request.subscribe.len() + request.initial.len();
            if count > MAX_NAMES {
                return Err(SessionError::TooManyNames { count });
            }
            let unsubscribed: BTreeSet<Name> = names(&request.unsubscribe).collect();
            asked.extend(names(&request.subscribe).filter(|name| !unsubscribed.contains(name)));
            let held = request.initial.names().filter(|name| *name != ALL).map(Name::from);
            let held: BTreeSet<Name> = held.filter(|name| !unsubscribed.contains(name)).collect();
            followed.check(BOUNDS, held.union(&asked))?;
            held.into_iter().chain(asked.iter().cloned()).for_each(|name| followed.insert(name));
        }
        if request.error.is_some() {
            acks.take(request.nonce, request.error);
        }
        let mut subscription = Self {
            kind,
            is_returning: !request.initial.is_empty(),
            pending: Pending::First { initial: request.initial, asked },
            is_wildcard,
            names: followed,
            unresolved: Unresolved::default(),
            present: 0,
            gone: 0,
            acks,
        };
        subscription.count_names();
        Ok(subscription)
    }

    /// Takes a later request: an acknowledgement, a refusal, a change of names.
    ///
    /// Changes of names count even in a request whose nonce is stale: they are the client's
    /// state, not an answer to ours.
    pub fn follow(&mut self, request: Request) -> Result<(), SessionError> {
        self.acks.take(request.nonce, request.error);
        if self.is_wildcard {
            let named = names(&request.subscribe).chain(names(&request.unsubscribe)).next().is_some();
            if named && self.pending.is_nothing() {
                self.pending = Pending::All;
            }
            return Ok(());
        }
        let subscribed: BTreeSet<Name> = names(&request.subscribe).collect();
        self.names.check(BOUNDS, subscribed.iter())?;
        subscribed.iter().cloned().for_each(|name| self.names.insert(name));
        self.pending.ask(subscribed);
        for name in names(&request.unsubscribe) {
            self.names.remove(&name);
            self.unresolved.remove(&name);
            self.pending.withdraw(&name);
        }
        self.count_names();
        Ok(())
    }

    /// Notes names that lead nowhere. Of too many, those are followed no longer that were looked up first: the client
    /// was told that there is nothing, and asks again when it needs to know.
    pub fn miss(&mut self, names: &[Name]) {
        for name in names.iter().filter(|name| self.names.contains(name)) {
            self.unresolved.insert(name);
        }
        while self.unresolved.len() > MAX_UNRESOLVED_NAMES
            && let Some(oldest) = self.unresolved.pop_oldest()
        {
            self.names.remove(&oldest);
        }
    }

    /// Lets go of all names.
    pub fn forget_names(&mut self) {
        (self.names, self.unresolved, self.pending) = Default::default();
        self.count_names();
    }

    /// Makes room for further refusals.
    pub fn forget_refusals(&mut self, view: &MeshView) {
        let log = if self.kind == Kind::Authorization { &view.authorization } else { &view.address };
        self.acks.forget_refusals(|after, step| log.present.has_between(after, step));
    }

    /// Brings the published counts of names up to date.
    pub fn count_names(&mut self) {
        self.acks.stats.names = self.names.len();
        self.acks.stats.unresolved = self.unresolved.len();
    }

    /// What the subscription keeps for its client, in bytes.
    pub fn held_bytes(&self) -> usize {
        let names = self.names.held_bytes() + self.unresolved.held_bytes();
        names + self.pending.held_bytes() + self.acks.held_bytes()
    }
}
