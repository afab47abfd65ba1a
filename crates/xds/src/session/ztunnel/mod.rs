//! A session: the protocol of one stream, without its sockets.
//!
//! The caller hands in requests and the newest snapshot, and takes one response at a time. A
//! session keeps the step up to which it sent each type; what a client misses is always the
//! tail of a log, so a slow client costs a number and later gets the sum of what it missed.
//!
//! # Order
//!
//! A ztunnel skips a policy it does not know: it fails open. All types of one snapshot therefore
//! go out in *rounds*: new and changed policies, then addresses, then removals of policies. A
//! round is finished before a newer snapshot is taken, so no workload arrives before a policy it
//! names, and no policy leaves before the workloads that name it.

mod select;
mod subscription;
mod unresolved;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::ResourceType;

use crate::capability::{Capabilities, is_withheld};
use crate::error::SessionError;
use crate::lookup::{Lookup, LookupCell};
use crate::mesh::MeshView;
use crate::name::Name;
use crate::session::names::Names;
use crate::session::node::Node;
use crate::session::pending::Pending;
use crate::session::request::{Request, Variant};
use crate::session::response::Response;
use crate::session::stats::{AckState, SessionStats};
use crate::snapshot::Snapshot;
use crate::wire;

use self::select::{compare, push_permitted, push_services_first};
use self::subscription::{Kind, Subscription};

/// The state of one stream of a ztunnel.
#[derive(Debug)]
pub struct ZtunnelSession {
    node: Option<Node>,
    subscriptions: Vec<Subscription>,
    /// The state whose round is under way.
    round: Option<Arc<MeshView>>,
    /// Policies the client holds from an earlier stream and that exist no more.
    vanished: Names,
    released: bool,
    capabilities_of: fn(&Node) -> Capabilities,
    capabilities: Capabilities,
    lookup: Option<Arc<Mutex<Lookup>>>,
    stats: SessionStats,
}

impl ZtunnelSession {
    /// A stream that began at this moment.
    pub fn new(connected_at: SystemTime) -> Self {
        Self {
            node: None,
            subscriptions: Vec::new(),
            round: None,
            vanished: Names::default(),
            released: false,
            capabilities_of: |_| Capabilities::MAX,
            capabilities: Capabilities::MAX,
            lookup: None,
            stats: SessionStats { connected_at, step: 0, responses: 0, bytes: 0, types: Vec::new() },
        }
    }

    /// Judges by its node what a client is able to read; without this, everything.
    #[must_use]
    pub fn with_capabilities(self, of: fn(&Node) -> Capabilities) -> Self {
        Self { capabilities_of: of, ..self }
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
        let subscriptions = self.subscriptions.iter().map(Subscription::held_bytes).sum::<usize>();
        node + subscriptions + self.vanished.held_bytes()
    }

    /// That part of it which goes once what the client listed is compared.
    pub fn listed_bytes(&self) -> usize {
        let pending = self.subscriptions.iter().map(|subscription| subscription.pending.listed_bytes());
        pending.sum::<usize>() + self.vanished.held_bytes()
    }

    /// Lets go of the names that the client follows and lists: its stream is about to end.
    pub fn forget_names(&mut self) {
        self.subscriptions.iter_mut().for_each(Subscription::forget_names);
        self.vanished = Names::default();
    }

    /// How far the client has come with a type; nothing before it asked for it.
    pub fn ack_state(&self, of: ResourceType) -> Option<AckState> {
        let of = self.subscriptions.iter().find(|s| s.acks.stats.type_url == of.type_url())?;
        Some(of.acks.state(self.capabilities))
    }

    /// Takes an encoded `DeltaDiscoveryRequest`. Returns the type URL of the response that it acknowledges,
    /// if that is the last one of its type.
    ///
    /// # Errors
    /// When the client breaks the protocol or a bound; the stream ends with that status.
    pub fn request(&mut self, message: Bytes) -> Result<Option<&str>, SessionError> {
        let mut request = Request::decode(Variant::Delta, message)?;
        if self.node.is_none() {
            let node = request.node.take().filter(|node| !node.id.is_empty());
            let node = node.ok_or(SessionError::NoNode)?;
            self.capabilities = (self.capabilities_of)(&node);
            self.node = Some(node);
        }
        if request.type_url.is_empty() {
            return Err(SessionError::NoType);
        }
        let known = self.subscriptions.iter().position(|s| s.acks.stats.type_url == request.type_url);
        if let Some(at) = known {
            let before = self.subscriptions[at].acks.stats.acks;
            self.subscriptions[at].follow(request)?;
            let stats = &self.subscriptions[at].acks.stats;
            return Ok((stats.acks > before).then_some(stats.type_url.as_str()));
        }
        self.subscriptions.push(Subscription::begin(request)?);
        Ok(None)
    }

