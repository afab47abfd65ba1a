//! What one Envoy follows of one type.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto::ResourceType;

use crate::bounds::{MAX_BYTES_OF_PROXY_NAMES, MAX_PROXY_NAMES, MAX_UNRESOLVED_NAMES};
use crate::error::SessionError;
use crate::log::{Frame, TypeView};
use crate::name::Name;
use crate::session::acks::{Acks, Answers};
use crate::session::initial::InitialVersions;
use crate::session::names::{ALL, NameBounds, Names, has_all, names};
use crate::session::pending::Pending;
use crate::session::request::{Request, Variant};
use crate::types::{Missing, TypeRules, rules};

use super::refused::{Refused, named_in};

const BOUNDS: NameBounds = NameBounds { count: MAX_PROXY_NAMES, bytes: MAX_BYTES_OF_PROXY_NAMES };

/// Most resources that a refusal is about which names none of them.
const MAX_UNNAMED: usize = 8;

/// What a response tells a client.
#[derive(Debug, Default)]
pub(super) struct Update {
    /// Resources that are new to the client.
    pub fresh: Vec<Frame>,
    /// Resources that it has, and is sent again for what it would otherwise take to be gone.
    pub kept: Vec<Frame>,
    /// Names that do not exist.
    pub removed: Vec<Name>,
}

impl Update {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.kept.is_empty() && self.removed.is_empty()
    }
}

/// State of one type of a stream.
#[derive(Debug)]
pub(super) struct Subscription {
    pub of: ResourceType,
    rules: &'static TypeRules,
    variant: Variant,
    pub pending: Pending,
    /// Whether the client follows all resources.
    is_wildcard: bool,
    /// Whether it has named something; state of the world, where it then names nothing to follow nothing.
    has_named: bool,
    /// Names followed one by one, also beside all.
    names: Names,
    /// Those of them that did not exist when they were looked up.
    unresolved: Names,
    /// What the client was brought up to, but for removals.
    sent: TypeView,
    /// The step of that.
    step: u64,
    /// What the client has and is to lose; without a frame what it has from an earlier stream.
    gone: BTreeMap<Name, Option<Frame>>,
    /// Names that do not exist and for which an empty resource is due, unless the client, which may be
    /// about to hear of something newer, follows them no longer by then.
    empty: BTreeSet<Name>,
    pub acks: Acks,
    /// What the client refused and has not taken since.
    pub refused: Refused,
}

impl Subscription {
    /// Follows a type from its first request on.
    pub fn begin(variant: Variant, of: ResourceType, request: Request) -> Result<Self, SessionError> {
        let rules = rules(of);
        let takes_all = match variant {
            Variant::Delta => has_all(&request.subscribe) && !has_all(&request.unsubscribe),
            Variant::StateOfTheWorld => has_all(&request.subscribe),
        };
        // Whoever asks for nothing in particular means everything, by the older rule.
        let is_wildcard = rules.has_wildcard && (takes_all || request.subscribe.is_empty());
        let count = request.subscribe.len() + if is_wildcard { 0 } else { request.initial.len() };
        if count > BOUNDS.count {
            return Err(SessionError::TooManyNames { count });
        }
        let unsubscribed: BTreeSet<Name> = names(&request.unsubscribe).collect();
        let mut subscribed: BTreeSet<Name> = names(&request.subscribe).collect();
        if !is_wildcard {
            subscribed.extend(request.initial.names().filter(|name| *name != ALL).map(Name::from));
        }
        subscribed.retain(|name| !unsubscribed.contains(name));
        let mut followed = Names::default();
        followed.check(BOUNDS, subscribed.iter())?;
        subscribed.into_iter().for_each(|name| followed.insert(name));
        let mut acks = Acks::new(request.type_url);
        if request.error.is_some() {
            acks.take(request.nonce, request.error);
        }
        let mut subscription = Self {
            of,
            rules,
            variant,
            pending: Pending::First { initial: request.initial, asked: BTreeSet::new() },
            is_wildcard,
            has_named: !request.subscribe.is_empty(),
            names: followed,
            unresolved: Names::default(),
            sent: TypeView::default(),
            step: 0,
            gone: BTreeMap::new(),
            empty: BTreeSet::new(),
            acks,
            refused: Refused::default(),
        };
        subscription.count_names();
        Ok(subscription)
    }

