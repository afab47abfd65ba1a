//! Which instances of an upstream are preferred by where they are.
//!
//! What an upstream says of it, its DestinationRule, its service or the mesh, is a [`Preference`]. Where a waypoint is,
//! it becomes a priority of each instance, or a share of each locality.

use mesh::destination::{Destination, Detail, Endpoint, Location};
use model::facts::{Distribution, FailoverLabel, LocalityPattern, LocalitySetting, PortPolicy, topology};
use model::{Name, Str};
use std::collections::BTreeMap;

/// What is preferred, and what alone is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Preference {
    /// An instance that has not all of these in common with the waypoint is not used.
    required: Vec<FailoverLabel>,
    order: Order,
}

/// What goes before what.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Order {
    /// All are alike.
    None,
    /// Localities have their shares.
    Shares(Vec<Distribution>),
    /// What is nearer goes first, and the rest is for when that fails.
    Nearest {
        /// Those that have most of these in common with the waypoint, in order.
        labels: Vec<FailoverLabel>,
        /// Then those of its subzone, zone and region, and of the region that stands in for it; `None` if that has no
        /// effect.
        regions: Option<Vec<(Str, Str)>>,
        /// Whether what is not ready counts as if it were not there, rather than as failing.
        counts_ready: bool,
    },
}

impl Order {
    /// `detects` tells whether something says when an instance fails: if not, nothing stands in for it.
    fn of_setting(of: &LocalitySetting, detects: bool) -> Self {
        if !of.distribute.is_empty() {
            return Self::Shares(of.distribute.clone());
        }
        if !detects {
            return Self::None;
        }
        let is_by_region = of.labels.is_empty() || !of.regions.is_empty();
        Self::Nearest {
            labels: of.labels.clone(),
            regions: is_by_region.then(|| of.regions.clone()),
            counts_ready: false,
        }
    }
}

impl Preference {
    /// Returns what holds of a service: what DestinationRules say goes before what the service says, and that before
    /// what is said for the mesh. `None` if nothing is preferred.
    pub fn of(service: &Destination, rule: &PortPolicy, mesh: Option<&LocalitySetting>) -> Option<Self> {
        let own = rule.load_balancer.as_ref().and_then(|of| of.locality.as_ref());
        let detects = rule.outliers.is_some();
        let order = match own {
            Some(own) if own.is_disabled => Order::None,
            Some(own) => Order::of_setting(own, detects),
            None if !service.preferred.is_empty() => Order::Nearest {
                labels: service.preferred.to_vec(),
                regions: None,
                // As ztunnels choose.
                counts_ready: true,
            },
            None => match mesh.filter(|mesh| !mesh.is_disabled) {
                Some(mesh) => Order::of_setting(mesh, detects),
                None => Order::None,
            },
        };
        let required = service.required.to_vec();
        (order != Order::None || !required.is_empty()).then_some(Self { required, order })
    }

    /// Returns the labels that are compared with those of the waypoint, or with values of their own.
    fn labels(&self) -> impl Iterator<Item = &FailoverLabel> {
        let labels: &[FailoverLabel] = match &self.order {
            Order::Nearest { labels, .. } => labels,
            Order::None | Order::Shares(_) => &[],
        };
        labels.iter().chain(&self.required)
    }

    /// Tells whether it makes a difference what instances are labelled with.
    pub fn compares_labels(&self) -> bool {
        self.labels().any(|label| !LOCATIONS.contains(&label.key.as_str()))
    }

    /// Returns how exactly it has to be known where a waypoint is; `None` if that makes no difference.
    pub fn detail(&self) -> Option<Detail> {
        let by_locality = match &self.order {
            Order::None => false,
            Order::Shares(_) => true,
            Order::Nearest { regions, .. } => regions.is_some(),
        };
        let compared = self.labels().filter(|label| label.value.is_none());
        let of_labels = compared.filter_map(|label| match label.key.as_str() {
            topology::NETWORK | topology::CLUSTER => None,
            topology::REGION | topology::ZONE => Some(Detail::Zone),
            topology::SUBZONE => Some(Detail::Subzone),
            topology::NODE => Some(Detail::Node),
            _ => Some(Detail::Pod),
        });
        of_labels.chain(by_locality.then_some(Detail::Subzone)).max()
    }

    /// Tells whether what is not ready is left out.
    pub fn leaves_out_unready(&self) -> bool {
        matches!(self.order, Order::Nearest { counts_ready: true, .. })
    }

    /// Tells whether localities have weights.
    pub fn has_shares(&self) -> bool {
        matches!(self.order, Order::Shares(_))
    }

