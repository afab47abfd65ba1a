//! What is asked for.

use super::view::View;
use clap::ValueEnum;
use model::Kind;
use runtime::views::ConfigView;

/// What of a mesh is to be printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// What of it.
    pub view: View,
    /// Of which objects.
    pub of: Of,
    /// Which resources of a waypoint; all without one.
    pub part: Option<Part>,
}

impl Query {
    /// Returns those of the resources of a waypoint that are asked for.
    pub fn of_part(&self, mut all: Vec<ConfigView>) -> Vec<ConfigView> {
        all.retain(|resource| self.part.is_none_or(|part| part.name() == resource.of));
        all
    }
}

/// Which objects are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Of {
    /// All that the view has.
    All,
    /// Those of a kind.
    Kind(Kind),
    /// A waypoint, `NAMESPACE/NAME`.
    Waypoint(String),
}

/// Resources of a waypoint by type.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    /// Where it listens, and what becomes of connections
    #[value(aliases = ["listener", "l"])]
    Listeners,
    /// What it sends traffic to
    #[value(aliases = ["cluster", "c"])]
    Clusters,
    /// What becomes of requests, by scope
    #[value(aliases = ["route", "r"])]
    Routes,
    /// Endpoints of clusters
    #[value(aliases = ["endpoint", "ep"])]
    Endpoints,
}

impl Part {
    /// Returns the type of these resources, as views name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::Clusters => "clusters",
            Self::Routes => "routes",
            Self::Endpoints => "endpoints",
        }
    }
}
