//! One thing for each kind of route: tables of them are declared by one function, for all kinds alike.

use engine::Table;
use mesh::Inputs;
use model::facts::Route;
use model::{Kind, Name};

/// The kinds of routes, with those of requests first.
const KINDS: [Kind; 5] = [Kind::HTTPRoute, Kind::GRPCRoute, Kind::TLSRoute, Kind::TCPRoute, Kind::UDPRoute];

/// One `T` for each kind of route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerKind<T>([T; 5]);

impl PerKind<Table<Name, Route>> {
    /// The routes as they are put in.
    pub fn inputs(inputs: &Inputs) -> Self {
        Self([inputs.httproutes, inputs.grpcroutes, inputs.tlsroutes, inputs.tcproutes, inputs.udproutes])
    }
}

impl<T: Copy> PerKind<T> {
    /// Makes one of each.
    pub fn map<U>(self, mut make: impl FnMut(Kind, T) -> U) -> PerKind<U> {
        PerKind(std::array::from_fn(|i| make(KINDS[i], self.0[i])))
    }

    /// Joins one of each with one of each.
    pub fn zip<U: Copy>(self, other: PerKind<U>) -> PerKind<(T, U)> {
        PerKind(std::array::from_fn(|i| (self.0[i], other.0[i])))
    }

    /// Returns each with its kind.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, T)> + use<T> {
        KINDS.into_iter().zip(self.0)
    }

    /// Returns those of routes of requests.
    pub fn requests(&self) -> impl Iterator<Item = (Kind, T)> + use<T> {
        self.iter().take(2)
    }

    /// Returns those of routes of streams.
    pub fn streams(&self) -> impl Iterator<Item = (Kind, T)> + use<T> {
        self.iter().skip(2)
    }
}