    /// Takes a later request: an acknowledgement, a refusal, a change of names. Tells whether something else is
    /// refused now than before.
    pub fn follow(&mut self, request: Request) -> Result<bool, SessionError> {
        let (is_refusal, after) = (request.error.is_some(), self.acks.answered());
        let answers = self.acks.take(request.nonce, request.error);
        let is_news = match (is_refusal, answers) {
            (true, _) => self.refuse(after, answers),
            (false, Answers::Last) => self.accept(),
            (false, _) => false,
        };
        match self.variant {
            Variant::Delta => self.follow_changes(&request.subscribe, &request.unsubscribe)?,
            // Its client says all it follows each time, and again when it has the last response.
            Variant::StateOfTheWorld if answers == Answers::Earlier => {}
            Variant::StateOfTheWorld => self.follow_these(&request.subscribe)?,
        }
        self.count_names();
        Ok(is_news)
    }

    /// Notes what the last refusal is about: what it names, else the little that was sent since the client answered
    /// up to `after`. Tells whether that is news.
    fn refuse(&mut self, after: u64, answers: Answers) -> bool {
        let Some(nack) = &self.acks.stats.last_nack else { return false };
        // A nonce begins with the step that its response brought the client up to.
        let step = nack.nonce.split('-').next().and_then(|step| u64::from_str_radix(step, 16).ok());
        let step = step.unwrap_or(0).min(self.acks.stats.sent_step);
        // Of what changed since, an earlier version was refused.
        let version = |name: &Name| self.sent.step_of(name).map_or(step, |of| of.min(step));
        let mut names = named_in(&nack.message, |word| self.sent.step_of(word).is_some());
        let mut has_taken = false;
        if names.is_empty() {
            let changed = self.sent.changed_after(after).take_while(|(of, _)| *of <= step);
            let changed = changed.map(|(_, frame)| frame.name()).filter(|name| self.follows(name));
            let changed: Vec<Name> = changed.take(MAX_UNNAMED + 1).map(Name::from).collect();
            names.extend(Some(changed).filter(|all| all.len() <= MAX_UNNAMED).into_iter().flatten());
        } else if answers == Answers::Last && self.acks.is_whole(&nack.message) {
            // Whatever else came with it was taken.
            let sent = &self.sent;
            let stays =
                |name: &str, step| names.iter().any(|of| **of == *name) || sent.step_of(name) == Some(step);
            has_taken = self.refused.retain(stays);
        }
        let resources = names.into_iter().map(|name| (version(&name), name)).map(|(step, name)| (name, step));
        self.refused.add(resources.collect(), step, &nack.message) || has_taken
    }

    /// Forgets refusals of what the client has taken in another version, or has no more. Tells whether that is news.
    fn accept(&mut self) -> bool {
        let is_whole = self.variant == Variant::StateOfTheWorld && self.rules.is_sent_whole;
        let Self { refused, sent, is_wildcard, names, .. } = self;
        let follows = |name: &str| *is_wildcard || names.contains(name);
        let has_taken =
            refused.retain(|name, step| !is_whole && sent.step_of(name) == Some(step) && follows(name));
        refused.forget_other() || has_taken
    }

    /// Delta: changes of names count even in a request whose nonce is stale, for they are the client's
    /// state and not an answer to ours.
    fn follow_changes(&mut self, subscribe: &[String], unsubscribe: &[String]) -> Result<(), SessionError> {
        let subscribed: BTreeSet<Name> = names(subscribe).collect();
        self.names.check(BOUNDS, subscribed.iter())?;
        subscribed.iter().for_each(|name| self.names.insert(Arc::clone(name)));
        self.pending.ask(subscribed);
        if has_all(unsubscribe) {
            self.is_wildcard = false;
        } else if has_all(subscribe) {
            self.follow_all();
        }
        for name in names(unsubscribe) {
            let was_named = self.names.contains(&name);
            self.forget(&name);
            if was_named && self.is_wildcard {
                // The client forgets it, and has it all the same.
                self.pending.ask([name].into());
            }
        }
        if !self.is_wildcard {
            self.gone.retain(|name, _| self.names.contains(name));
        }
        Ok(())
    }

    /// State of the world: what the client follows from now on.
    fn follow_these(&mut self, list: &[String]) -> Result<(), SessionError> {
        self.has_named |= !list.is_empty();
        if !self.has_named {
            return Ok(());
        }
        let wanted: BTreeSet<Name> = names(list).collect();
        let left: Vec<Name> = self.names.all().difference(&wanted).cloned().collect();
        left.iter().for_each(|name| self.forget(name));
        let further: BTreeSet<Name> = wanted.difference(self.names.all()).cloned().collect();
        self.names.check(BOUNDS, further.iter())?;
        further.iter().for_each(|name| self.names.insert(Arc::clone(name)));
        match has_all(list) {
            true => self.follow_all(),
            false => self.is_wildcard = false,
        }
        match self.rules.is_sent_whole {
            true if !further.is_empty() && self.pending.is_nothing() => self.pending = Pending::All,
            true => {}
            false => self.pending.ask(further),
        }
        if !self.is_wildcard {
            self.gone.retain(|name, _| self.names.contains(name));
        }
        Ok(())
    }

