//! What one stream follows of one type.

use std::collections::BTreeSet;

use crate::error::SessionError;
use crate::lookup::Name;
use crate::request::{MAX_ERROR_BYTES, Offered, Request};
use crate::session::{MAX_BYTES_OF_NAMES, MAX_NAMES};
use crate::snapshot::{ResourceType, Snapshot};
use crate::stats::{Nack, Refusal, TypeStats};

/// The name that stands for all resources.
const ALL: &str = "*";

/// How much of an unknown type a message shows, in characters.
const MAX_SHOWN_TYPE: usize = 120;

/// How many refusals of a stream are told apart.
const MAX_REFUSALS: usize = 8;

/// How a type is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Workloads and services, all or on demand.
    Address,
    /// Policies, always all.
    Authorization,
    /// Bare workloads for old clients, always all.
    Workload,
}

impl Kind {
    pub fn of(type_url: &str) -> Option<Self> {
        Some(match type_url {
            proto::type_url::ADDRESS => Self::Address,
            proto::type_url::AUTHORIZATION => Self::Authorization,
            proto::type_url::WORKLOAD => Self::Workload,
            _ => return None,
        })
    }

    /// The type whose log it is served from.
    fn resource_type(self) -> ResourceType {
        match self {
            Self::Authorization => ResourceType::Authorization,
            Self::Address | Self::Workload => ResourceType::Address,
        }
    }
}

/// What a request waits for.
#[derive(Debug, Default)]
pub(crate) enum Owed {
    /// Nothing: only changes go out.
    #[default]
    Nothing,
    /// The first answer of the type, which is sent even when it is empty.
    First {
        /// What the client holds already.
        offered: Offered,
        /// What it asked for by name, to be sent whatever it holds.
        asked: BTreeSet<Name>,
    },
    /// Everything again.
    All,
    /// These names, on demand.
    Names(BTreeSet<Name>),
}

/// The names that a stream follows one by one.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    all: BTreeSet<Name>,
    bytes: usize,
}

impl Followed {
    pub fn all(&self) -> &BTreeSet<Name> {
        &self.all
    }

    pub fn insert(&mut self, name: Name) {
        let len = name.len();
        if self.all.insert(name) {
            self.bytes += len;
        }
    }

    fn remove(&mut self, name: &Name) {
        if self.all.remove(name) {
            self.bytes -= name.len();
        }
    }

    /// Tells whether a stream may follow these, too.
    fn check<'a>(&self, further: impl Iterator<Item = &'a Name>) -> Result<(), SessionError> {
        let (mut count, mut bytes) = (self.all.len(), self.bytes);
        for name in further.filter(|name| !self.all.contains(*name)) {
            count += 1;
            bytes += name.len();
        }
        // What is only followed because it was sent is not held against the client.
        match (count > MAX_NAMES, bytes > MAX_BYTES_OF_NAMES) {
            (true, _) if count > self.all.len() => Err(SessionError::TooManyNames { count }),
            (_, true) if bytes > self.bytes => Err(SessionError::TooLongNames { bytes }),
            _ => Ok(()),
        }
    }
}

/// State of one type of a stream.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub kind: Kind,
    pub owed: Owed,
    /// Names followed one by one; empty for a client that follows all.
    pub names: Followed,
    /// Resources up to this step were sent.
    pub present: u64,
    /// Removals up to this step were sent.
    pub gone: u64,
    /// The client has answered for what was sent up to this step.
    pub answered: u64,
    /// What it refused of that.
    pub refusals: Vec<Refusal>,
    pub stats: TypeStats,
}

fn names(list: &[String]) -> impl Iterator<Item = Name> {
    list.iter().filter(|name| *name != ALL).map(|name| name.as_str().into())
}

impl Subscription {
    /// Follows a type from its first request on.
    ///
    /// All resources when the request subscribes to nothing, or to `*` without taking it back;
    /// otherwise the named ones and those the client offers.
    pub fn begin(request: Request) -> Result<Self, SessionError> {
        let Some(kind) = Kind::of(&request.type_url) else {
            // An empty answer would tell an Envoy to drop what it has.
            let type_url = request.type_url.chars().take(MAX_SHOWN_TYPE).collect();
            return Err(SessionError::UnknownType { type_url });
        };
        let all = |list: &[String]| list.iter().any(|name| name == ALL);
        let wildcard = kind != Kind::Address
            || request.subscribe.is_empty()
            || (all(&request.subscribe) && !all(&request.unsubscribe));
        let stats = TypeStats { type_url: request.type_url, wildcard, ..TypeStats::default() };
        let (owed, names_followed, refusals) = (Owed::Nothing, Followed::default(), Vec::new());
        let mut subscription =
            Self { kind, owed, names: names_followed, present: 0, gone: 0, answered: 0, refusals, stats };
        let mut asked = BTreeSet::new();
        if !wildcard {
            let count = request.subscribe.len() + request.offered.len();
            if count > MAX_NAMES {
                return Err(SessionError::TooManyNames { count });
            }
            let unsubscribed: BTreeSet<Name> = names(&request.unsubscribe).collect();
            asked.extend(names(&request.subscribe).filter(|name| !unsubscribed.contains(name)));
            let held = request.offered.names().filter(|name| *name != ALL).map(Name::from);
            let held: BTreeSet<Name> = held.filter(|name| !unsubscribed.contains(name)).collect();
            subscription.names.check(held.union(&asked))?;
            held.into_iter().chain(asked.iter().cloned()).for_each(|name| subscription.names.insert(name));
        }
        if let Some(message) = request.error {
            subscription.refuse(request.nonce, message);
        }
        subscription.owed = Owed::First { offered: request.offered, asked };
        subscription.count_names();
        Ok(subscription)
    }

