//! The session of an Envoy: one stream of aggregated discovery, in either variant.
//!
//! # Order
//!
//! Clusters, listeners and routes of one snapshot go out in a *round*, and after them all removals: new
//! things before what names them, what names others before what it named. A round is finished before
//! these types take a newer snapshot. Secrets, endpoints and filter configurations name nothing; they
//! always are of the newest.
//!
//! Listeners and routes wait until the client has answered for its clusters, which an Envoy does when the
//! new ones are warm. What makes them warm, endpoints and secrets, therefore waits for nothing.
//!
//! # Resources of one stream
//!
//! A proxy's own certificate is in no scope and no snapshot. Whoever serves the stream gives it to this session,
//! under names that the scope is not asked for; secrets wait until it has them. What is secret of it is
//! forgotten once it is sent: should the client ask again, there has to be another.

mod cluster;
mod own;
mod refused;
mod subscription;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use proto::{ResourceType, Scope};

use crate::capability::Capabilities;
use crate::error::SessionError;
use crate::log::ProxyView;
use crate::name::Name;
use crate::session::node::Node;
use crate::session::request::{Request, Variant};
use crate::session::response::Response;
use crate::session::stats::{AckState, RefusedResource, SessionStats};
use crate::snapshot::Snapshot;
use crate::types::{PROXY_TYPES, REMOVAL_ORDER, rules};
use crate::wire::{self, Form};

use self::cluster::endpoints_of;
use self::own::OwnResources;
use self::subscription::{Subscription, Update};

/// Tells whether resources of a type name others or are named before they are asked for: they go out in
/// rounds.
fn is_structure(of: ResourceType) -> bool {
    of == ResourceType::Cluster || LATE.contains(&of)
}

/// What names clusters: it waits until those are warm.
const LATE: [ResourceType; 3] = [ResourceType::Listener, ResourceType::Route, ResourceType::ScopedRoute];

/// The state of the scope that a round brings the client to.
#[derive(Debug, Clone)]
struct Round {
    step: u64,
    view: Arc<ProxyView>,
    /// Of each of its scopes the step of the newest change.
    changed: Vec<u64>,
}

impl Round {
    /// Tells whether two states have the same content.
    fn equals(&self, other: &Self) -> bool {
        self.changed == other.changed
    }
}

/// The state of one stream of an Envoy.
#[derive(Debug)]
pub struct EnvoySession {
    variant: Variant,
    scope: Scope,
    /// Further scopes, which have no name in common with each other or the first.
    further: Vec<Arc<str>>,
    node: Option<Node>,
    subscriptions: Vec<Subscription>,
    /// The round under way.
    round: Option<Round>,
    /// Of each scope the step of the newest change that was sent in full; none before the first round.
    served: Option<Vec<u64>>,
    /// Endpoints of clusters that were sent, until the client follows endpoints.
    warming: BTreeSet<Name>,
    is_holding: bool,
    /// Number of the last response with clusters, listeners or routes: what else is sent awaits no answer.
    awaited: u64,
    /// The client follows whatever it is going to follow.
    is_complete: bool,
    /// What no other stream is given.
    own: OwnResources,
    /// Rises whenever something else is refused than before.
    refusal_changes: u64,
    stats: SessionStats,
}

impl EnvoySession {
    /// A stream that began at this moment and is served what is in a scope.
    pub fn new(connected_at: SystemTime, variant: Variant, scope: Scope) -> Self {
        Self {
            variant,
            scope,
            further: Vec::new(),
            node: None,
            subscriptions: Vec::new(),
            round: None,
            served: None,
            warming: BTreeSet::new(),
            is_holding: false,
            awaited: 0,
            is_complete: false,
            own: OwnResources::default(),
            refusal_changes: 0,
            stats: SessionStats { connected_at, step: 0, responses: 0, bytes: 0, types: Vec::new() },
        }
    }