    fn follow_all(&mut self) {
        if self.rules.has_wildcard && !std::mem::replace(&mut self.is_wildcard, true) {
            // The first answer is of all that is followed when it is given.
            if !self.pending.is_first() {
                self.pending = Pending::All;
            }
        }
    }

    fn forget(&mut self, name: &str) {
        self.names.remove(name);
        self.unresolved.remove(name);
        self.pending.withdraw(name);
        self.empty.remove(name);
    }

    /// Lets go of all names.
    pub fn forget_names(&mut self) {
        (self.names, self.unresolved, self.pending) = Default::default();
        (self.gone, self.empty) = Default::default();
        self.count_names();
    }

    fn count_names(&mut self) {
        self.acks.stats.wildcard = self.is_wildcard;
        self.acks.stats.names = self.names.len();
        self.acks.stats.unresolved = self.unresolved.len();
    }

    /// Tells whether the client follows a name.
    pub fn follows(&self, name: &str) -> bool {
        self.is_wildcard || self.names.contains(name)
    }

    /// True when something is to be said once all else was.
    pub fn has_last(&self) -> bool {
        !self.gone.is_empty() || !self.empty.is_empty()
    }

    /// Brings the client up to a view, and returns what changed of what it follows.
    fn advance(&mut self, view: &TypeView, step: u64) -> Vec<Frame> {
        let changed = view.changed_after(self.step).map(|(_, frame)| frame);
        let changed: Vec<Frame> = changed.filter(|frame| self.follows(frame.name())).cloned().collect();
        let has_lost = view.has_removed_after(self.step) || view.len() < self.sent.len();
        if has_lost || view.has_fewer_scopes_than(&self.sent) {
            let note = |frame: &Frame| (Name::from(frame.name()), Some(frame.clone()));
            if self.is_wildcard {
                self.gone.extend(self.sent.frames_missing_in(view).map(note));
            } else {
                let had = self.names.all().iter().filter_map(|name| self.sent.get(name));
                self.gone.extend(had.filter(|frame| view.get(frame.name()).is_none()).map(note));
            }
        }
        self.gone.retain(|name, _| view.get(name).is_none());
        self.empty.retain(|name| view.get(name).is_none());
        (self.sent, self.step) = (view.clone(), step);
        changed
    }

    /// What the client lacks of a view, but for removals; nothing when there is nothing to say. What it asks
    /// for and is not there any more it is given from `before`, a view that other types are still at.
    ///
    /// # Errors
    /// When it follows too many names that do not exist.
    pub fn update(
        &mut self,
        view: &TypeView,
        step: u64,
        before: &TypeView,
    ) -> Result<Option<Update>, SessionError> {
        let changed = self.advance(view, step);
        changed.iter().for_each(|frame| self.unresolved.remove(frame.name()));
        let is_whole = self.variant == Variant::StateOfTheWorld && self.rules.is_sent_whole;
        let pending = std::mem::take(&mut self.pending);
        let (is_first, is_asked) = (pending.is_first(), !pending.is_nothing());
        let mut update = Update::default();
        match pending {
            Pending::Nothing => update.fresh = changed,
            Pending::First { initial, asked } => self.first(view, before, &initial, &asked, &mut update),
            Pending::All => {
                update.fresh = self.followed_frames(view);
                self.miss(self.missing_names(view), before, &mut update);
            }
            Pending::Names(asked) => {
                update.fresh = asked.iter().filter_map(|name| view.get(name)).cloned().collect();
                update.fresh.extend(changed.into_iter().filter(|frame| !asked.contains(frame.name())));
                let missing = asked.into_iter().filter(|name| view.get(name).is_none());
                self.miss(missing.collect(), before, &mut update);
            }
        }
        self.count_names();
        if self.unresolved.len() > MAX_UNRESOLVED_NAMES {
            return Err(SessionError::Unresolved { count: self.unresolved.len() });
        }
        if is_whole {
            // Listeners that go take nothing with them: they go at once.
            let has_lost = self.of != ResourceType::Cluster && !std::mem::take(&mut self.gone).is_empty();
            if !is_asked && !has_lost && update.fresh.is_empty() {
                return Ok(None);
            }
            self.complete(view, &mut update);
            return Ok(Some(update));
        }
        let is_due = is_first && self.variant == Variant::Delta;
        Ok((is_due || !update.is_empty()).then_some(update))
    }

