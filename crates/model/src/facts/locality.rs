use crate::Str;

/// `localityLbSetting`: which endpoints are preferred by where they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LocalitySetting {
    /// `enabled` is false: where endpoints are has no effect.
    pub is_disabled: bool,
    /// `distribute`, in order. With any, nothing below counts.
    pub distribute: Vec<Distribution>,
    /// `failoverPriority`: those that have most of these in common with the client, in order, go first.
    pub labels: Vec<FailoverLabel>,
    /// `failover`: a region, and the one that stands in for it.
    pub regions: Vec<(Str, Str)>,
}

/// An entry of `distribute`: how much of what comes from somewhere goes where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Distribution {
    /// `from`.
    pub from: LocalityPattern,
    /// `to`, with percentages that are 100 together; the most specific first.
    pub to: Vec<(LocalityPattern, u32)>,
}

/// Region, zone and subzone, of which those that are `None` may be any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LocalityPattern(pub [Option<Str>; 3]);

impl LocalityPattern {
    /// Tells whether a locality is one of these.
    ///
    /// ```
    /// use pilothouse_model::facts::LocalityPattern;
    ///
    /// let zone = LocalityPattern([Some("r".into()), Some("a".into()), None]);
    /// assert!(zone.matches(&["r".into(), "a".into(), "x".into()]));
    /// assert!(!zone.matches(&["r".into(), "b".into(), "".into()]));
    /// ```
    pub fn matches(&self, locality: &[Str; 3]) -> bool {
        self.0.iter().zip(locality).all(|(own, of)| own.as_ref().is_none_or(|own| own == of))
    }
}

/// An entry of `failoverPriority`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct FailoverLabel {
    /// The label.
    pub key: Str,
    /// The value that endpoints are to have; `None` for that of the client.
    pub value: Option<Str>,
}

impl From<&str> for FailoverLabel {
    fn from(key: &str) -> Self {
        Self { key: key.into(), value: None }
    }
}

/// The labels that stand for where something is: of Nodes, of namespaces, or of nothing at all.
pub mod topology {
    /// The network.
    pub const NETWORK: &str = "topology.istio.io/network";
    /// The region.
    pub const REGION: &str = "topology.kubernetes.io/region";
    /// The zone.
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    /// The subzone.
    pub const SUBZONE: &str = "topology.istio.io/subzone";
    /// The node.
    pub const NODE: &str = "kubernetes.io/hostname";
    /// The cluster.
    pub const CLUSTER: &str = "topology.istio.io/cluster";
}