    /// Has the secrets of these names from [`put_own`](Self::put_own) and [`put_own_once`](Self::put_own_once),
    /// and never from the scope.
    #[must_use]
    pub fn with_own(self, names: &'static [&'static str]) -> Self {
        Self { own: OwnResources::of(names), ..self }
    }

    /// Serves what is in further scopes, too: those of where a proxy is, beside that of all its replicas. A name is in
    /// one of a session's scopes at most.
    #[must_use]
    pub fn with_further(self, scopes: Vec<Arc<str>>) -> Self {
        Self { further: scopes, ..self }
    }

    /// The further scopes.
    pub fn further(&self) -> &[Arc<str>] {
        &self.further
    }

    /// The step of the newest change of what the client is served of a snapshot.
    pub fn changed(&self, snapshot: &Snapshot) -> u64 {
        self.latest(snapshot).changed.into_iter().max().unwrap_or_default()
    }

    /// Tells whether the client asks for a secret of its own that was not given, or was sent and forgotten.
    pub fn lacks_own(&self) -> bool {
        let Some(at) = self.find(own::TYPE) else { return false };
        let subscription = &self.subscriptions[at];
        let lacks = |name: &str| match self.own.knows(name) {
            true => !self.own.has(name) && subscription.pending.asks(name),
            false => subscription.follows(name),
        };
        self.own.names().iter().copied().any(lacks)
    }

    /// The version of a secret that the client holds from an earlier stream, until it is answered.
    pub fn held_own(&self, name: &str) -> Option<&str> {
        self.subscriptions[self.find(own::TYPE)?].pending.held(name)
    }

    /// Gives the client a secret of its own. Only names that it has secrets of its own of are taken.
    pub fn put_own(&mut self, name: &str, body: &[u8]) {
        if self.own.put(name, body) {
            self.ask_own(name);
        }
    }

    /// Gives the client a secret of its own that is forgotten once it is sent, under a version by which it is
    /// known again. Without a body it is one that the client holds already.
    pub fn put_own_once(&mut self, name: &str, version: &str, body: Option<&[u8]>) {
        if self.own.put_once(name, version, body) && body.is_some() {
            self.ask_own(name);
        }
    }

    fn ask_own(&mut self, name: &str) {
        let Some(at) = self.find(own::TYPE) else { return };
        let subscription = &mut self.subscriptions[at];
        // The first answer is of all that the client does not hold.
        if subscription.follows(name) && !subscription.pending.is_first() {
            subscription.pending.ask([name.into()].into());
        }
    }

    /// The scope that the client is served.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Who the client is; none before the first request.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// The types that the client subscribed to, in the order in which it did.
    pub fn types(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.iter().map(|subscription| subscription.acks.stats.type_url.as_str())
    }

    /// State for debug views and metrics.
    pub fn stats(&self) -> SessionStats {
        let types = self.subscriptions.iter().map(|subscription| subscription.acks.stats.clone()).collect();
        SessionStats { types, ..self.stats.clone() }
    }

    /// What the session keeps for its client, in bytes: names, what it listed as held until that is
    /// compared, its node and its errors. Estimated from above.
    pub fn held_bytes(&self) -> usize {
        let node = self.node.as_ref().map_or(0, Node::bytes);
        node + self.own.held_bytes() + self.subscriptions.iter().map(Subscription::held_bytes).sum::<usize>()
    }

    /// That part of it which goes once what the client listed is compared.
    pub fn listed_bytes(&self) -> usize {
        self.subscriptions.iter().map(|subscription| subscription.pending.listed_bytes()).sum()
    }

    /// Lets go of the names that the client follows and lists: its stream is about to end.
    pub fn forget_names(&mut self) {
        self.subscriptions.iter_mut().for_each(Subscription::forget_names);
        self.warming = BTreeSet::new();
    }

    /// How far the client has come with a type; nothing before it asked for it.
    pub fn ack_state(&self, of: ResourceType) -> Option<AckState> {
        Some(self.subscriptions[self.find(of)?].acks.state(Capabilities::MAX))
    }

    fn find(&self, of: ResourceType) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| subscription.of == of)
    }

    /// Takes an encoded `DeltaDiscoveryRequest` or `DiscoveryRequest`, as the stream's variant is. Returns
    /// the type URL of the response that it acknowledges, if that is the last one of its type.
    ///
    /// # Errors
    /// When the client breaks the protocol or a bound; the stream ends with that status.
    pub fn request(&mut self, message: Bytes) -> Result<Option<&str>, SessionError> {
        let mut request = Request::decode(self.variant, message)?;
        if self.node.is_none() {
            let node = request.node.take().filter(|node| !node.id.is_empty());
            self.node = Some(node.ok_or(SessionError::NoNode)?);
        }
        if request.type_url.is_empty() {
            return Err(SessionError::NoType);
        }
        let of = ResourceType::from_type_url(&request.type_url).filter(|&of| rules(of).are_in(&self.scope));
        let of = of.ok_or_else(|| SessionError::unknown_type(&request.type_url))?;
        if let Some(at) = self.find(of) {
            let before = self.subscriptions[at].acks.stats.acks;
            self.refusal_changes += u64::from(self.subscriptions[at].follow(request)?);
            let is_acked = self.subscriptions[at].acks.stats.acks > before;
            return Ok(is_acked.then_some(of.type_url()));
        }
        let mut subscription = Subscription::begin(self.variant, of, request)?;
        if of == ResourceType::Endpoint {
            let warming = std::mem::take(&mut self.warming);
            subscription.pending.ask(warming.into_iter().filter(|name| subscription.follows(name)).collect());
        }
        self.subscriptions.push(subscription);
        Ok(None)
    }

    /// What the client has refused and not taken in another version since, by type and name: a bounded number.
    pub fn refused(&self) -> Vec<RefusedResource> {
        let of_type = |subscription: &Subscription| {
            let of = subscription.of;
            let all = subscription.refused.all();
            let all = all.map(|(name, version)| RefusedResource {
                of,
                name: name.cloned(),
                step: version.step,
                message: Arc::clone(&version.message),
            });
            all.collect::<Vec<_>>()
        };
        self.subscriptions.iter().flat_map(of_type).collect()
    }

    /// Rises whenever [`refused`](Self::refused) changes.
    pub fn refusal_changes(&self) -> u64 {
        self.refusal_changes
    }

    /// True while something waits for the client: listeners, routes and removals for its answer to what
    /// came before, or for a subscription that an Envoy has.
    ///
    /// The caller sets a time limit for this and then calls [`release`](Self::release).
    pub fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// Tells for what something waits, if it does: another number is another wait.
    pub fn wait(&self) -> Option<u64> {
        self.is_holding.then_some(self.awaited)
    }

    /// Stops waiting for what did not come in time.
    pub fn release(&mut self) {
        self.is_complete = true;
        self.subscriptions.iter_mut().for_each(|subscription| subscription.acks.release());
    }

    /// The next response for the client, if there is anything to say.
    ///
    /// To be called with the newest snapshot after each request and each change of the scope, and again
    /// after each response until there is none. A response may be sent before the one before it
    /// was acknowledged.
    ///
    /// # Errors
    /// When the client follows too many names that do not exist.
    pub fn poll(&mut self, latest: &Arc<Snapshot>) -> Result<Option<Response>, SessionError> {
        self.is_holding = false;
        let latest = self.latest(latest);
        if self.round.is_none() && !self.has_work(&latest) {
            return Ok(None);
        }
        loop {
            let round = self.round.get_or_insert_with(|| latest.clone()).clone();
            if let Some(response) = self.additions(&round, &latest)? {
                return Ok(Some(response));
            }
            if !self.is_holding
                && let Some(response) = self.removals(&round, &latest)
            {
                return Ok(Some(response));
            }
            if self.is_holding {
                return Ok(None);
            }
            self.round = None;
            self.stats.step = round.step;
            let is_latest = round.equals(&latest);
            self.served = Some(round.changed);
            if is_latest {
                return Ok(None);
            }
        }
    }

    /// The state of the scopes in a snapshot.
    fn latest(&self, snapshot: &Snapshot) -> Round {
        let own = match &self.scope {
            Scope::Mesh => None,
            Scope::Proxy(name) => snapshot.proxy(name),
        };
        let further: Vec<Option<&Arc<ProxyView>>> =
            self.further.iter().map(|name| snapshot.proxy(name)).collect();
        let changed = |view: Option<&Arc<ProxyView>>| view.map_or(0, |view| view.changed());
        let changed = std::iter::once(own).chain(further.iter().copied()).map(changed).collect();
        let view = own.cloned().unwrap_or_else(ProxyView::empty);
        let there: Vec<&Arc<ProxyView>> = further.into_iter().flatten().collect();
        let view = if there.is_empty() { view } else { Arc::new(view.beside(&there)) };
        Round { step: snapshot.step(), view, changed }
    }

    fn has_work(&self, latest: &Round) -> bool {
        let awaits = |of: &Subscription| !of.pending.is_nothing() || of.has_last();
        self.served.as_ref() != Some(&latest.changed) || self.subscriptions.iter().any(awaits)
    }

    /// True while the client's answer for its clusters has to be awaited.
    fn awaits_clusters(&self) -> bool {
        match self.find(ResourceType::Cluster) {
            Some(at) => self.subscriptions[at].acks.is_awaited(),
            None => !self.is_complete,
        }
    }

    /// The next response with what is new or changed.
    fn additions(&mut self, round: &Round, latest: &Round) -> Result<Option<Response>, SessionError> {
        for of in PROXY_TYPES {
            let Some(at) = self.find(of) else { continue };
            if LATE.contains(&of) && self.awaits_clusters() {
                self.is_holding = true;
                return Ok(None);
            }
            if of == own::TYPE && self.lacks_own() {
                continue;
            }
            let to = if is_structure(of) { round } else { latest };
            let subscription = &mut self.subscriptions[at];
            let with_own = (of == own::TYPE).then(|| self.own.within(to.view.of(of)));
            let view = with_own.as_ref().unwrap_or_else(|| to.view.of(of));
            subscription.acks.forget_refusals(|after, step| {
                view.changed_after(after).next().is_some_and(|(changed, _)| changed <= step)
            });
            if let Some(update) = subscription.update(view, to.step, round.view.of(of))? {
                match of {
                    ResourceType::Cluster => self.warm(&update),
                    own::TYPE => self.own.sent(&update.fresh),
                    _ => {}
                }
                return Ok(Some(self.respond(at, to.step, update)));
            }
        }
        Ok(None)
    }

    /// Has the endpoints of changed clusters sent after them: an Envoy warms these clusters, and does not
    /// ask for endpoints that it follows already.
    fn warm(&mut self, update: &Update) {
        let bodies = update.fresh.iter().map(|frame| frame.resource().body);
        let names: BTreeSet<Name> = bodies.filter_map(endpoints_of).map(Name::from).collect();
        match self.find(ResourceType::Endpoint) {
            Some(at) => {
                let endpoints = &mut self.subscriptions[at];
                let followed = names.into_iter().filter(|name| endpoints.follows(name)).collect();
                endpoints.pending.ask(followed);
            }
            None => self.warming.extend(names),
        }
    }

    /// The next response with what is gone, once nothing at the client names it any more.
    fn removals(&mut self, round: &Round, latest: &Round) -> Option<Response> {
        if !self.subscriptions.iter().any(Subscription::has_last) {
            return None;
        }
        let lacks_listeners = self.find(ResourceType::Listener).is_none() && !self.is_complete;
        let is_awaited = |of| self.find(of).is_some_and(|at| self.subscriptions[at].acks.is_awaited());
        if lacks_listeners || LATE.into_iter().any(is_awaited) || self.awaits_clusters() {
            self.is_holding = true;
            return None;
        }
        let mut is_named = false;
        for of in REMOVAL_ORDER {
            let Some(at) = self.find(of) else { continue };
            // Listeners went before this, and with them what else would be asked for.
            if let Some(update) = self.subscriptions[at].empty() {
                return Some(self.respond(at, round.step, update));
            }
            let may_be_named = is_named;
            is_named |= LATE.contains(&of) && self.subscriptions[at].acks.is_refused();
            if may_be_named {
                // Of what may name it the client still has what it had before.
                continue;
            }
            if !is_structure(of) && !round.equals(latest) {
                // What named it is gone with the next round.
                continue;
            }
            if let Some(update) = self.subscriptions[at].removals() {
                return Some(self.respond(at, round.step, update));
            }
        }
        None
    }

    fn respond(&mut self, at: usize, step: u64, update: Update) -> Response {
        let subscription = &mut self.subscriptions[at];
        self.stats.responses += 1;
        if is_structure(subscription.of) {
            self.awaited = self.stats.responses;
        }
        let nonce = format!("{step:x}-{:x}", self.stats.responses);
        let mut response = Response::new(step, subscription.of.type_url(), &nonce);
        let form = match self.variant {
            Variant::Delta => Form::Delta,
            Variant::StateOfTheWorld => Form::StateOfTheWorld,
        };
        response.push_resources(update.fresh.into_iter().chain(update.kept).collect(), form);
        let mut removed = Vec::new();
        update.removed.iter().for_each(|name| wire::put_removed_frame(&mut removed, name));
        response.push_made(removed);
        self.stats.bytes += response.message_len();
        subscription.acks.sent(step, &response);
        response
    }
}
