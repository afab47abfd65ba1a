//! How rows become what is sent of them.

use engine::{Builder, Table};
use model::Name;
use output::{Encoded, Outputs, Rank};
use prost::Message;
use proto::ResourceType;

use crate::key::ResourceKey;

// After all that ztunnels are sent. Tables of one type have names of their own each.
pub(crate) const SECRETS: Rank = Rank::new(190);
pub(crate) const CLUSTERS: Rank = Rank::new(200);
pub(crate) const ENDPOINTS: Rank = Rank::new(210);
pub(crate) const LISTENERS: Rank = Rank::new(220);
pub(crate) const SCOPES: Rank = Rank::new(230);

/// Returns a row that is one resource of a gateway.
pub(crate) fn resource(gateway: &Name, name: &str, message: &impl Message) -> (ResourceKey, Encoded) {
    (ResourceKey::new(gateway, name), Encoded::message(message))
}

/// A resource that is the same at many gateways, which share its bytes: its name, and what it is.
pub(crate) type Alike = (&'static str, Encoded);

pub(crate) fn alike(name: &'static str, message: &impl Message) -> Alike {
    (name, Encoded::message(message))
}

/// Returns the rows that are these resources of a gateway.
pub(crate) fn all_alike(gateway: &Name, all: Option<&Vec<Alike>>) -> Vec<(ResourceKey, Encoded)> {
    let of = |(name, encoded): &Alike| (ResourceKey::new(gateway, name), encoded.clone());
    all.into_iter().flatten().map(of).collect()
}

/// Declares that rows are sent.
pub(crate) fn send(
    b: &mut Builder,
    out: &mut Outputs,
    table: Table<ResourceKey, Encoded>,
    of: ResourceType,
    rank: Rank,
) {
    out.named_resources(b, table, of, rank, ResourceKey::of, |key, encoded| Some(key.resource(encoded)));
}