    /// True while an answer waits for the client's other subscription.
    ///
    /// A ztunnel that reconnects still serves what it holds. Its addresses wait until it can
    /// get the policies they name, and removals of policies until it got the addresses. The
    /// caller sets a time limit for this and then calls [`release`](Self::release).
    pub fn is_holding(&self) -> bool {
        let ztunnel = self.node.as_ref().is_some_and(|node| node.role() == "ztunnel");
        let lacking = self.find(Kind::Address).is_some() != self.find(Kind::Authorization).is_some();
        // It holds resources from an earlier stream.
        let is_returning = self.subscriptions.iter().any(|subscription| subscription.is_returning);
        is_returning && ztunnel && lacking && !self.released
    }

    /// Stops waiting for a subscription that did not come in time.
    pub fn release(&mut self) {
        self.released = true;
    }

    /// The next response for the client, if there is anything to say.
    ///
    /// To be called with the newest snapshot after each request and each publication, and again
    /// after each response until there is none. A response may be sent before the one before it
    /// was acknowledged.
    ///
    /// # Errors
    /// When the client fell behind further than the log remembers: the stream ends, and the
    /// client offers what it holds on the next one.
    pub fn poll(&mut self, latest: &Arc<Snapshot>) -> Result<Option<Response>, SessionError> {
        let (lookups, latest) = (latest.lookup(), latest.mesh());
        for subscription in &mut self.subscriptions {
            subscription.forget_refusals(latest);
        }
        loop {
            let round = Arc::clone(self.round.get_or_insert_with(|| Arc::clone(latest)));
            if let Some(response) = self.next_of_round(&round, lookups)? {
                return Ok(Some(response));
            }
            if self.has_moved_past(&round) {
                continue;
            }
            self.round = None;
            if !self.is_holding() {
                self.stats.step = round.step();
            }
            if latest.step() <= round.step() {
                return Ok(None);
            }
        }
    }

    fn find(&self, kind: Kind) -> Option<usize> {
        self.subscriptions.iter().position(|subscription| subscription.kind == kind)
    }

    /// True when the lookup led this session on to a newer snapshot.
    fn has_moved_past(&self, round: &MeshView) -> bool {
        self.round.as_ref().is_some_and(|moved| moved.step() > round.step())
    }

    /// True for a client that has its first addresses from this stream and waits for its first policies of it.
    ///
    /// With them it becomes ready. The policies of this round do not fit older addresses, so the
    /// addresses are brought up to date first; before it is ready, they may lack their policies. One that came with
    /// policies alone serves as little as a new one.
    fn is_half_served(&self) -> bool {
        let awaits_first = |of: &Subscription| of.pending.is_first();
        let (policies, addresses) = (self.find(Kind::Authorization), self.find(Kind::Address));
        policies.is_some_and(|at| awaits_first(&self.subscriptions[at]))
            && addresses
                .map(|at| &self.subscriptions[at])
                .is_some_and(|addresses| !awaits_first(addresses) && !addresses.is_returning)
    }

    fn next_of_round(
        &mut self,
        round: &Arc<MeshView>,
        lookups: &LookupCell,
    ) -> Result<Option<Response>, SessionError> {
        if self.is_half_served() {
            if let Some(response) = self.addresses(round, lookups)? {
                return Ok(Some(response));
            }
            if self.has_moved_past(round) {
                return Ok(None);
            }
        }
        if let Some(response) = self.policies(round) {
            return Ok(Some(response));
        }
        if let Some(response) = self.addresses(round, lookups)? {
            return Ok(Some(response));
        }
        if self.has_moved_past(round) {
            return Ok(None);
        }
        if let Some(response) = self.bare_workloads(round)? {
            return Ok(Some(response));
        }
        if let Some(response) = self.removed_policies(round)? {
            return Ok(Some(response));
        }
        Ok(None)
    }

    /// A response of this type without resources yet.
    fn response(&self, at: usize, round: &MeshView) -> Response {
        let nonce = format!("{:x}-{:x}", round.step(), self.stats.responses + 1);
        Response::new(round.step(), &self.subscriptions[at].acks.stats.type_url, &nonce)
    }

