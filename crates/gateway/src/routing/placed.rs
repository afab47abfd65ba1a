//! Rules where they apply.

use model::Ns;
use std::sync::Arc;

use crate::route::Rule;

/// A rule at a hostname.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The port of the service that it is for; `None` for every one.
    pub port: Option<u16>,
    /// The namespace whose callers it is for: that of the route, where it is not the service's, or one that the rule
    /// names; `None` for all.
    pub callers: Option<Ns>,
}

impl Placed {
    /// Tells whether it is for a port.
    pub fn is_at(&self, port: u16) -> bool {
        self.port.is_none_or(|of| of == port)
    }
}
