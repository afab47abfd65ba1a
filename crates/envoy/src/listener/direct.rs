//! The listener of workloads that are called at their own addresses.

use model::facts::PathNormalization;
use proto::envoy::config::listener::v3::Listener;
use proto::envoy::extensions::filters::network::set_filter_state::v3::Config as SetFilterState;

use super::port::of_port;
use super::state::{DIALLED, state};
use crate::key::{DIRECT, ENCAP};
use crate::message::network_filter;
use crate::policy::Policies;
use crate::port::Traffic;
use crate::profile::Profile;
use crate::upstream::Streams;

/// Returns what takes any port of any workload, and sends it where the CONNECT was to.
pub(crate) fn direct(
    policies: Option<&Policies>,
    normalization: PathNormalization,
    profile: &Profile,
) -> Listener {
    let to = Streams { shares: vec![(ENCAP.to_owned(), 1)], ..Streams::default() };
    let mut listener = of_port(DIRECT, Traffic::Either, &to, policies, normalization, profile);
    // Whom the next connection within Envoy dials.
    let address =
        SetFilterState { on_new_connection: vec![state(DIALLED, "", "%DOWNSTREAM_LOCAL_ADDRESS%")] };
    for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain) {
        chain.filters.insert(0, network_filter("set_filter_state", &address));
    }
    listener
}