    /// Counts a response as sent.
    fn sent(&mut self, at: usize, round: &MeshView, response: Response) -> Option<Response> {
        let len = response.message_len();
        self.stats.responses += 1;
        self.stats.bytes += len;
        self.subscriptions[at].acks.sent(round.step(), &response);
        Some(response)
    }

    /// New and changed policies; on the first request all of them.
    fn policies(&mut self, round: &Arc<MeshView>) -> Option<Response> {
        let at = self.find(Kind::Authorization)?;
        let log = &round.authorization;
        let (view, capabilities) = (&log.present, self.capabilities);
        let mut response = self.response(at, round);
        let empty = response.message_len();
        let subscription = &mut self.subscriptions[at];
        let after = match std::mem::take(&mut subscription.pending) {
            Pending::Nothing if view.newest() <= subscription.present => return None,
            Pending::Nothing => subscription.present,
            Pending::First { initial, .. } => {
                let found = compare(log, &initial, capabilities).found;
                self.vanished = Names::default();
                initial.names_not_in(&found).for_each(|name| self.vanished.insert(name.into()));
                subscription.gone = round.step();
                push_permitted(&mut response, log, 0, capabilities, false);
                subscription.present = round.step();
                return self.sent(at, round, response);
            }
            Pending::All | Pending::Names(_) => {
                push_permitted(&mut response, log, 0, capabilities, false);
                subscription.present = round.step();
                return self.sent(at, round, response);
            }
        };
        subscription.present = round.step();
        push_permitted(&mut response, log, after, capabilities, false);
        if response.message_len() == empty {
            return None;
        }
        self.sent(at, round, response)
    }

    /// Removals of policies, once no address at the client names them.
    fn removed_policies(&mut self, round: &Arc<MeshView>) -> Result<Option<Response>, SessionError> {
        let Some(at) = self.find(Kind::Authorization) else { return Ok(None) };
        if self.is_holding() {
            return Ok(None);
        }
        let log = &round.authorization;
        let subscription = &self.subscriptions[at];
        let after = subscription.gone;
        if self.vanished.len() == 0 && log.gone.newest() <= after {
            return Ok(None);
        }
        if after < log.horizon {
            return Err(SessionError::FellBehind);
        }
        let mut vanished = std::mem::take(&mut self.vanished);
        if vanished.len() > 0 {
            // One may have come back while its removal waited.
            for (_, required, frame) in log.present.entries_after(0) {
                if !is_withheld(required, self.capabilities) {
                    vanished.remove(wire::read_frame(frame).name);
                }
            }
        }
        let mut names = Vec::new();
        for name in vanished.all() {
            wire::put_removed_frame(&mut names, name);
        }
        self.subscriptions[at].gone = round.step();
        if names.is_empty() && log.gone.bytes_after(after) == 0 {
            return Ok(None);
        }
        let mut response = self.response(at, round);
        response.push_made(names);
        response.push_after(&log.gone, after);
        Ok(self.sent(at, round, response))
    }

    fn addresses(
        &mut self,
        round: &Arc<MeshView>,
        lookups: &LookupCell,
    ) -> Result<Option<Response>, SessionError> {
        match self.find(Kind::Address) {
            Some(_) if self.is_holding() => Ok(None),
            Some(at) if self.subscriptions[at].is_wildcard => self.all(at, round, false),
            Some(at) => self.on_demand(at, round, lookups),
            None => Ok(None),
        }
    }

    fn bare_workloads(&mut self, round: &Arc<MeshView>) -> Result<Option<Response>, SessionError> {
        match self.find(Kind::Workload) {
            Some(at) => self.all(at, round, true),
            None => Ok(None),
        }
    }

    /// What a client lacks that follows all addresses, in one message.
    fn all(
        &mut self,
        at: usize,
        round: &Arc<MeshView>,
        bare: bool,
    ) -> Result<Option<Response>, SessionError> {
        let log = &round.address;
        let subscription = &mut self.subscriptions[at];
        let (present, gone) = (subscription.present, subscription.gone);
        let pending = std::mem::take(&mut subscription.pending);
        let first = pending.is_first();
        if pending.is_nothing() && !log.changed_after(present, gone) {
            return Ok(None);
        }
        if !first && gone < log.horizon {
            return Err(SessionError::FellBehind);
        }
        subscription.present = round.step();
        subscription.gone = round.step();
        let capabilities = self.capabilities;
        let mut response = self.response(at, round);
        let empty = response.message_len();
        match pending {
            Pending::First { ref initial, .. } if !initial.is_empty() => {
                let comparison = compare(log, initial, capabilities);
                let mut names = Vec::new();
                for name in initial.names_not_in(&comparison.found) {
                    wire::put_removed_frame(&mut names, name);
                }
                match bare {
                    true => response.push_bare_runs(&log.present, comparison.runs),
                    false => push_services_first(&mut response, &log.present, &comparison.runs),
                }
                response.push_made(names);
            }
            _ => {
                let after = if pending.is_nothing() { present } else { 0 };
                push_permitted(&mut response, log, after, capabilities, bare);
                if !first {
                    response.push_after(&log.gone, gone);
                }
            }
        }
        if pending.is_nothing() && response.message_len() == empty {
            return Ok(None);
        }
        Ok(self.sent(at, round, response))
    }