    /// What a client lacks that holds this from an earlier stream, but for what it asked for since.
    fn first(
        &mut self,
        view: &TypeView,
        before: &TypeView,
        initial: &InitialVersions,
        asked: &BTreeSet<Name>,
        update: &mut Update,
    ) {
        let version = |name: &str| initial.find(name.as_bytes()).map(|place| initial.version(place));
        let is_held = |frame: &Frame| {
            let resource = frame.resource();
            version(resource.name).is_some_and(|held| held == resource.version.as_bytes())
                && !asked.contains(resource.name)
        };
        update.fresh = self.followed_frames(view).into_iter().filter(|frame| !is_held(frame)).collect();
        let (held, missing): (Vec<Name>, Vec<Name>) =
            self.missing_names(view).into_iter().partition(|name| version(name).is_some());
        self.gone.extend(held.into_iter().map(|name| (name, None)));
        if self.is_wildcard {
            let vanished = initial.names().filter(|name| *name != ALL && view.get(name).is_none());
            self.gone.extend(vanished.map(|name| (Name::from(name), None)));
        }
        self.miss(missing, before, update);
    }

    fn followed_frames(&self, view: &TypeView) -> Vec<Frame> {
        match self.is_wildcard {
            true => view.frames().cloned().collect(),
            false => self.names.all().iter().filter_map(|name| view.get(name)).cloned().collect(),
        }
    }

    fn missing_names(&self, view: &TypeView) -> Vec<Name> {
        self.names.all().iter().filter(|name| view.get(name).is_none()).cloned().collect()
    }

    /// Answers for names that do not exist, or do not any more.
    fn miss(&mut self, missing: Vec<Name>, before: &TypeView, update: &mut Update) {
        let mut absent = Vec::new();
        for name in missing {
            if let Some(frame) = before.get(&name) {
                update.fresh.push(frame.clone());
                self.gone.insert(name, Some(frame.clone()));
                continue;
            }
            // It is told now.
            self.gone.remove(&name);
            if self.names.contains(&name) {
                self.unresolved.insert(Arc::clone(&name));
            }
            absent.push(name);
        }
        match (self.rules.missing, self.variant) {
            (Missing::Empty, _) => self.empty.extend(absent),
            (Missing::RemovedOrEmpty, Variant::StateOfTheWorld) => {
                update.fresh.extend(absent.iter().map(|name| Frame::empty(self.of, name)));
            }
            (_, Variant::Delta) => update.removed = absent,
            (_, Variant::StateOfTheWorld) => {}
        }
    }

    /// Adds what else the client follows, and what it is to lose later.
    fn complete(&self, view: &TypeView, update: &mut Update) {
        let fresh: BTreeSet<&str> = update.fresh.iter().map(Frame::name).collect();
        let all = self.followed_frames(view);
        let kept = all.into_iter().filter(|frame| !fresh.contains(frame.name()));
        let kept: Vec<Frame> = kept.chain(self.gone.values().flatten().cloned()).collect();
        update.kept = kept;
    }

    /// Empty resources for names that do not exist; nothing when there are none.
    pub fn empty(&mut self) -> Option<Update> {
        let empty = std::mem::take(&mut self.empty);
        let fresh: Vec<Frame> = empty.iter().map(|name| Frame::empty(self.of, name)).collect();
        (!fresh.is_empty()).then(|| Update { fresh, ..Update::default() })
    }

    /// What the client is to lose; nothing when there is nothing to say.
    pub fn removals(&mut self) -> Option<Update> {
        let gone = std::mem::take(&mut self.gone);
        let update = match self.variant {
            _ if gone.is_empty() => return None,
            Variant::Delta => Update { removed: gone.into_keys().collect(), ..Update::default() },
            Variant::StateOfTheWorld if self.rules.is_sent_whole => {
                Update { kept: self.followed_frames(&self.sent), ..Update::default() }
            }
            Variant::StateOfTheWorld => return None,
        };
        Some(update)
    }

    /// What the subscription keeps for its client, in bytes.
    pub fn held_bytes(&self) -> usize {
        let names = self.names.held_bytes() + self.unresolved.held_bytes();
        let gone: usize = self.gone.keys().map(|name| name.len()).sum();
        names + gone + self.pending.held_bytes() + self.acks.held_bytes() + self.refused.held_bytes()
    }
}