    /// Returns how far an instance is away: what is at 0 goes first. `None` if it is not used.
    pub fn distance(&self, from: Vantage<'_>, instance: &Endpoint) -> Option<u32> {
        let differs = |label: &FailoverLabel| from.differs(label, instance);
        if self.required.iter().any(differs) {
            return None;
        }
        let Order::Nearest { labels, regions, .. } = &self.order else { return Some(0) };
        let missing = labels.iter().position(differs).map_or(0, |at| labels.len() - at);
        let by_labels = u32::try_from(missing).unwrap_or(u32::MAX / REGIONS);
        let by_region = regions.as_ref().map_or(0, |regions| by_region(from.location, instance, regions));
        Some(by_labels.saturating_mul(REGIONS).saturating_add(by_region))
    }

    /// Returns the weights of localities, of which instances weigh so much together: one that is not in it is not used.
    pub fn weights(
        &self,
        from: Vantage<'_>,
        localities: &BTreeMap<[Str; 3], u32>,
    ) -> BTreeMap<[Str; 3], u32> {
        let Order::Shares(all) = &self.order else { return BTreeMap::new() };
        let Some(of) = all.iter().find(|of| of.from.matches(&from.location.locality)) else {
            return localities.clone();
        };
        let taken = |locality: &[Str; 3]| of.to.iter().position(|(to, _)| to.matches(locality));
        let mut sums: BTreeMap<usize, u64> = BTreeMap::new();
        for (locality, weight) in localities {
            if let Some(at) = taken(locality) {
                *sums.entry(at).or_default() += u64::from(*weight);
            }
        }
        let weight = |(locality, weight): (&[Str; 3], &u32)| {
            let at = taken(locality)?;
            let (_, share): &(LocalityPattern, u32) = &of.to[at];
            // Of what several localities share each has its part, and at least one.
            let part = (u64::from(*weight) * u64::from(*share)).div_ceil(sums[&at].max(1));
            Some((locality.clone(), u32::try_from(part).unwrap_or(u32::MAX)))
        };
        localities.iter().filter_map(weight).collect()
    }
}

/// What is known of an instance by where it is, and not by its labels.
const LOCATIONS: [&str; 6] = [
    topology::NETWORK,
    topology::CLUSTER,
    topology::REGION,
    topology::ZONE,
    topology::SUBZONE,
    topology::NODE,
];

/// How many distances there are between two places by their regions.
const REGIONS: u32 = 5;

/// Returns how far an instance is away by its region, zone and subzone.
fn by_region(from: &Location, instance: &Endpoint, regions: &[(Str, Str)]) -> u32 {
    let ([region, zone, subzone], of) = (&from.locality, &instance.locality);
    if region.is_empty() {
        return 0;
    }
    if *region != of[0] {
        let stands_in = regions.iter().find(|(own, _)| own == region).map(|(_, to)| to);
        return if stands_in.is_some_and(|to| *to != of[0]) { 4 } else { 3 };
    }
    match (*zone == of[1], *subzone == of[2]) {
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

/// Where a waypoint is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vantage<'a> {
    pub location: &'a Location,
    pub network: &'a str,
}

impl Vantage<'_> {
    /// Tells whether an instance has another value of a label; what is not known of the waypoint is not compared.
    fn differs(self, label: &FailoverLabel, instance: &Endpoint) -> bool {
        let own = match label.key.as_str() {
            topology::NETWORK => Some(self.network),
            key => self.location.label(key),
        };
        let [region, zone, subzone] = &instance.locality;
        let of_instance = match label.key.as_str() {
            topology::NETWORK => instance.network.as_str(),
            topology::CLUSTER => &instance.cluster,
            topology::REGION => region,
            topology::ZONE => zone,
            topology::SUBZONE => subzone,
            topology::NODE => &instance.node,
            key => instance.labels.get(key).map_or("", Str::as_str),
        };
        label.value.as_deref().or(own).is_some_and(|wanted| wanted != of_instance)
    }
}

/// A place that a waypoint is at: what its scope has behind the waypoint's name, and where that is.
pub(crate) type Place = (Str, Location);

/// Returns the places for each of which an upstream is preferred otherwise: where the waypoint is, or one that stands
/// for all.
pub(crate) fn places(
    of: Option<&Preference>,
    waypoint: &Name,
    locations: impl FnOnce(&(Name, Detail)) -> Vec<Location>,
) -> Vec<Place> {
    let Some(detail) = of.and_then(Preference::detail) else { return vec![Place::default()] };
    let found = locations(&(waypoint.clone(), detail));
    if found.is_empty() {
        return vec![Place::default()];
    }
    found.into_iter().map(|location| (location.scope_suffix(detail), location)).collect()
}