    /// What a client lacks that asks for addresses by name.
    ///
    /// Each name is resolved anew when it changed: a changed service brings its workloads with
    /// it. Workloads of the client's own node come unasked, and every name that was sent is
    /// followed from then on.
    fn on_demand(
        &mut self,
        at: usize,
        round: &Arc<MeshView>,
        lookups: &LookupCell,
    ) -> Result<Option<Response>, SessionError> {
        let log = &round.address;
        let subscription = &self.subscriptions[at];
        let (present, gone) = (subscription.present, subscription.gone);
        let push = subscription.pending.is_nothing();
        if push && !log.changed_after(present, gone) {
            return Ok(None);
        }
        let lookup = Arc::clone(self.lookup.get_or_insert_with(|| lookups.get()));
        let mut lookup = lookup.lock();
        let reached = lookup.advance(round);
        if reached.step() > round.step() {
            // Another session led the lookup on: this round continues with what it shows, so
            // that the policies of that step go first.
            self.round = Some(reached);
            return Ok(None);
        }

        let mut response = self.response(at, round);
        let subscription = &mut self.subscriptions[at];
        let mut held = None;
        let keys: BTreeSet<Name> = match std::mem::take(&mut subscription.pending) {
            Pending::First { initial, asked } => {
                held = Some((initial, asked));
                (subscription.present, subscription.gone) = (round.step(), round.step());
                subscription.names.all().clone()
            }
            Pending::Names(names) => names,
            Pending::All => subscription.names.all().clone(),
            Pending::Nothing => {
                (subscription.present, subscription.gone) = (round.step(), round.step());
                if gone < log.horizon {
                    subscription.names.all().clone()
                } else {
                    let changed = log.present.frames_after(present).chain(log.gone.frames_after(gone));
                    let names = changed.filter_map(|frame| std::str::from_utf8(wire::frame_name(frame)).ok());
                    names.filter_map(|name| subscription.names.all().get(name).cloned()).collect()
                }
            }
        };

        let mut found = BTreeSet::new();
        let (resolved, mut missing): (Vec<Name>, Vec<Name>) =
            keys.into_iter().partition(|key| lookup.resolve(key, &mut found));
        resolved.iter().for_each(|name| subscription.unresolved.remove(name));
        subscription.miss(&missing);
        let node = self.node.as_ref().map_or("", |node| node.property("NODE_NAME"));
        let local = lookup.workloads_of_node(node).filter(|name| !subscription.names.contains(name));
        found.extend(local.cloned());
        let capabilities = self.capabilities;
        found.retain(|name| {
            let is_withheld = is_withheld(lookup.required(name), capabilities);
            if is_withheld {
                missing.push(Arc::clone(name));
            }
            !is_withheld
        });

        // Services first, as everywhere: a workload is judged by the service that is known.
        let (mut frames, mut workloads) = (Vec::new(), Vec::new());
        for name in &found {
            let equal = held.as_ref().is_some_and(|(initial, asked)| {
                let version = initial.find(name.as_bytes()).map(|place| initial.version(place));
                !asked.contains(name) && version.is_some_and(|v| !v.is_empty() && v == lookup.version(name))
            });
            if !equal {
                let of_kind = if lookup.is_service(name) { &mut frames } else { &mut workloads };
                of_kind.extend(lookup.frame(name));
            }
        }
        drop(lookup);
        frames.append(&mut workloads);
        let mut removed = Vec::new();
        for name in &missing {
            wire::put_removed_frame(&mut removed, name);
        }
        found.into_iter().for_each(|name| subscription.names.insert(name));
        subscription.count_names();
        if push && frames.is_empty() && removed.is_empty() {
            return Ok(None);
        }
        response.push_frames(frames);
        response.push_made(removed);
        Ok(self.sent(at, round, response))
    }
}