    /// Takes a later request: an acknowledgement, a refusal, a change of names.
    ///
    /// Changes of names count even in a request whose nonce is stale: they are the client's
    /// state, not an answer to ours.
    pub fn follow(&mut self, request: Request) -> Result<(), SessionError> {
        if let Some(message) = request.error {
            self.refuse(request.nonce, message);
        } else if request.nonce.is_empty() {
            // A request of its own.
        } else if request.nonce == self.stats.sent_nonce {
            self.stats.acks += 1;
            self.stats.acked_nonce = request.nonce;
            self.stats.acked_step = self.stats.sent_step;
            self.answered = self.stats.sent_step;
        } else {
            self.stats.stale += 1;
        }

        if self.stats.wildcard {
            let named = names(&request.subscribe).chain(names(&request.unsubscribe)).next().is_some();
            if named && matches!(self.owed, Owed::Nothing) {
                self.owed = Owed::All;
            }
            return Ok(());
        }
        let subscribed: BTreeSet<Name> = names(&request.subscribe).collect();
        self.names.check(subscribed.iter())?;
        subscribed.iter().cloned().for_each(|name| self.names.insert(name));
        match &mut self.owed {
            Owed::First { asked: owed, .. } | Owed::Names(owed) => owed.extend(subscribed),
            Owed::Nothing | Owed::All => {
                if !subscribed.is_empty() {
                    self.owed = Owed::Names(subscribed);
                }
            }
        }
        for name in names(&request.unsubscribe) {
            self.names.remove(&name);
            if let Owed::First { asked: owed, .. } | Owed::Names(owed) = &mut self.owed {
                owed.remove(&name);
            }
        }
        self.count_names();
        Ok(())
    }

    fn refuse(&mut self, nonce: String, message: String) {
        self.stats.nacks += 1;
        self.note_refusal(&nonce, &message);
        self.stats.last_nack = Some(Nack { nonce, message });
    }

    /// Notes what a refusal may be about. It may answer a response that was not the last: then it is
    /// about something that was sent since the client last answered, and the last answer is to come.
    fn note_refusal(&mut self, nonce: &str, message: &str) {
        let (after, step) = (self.answered, self.stats.sent_step);
        if nonce == self.stats.sent_nonce {
            self.answered = step;
        }
        if after == step {
            // Said before, or nothing was sent.
            return;
        }
        // A message that may have been cut may have named more.
        let is_whole = message.len() + char::MAX.len_utf8() <= MAX_ERROR_BYTES;
        self.refusals.push(Refusal { after, step, message: message.to_owned(), is_whole });
        if self.refusals.len() > MAX_REFUSALS {
            self.join_refusals();
        }
    }

    /// Makes one of two neighbours: of those between which the client has taken the least, the oldest.
    fn join_refusals(&mut self) {
        let taken = |pair: &[Refusal]| pair[1].after.saturating_sub(pair[0].step);
        let pairs = self.refusals.windows(2).map(taken).enumerate();
        let Some((at, _)) = pairs.min_by_key(|&(_, taken)| taken) else { return };
        let earlier = self.refusals.remove(at);
        let joined = &mut self.refusals[at];
        (joined.after, joined.is_whole) = (joined.after.min(earlier.after), false);
    }

    /// Makes room for further refusals: forgets those of resources that have all changed since or gone.
    pub fn forget_refusals(&mut self, snapshot: &Snapshot) {
        if self.refusals.len() == MAX_REFUSALS {
            let present = &snapshot.log(self.kind.resource_type()).present;
            self.refusals.retain(|refusal| present.has_between(refusal.after, refusal.step));
        }
    }

    /// Brings the published count of names up to date.
    pub fn count_names(&mut self) {
        self.stats.names = self.names.all.len();
    }
}
