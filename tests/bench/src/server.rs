//! A control plane in process, and what its changes send to gateways.

#![allow(clippy::unwrap_used)]

use mesh::Options;
use model::Event;
use output::ResourceChange;
use plane::Plane;
use proto::Scope;
use std::collections::BTreeSet;
use std::time::Duration;
use xds::Writer;

use crate::measure::{processor, spread};

/// A control plane up to its snapshots.
pub struct Server {
    plane: Plane,
    writer: Writer,
}

/// What one commit sent to gateways, waypoints and others.
pub struct Sent {
    /// The time of the processor.
    pub taken: Duration,
    /// Resources of gateways.
    pub resources: usize,
    /// Their names and messages.
    pub bytes: usize,
    /// The gateways that are sent any.
    pub gateways: usize,
    /// Resources of all proxies, ztunnels too.
    pub all: usize,
}

impl Server {
    /// One that configures gateways, or ztunnels alone.
    pub fn new(configures_waypoints: bool) -> Self {
        let options = Options { gateway_api: true, configures_waypoints, ..Options::default() };
        Self { plane: Plane::new(&options), writer: Writer::new() }
    }

    /// Applies events in one commit, and publishes it.
    ///
    /// # Panics
    /// When a resource is too large.
    pub fn apply(&mut self, events: Vec<Event>) -> Sent {
        let begin = processor();
        let delta = self.plane.apply(events);
        for change in &delta.resources {
            let (scope, kind) = (&change.scope, change.resource_type);
            match &change.body {
                None => drop(self.writer.remove(scope, kind, &change.name)),
                Some(body) => drop(self.writer.put_shared(scope, kind, &change.name, body, 0).unwrap()),
            }
        }
        let _snapshot = self.writer.publish();
        let taken = processor() - begin;
        let of_gateways: Vec<&ResourceChange> =
            delta.resources.iter().filter(|change| change.scope != Scope::Mesh).collect();
        let bytes =
            |change: &&ResourceChange| change.name.len() + change.body.as_ref().map_or(0, |b| b.len());
        Sent {
            taken,
            resources: of_gateways.len(),
            bytes: of_gateways.iter().map(bytes).sum(),
            gateways: of_gateways.iter().map(|change| &change.scope).collect::<BTreeSet<_>>().len(),
            all: delta.resources.len(),
        }
    }

    /// Applies changes one at a time and prints what each took and sent at most.
    ///
    /// # Panics
    /// When there are none.
    pub fn changes(&mut self, name: &str, changes: impl Iterator<Item = Vec<Event>>) {
        let sent: Vec<Sent> = changes.map(|events| self.apply(events)).collect();
        let most = |of: fn(&Sent) -> usize| sent.iter().map(of).max().unwrap();
        println!(
            "| {name} | {} | {} | {} | {} | {} |",
            spread(sent.iter().map(|of| of.taken).collect()),
            most(|of| of.resources),
            most(|of| of.bytes),
            most(|of| of.gateways),
            most(|of| of.all)
        );
    }
}

/// Prints the heading of a table of changes.
pub fn heading(of: &str) {
    println!("\n| {of} | p50 / p99 / max | resources | bytes | gateways | resources of all proxies |");
    println!("|---|---|---|---|---|---|");
}
