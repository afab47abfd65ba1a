//! Filters of all connection managers that a scope says what they are.
//!
//! Envoy's filters for tokens and for external authorization have few settings by route, or none. Its composite filter
//! stands for any others, and which they are has settings by route; so all of it is in scopes, as rules are.

use prost::{Message, Name};
use prost_types::Any;
use proto::envoy::any;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::extensions::common::matching::v3::{ExtensionWithMatcher, ExtensionWithMatcherPerRoute};
use proto::envoy::extensions::filters::common::matcher::action::v3::SkipFilter;
use proto::envoy::extensions::filters::http::composite::v3::{
    Composite, ExecuteFilterAction, FilterChainConfiguration,
};
use proto::xds::r#type::matcher::v3::{Matcher, matcher};

/// A filter of all connection managers that a scope says what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// Somebody is asked; several are, one after the other, so there is a number.
    Ask(usize),
    /// Tokens, and what is marked.
    Tokens,
}

/// How many may be asked at one port. A filter that waits for an answer has to be the last of its chain: Envoy 1.40.0
/// leaves out whatever stands behind it there.
pub(super) const ASKED: usize = 4;

impl Slot {
    fn name(self) -> String {
        match self {
            Self::Ask(0) => "istio.ext_authz".to_owned(),
            Self::Ask(n) => format!("istio.ext_authz.{n}"),
            Self::Tokens => "istio.authn".to_owned(),
        }
    }
}

/// Returns the filters by their names, in order. They do nothing where no scope says more.
pub(crate) fn slots() -> Vec<(String, ExtensionWithMatcher)> {
    let filter = ExtensionWithMatcher {
        xds_matcher: Some(always("skip", &SkipFilter {})),
        extension_config: Some(filter("envoy.filters.http.composite", &Composite {})),
    };
    let all = (0..ASKED).map(Slot::Ask).chain([Slot::Tokens]);
    all.map(|slot| (slot.name(), filter.clone())).collect()
}

/// Returns a filter that may stand in a scope.
pub(super) fn filter<M: Message + Name>(name: &str, config: &M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(any(config)) }
}

/// Returns what says in a scope which filters stand in a slot, in order; `None` where there are none.
pub(super) fn per_route(slot: Slot, filters: Vec<TypedExtensionConfig>) -> Option<(String, Any)> {
    if filters.is_empty() {
        return None;
    }
    let chain = FilterChainConfiguration { typed_config: filters };
    let matcher = always("composite-action", &ExecuteFilterAction { filter_chain: Some(chain) });
    Some((slot.name(), any(&ExtensionWithMatcherPerRoute { xds_matcher: Some(matcher) })))
}

/// Returns what does the same for all requests.
fn always<M: Message + Name>(name: &str, action: &M) -> Matcher {
    let on_match = matcher::on_match::OnMatch::Action(filter(name, action));
    Matcher { on_no_match: Some(matcher::OnMatch { on_match: Some(on_match) }) }
}
