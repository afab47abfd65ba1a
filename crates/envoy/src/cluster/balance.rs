//! How an endpoint is chosen, and which are left out because of how they answered.

use model::facts::{Algorithm, HashTable, LoadBalancer, OutlierDetection as Outliers, Warmup};
use proto::envoy::config::cluster::v3::OutlierDetection;
use proto::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig, RoundRobinLbConfig,
    SlowStartConfig,
};
use proto::envoy::config::core::v3::RuntimeDouble;

use super::pool::percent;
use crate::message::duration;

/// How fast weights of new endpoints grow unless an author says it, in thousandths: evenly.
const EVENLY: u32 = 1_000;

/// Returns how endpoints are chosen.
pub(super) fn algorithm(of: Option<&LoadBalancer>) -> (LbPolicy, Option<LbConfig>) {
    let Some(of) = of else { return (LbPolicy::LeastRequest, None) };
    let slow_start_config = of.warmup.as_ref().map(slow_start);
    match &of.algorithm {
        Algorithm::LeastRequest => {
            let config = LeastRequestLbConfig { slow_start_config };
            let is_set = config.slow_start_config.is_some();
            (LbPolicy::LeastRequest, is_set.then_some(LbConfig::LeastRequestLbConfig(config)))
        }
        Algorithm::RoundRobin => {
            let config = RoundRobinLbConfig { slow_start_config };
            let is_set = config.slow_start_config.is_some();
            (LbPolicy::RoundRobin, is_set.then_some(LbConfig::RoundRobinLbConfig(config)))
        }
        Algorithm::Random => (LbPolicy::Random, None),
        Algorithm::Hash(_, HashTable::Ring(least)) => {
            let config = RingHashLbConfig { minimum_ring_size: Some(*least) };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)))
        }
        Algorithm::Hash(_, HashTable::Maglev(size)) => {
            let config = MaglevLbConfig { table_size: Some(*size) };
            (LbPolicy::Maglev, Some(LbConfig::MaglevLbConfig(config)))
        }
    }
}

fn slow_start(of: &Warmup) -> SlowStartConfig {
    SlowStartConfig {
        slow_start_window: Some(duration(of.duration)),
        aggression: (of.aggression != EVENLY).then(|| RuntimeDouble {
            default_value: f64::from(of.aggression) / 1_000.0,
            // It has to have one; nobody sets it.
            runtime_key: "pilothouse.aggression".to_owned(),
        }),
        min_weight_percent: Some(percent(of.minimum)),
    }
}

/// Returns which endpoints are left out for a while.
pub(super) fn outliers(of: &Outliers) -> OutlierDetection {
    let always = |count: Option<u32>| count.map(|count| if count == 0 { 0 } else { 100 });
    // A count of zero is how one says that it is not to count.
    let count = |count: Option<u32>| count.filter(|count| *count > 0);
    let local = of.consecutive_local.filter(|_| of.splits_local);
    OutlierDetection {
        consecutive_5xx: count(of.consecutive_5xx),
        enforcing_consecutive_5xx: always(of.consecutive_5xx),
        consecutive_gateway_failure: count(of.consecutive_gateway),
        enforcing_consecutive_gateway_failure: always(of.consecutive_gateway),
        split_external_local_origin_errors: of.splits_local,
        consecutive_local_origin_failure: count(local),
        enforcing_consecutive_local_origin_failure: always(local),
        // Rates are compared with those of others only where somebody asks for it, which nobody can.
        enforcing_success_rate: Some(0),
        enforcing_local_origin_success_rate: of.splits_local.then_some(0),
        interval: of.interval.map(duration),
        base_ejection_time: of.base_ejection_time.map(duration),
        max_ejection_percent: of.max_ejection_percent,
        always_eject_one_host: None,
    }
}
