//! `match` of the routes of a VirtualService.

use super::expression;
use super::fault::{Faults, Lowered, join};
use super::number::ProtoPort;
use super::pairs::StrictPairs;
use super::route_match::{header_name, method};
use super::text::{Text, or_empty, shared_host};
use crate::facts::{Ignored, PathMatch, RequestMatch, ValueMatch};
use crate::{Labels, Str, shared};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The gateway that stands for the mesh.
pub(super) const MESH: &str = "mesh";
/// What matches any value.
const ANY: &str = ".*";

/// Comparisons by the names of what is compared.
type Values<'a> = BTreeMap<Text<'a>, Option<StringMatch<'a>>>;

/// A comparison with a text; without any, every value matches.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct StringMatch<'a> {
    #[serde(borrow)]
    exact: Option<Text<'a>>,
    #[serde(borrow)]
    prefix: Option<Text<'a>>,
    #[serde(borrow)]
    regex: Option<Text<'a>>,
}

/// Declares an entry of `match` of one sort of route: its own fields, and what entries of every sort say of who calls.
/// They are fields of one struct, so that an error has the path of its field, which `serde(flatten)` loses.
macro_rules! match_entry {
    ($(#[$doc:meta])* $name:ident { $($(#[$of_field:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", expecting = "an object")]
        pub(super) struct $name<'a> {
            $($(#[$of_field])* $field: $type,)*
            port: Option<ProtoPort>,
            #[serde(borrow)]
            source_labels: Option<StrictPairs<'a>>,
            #[serde(borrow)]
            source_namespace: Option<Text<'a>>,
            #[serde(borrow)]
            gateways: Option<Vec<Text<'a>>>,
        }

        impl $name<'_> {
            /// Lowers what it says of who calls; nothing where that is nobody here.
            fn caller(&self, at: &str, notes: &mut Notes<'_>) -> Option<RequestMatch> {
                let is_for_mesh = notes.has_mesh(at, self.gateways.as_deref().unwrap_or_default());
                let labels = self.source_labels.as_ref().map(StrictPairs::labels).unwrap_or_default();
                let is_matched = notes.has_no_labels(at, &labels) && is_for_mesh;
                is_matched.then(|| RequestMatch {
                    port: self.port.map(ProtoPort::port).filter(|port| *port != 0),
                    callers: shared(or_empty(&self.source_namespace)),
                    ..RequestMatch::default()
                })
            }
        }
    };
}

match_entry! {
    /// An entry of `match` of a route of requests.
    HttpMatch {
        #[serde(borrow)]
        uri: Option<StringMatch<'a>>,
        #[serde(borrow)]
        scheme: Option<StringMatch<'a>>,
        #[serde(borrow)]
        method: Option<StringMatch<'a>>,
        #[serde(borrow)]
        authority: Option<StringMatch<'a>>,
        #[serde(borrow)]
        headers: Option<Values<'a>>,
        #[serde(borrow)]
        without_headers: Option<Values<'a>>,
        #[serde(borrow)]
        query_params: Option<Values<'a>>,
        ignore_uri_case: Option<bool>,
    }
}

match_entry! {
    /// An entry of `match` of a route of streams, of TLS or not.
    StreamMatch {
        #[serde(borrow)]
        sni_hosts: Option<Vec<Text<'a>>>,
        #[serde(borrow)]
        destination_subnets: Option<Vec<Text<'a>>>,
        #[serde(borrow)]
        source_subnet: Option<Text<'a>>,
    }
}

/// What is found beside matches: what is wrong, and what is left out.
pub(super) struct Notes<'n> {
    pub(super) faults: &'n mut Faults,
    pub(super) ignored: &'n mut Vec<Ignored>,
}

/// An entry of `match` of one sort of route.
pub(super) trait Matches {
    /// Lowers what stands at the field `at`; nothing for what matches nothing here.
    fn lower(self, at: &str, notes: &mut Notes<'_>) -> Option<RequestMatch>;
}

impl Notes<'_> {
    fn ignore(&mut self, at: &str, field: &str, message: String, help: &'static str) {
        self.ignored.push(Ignored { field: join(at, field), message, help });
    }

    /// Tells of gateways that are none of ours; returns whether `mesh` is among them. No list means the mesh.
    pub(super) fn has_mesh(&mut self, at: &str, gateways: &[Text<'_>]) -> bool {
        for (i, name) in gateways.iter().map(Text::as_str).enumerate().filter(|(_, name)| *name != MESH) {
            let message = format!("{name:?} names a Gateway of networking.istio.io, which is not read");
            let help = "write a Gateway of gateway.networking.k8s.io, and an HTTPRoute, TLSRoute or TCPRoute with it in parentRefs";
            self.ignore(at, &format!("gateways[{i}]"), message, help);
        }
        gateways.is_empty() || gateways.iter().any(|name| name.as_str() == MESH)
    }

    /// Tells of labels of callers, which nobody compares; returns whether there are none.
    fn has_no_labels(&mut self, at: &str, labels: &Labels) -> bool {
        if labels.is_empty() {
            return true;
        }
        let message =
            "a waypoint does not know the labels of who calls: the match matches nothing".to_owned();
        self.ignore(at, "sourceLabels", message, "match a header, or the namespace by sourceNamespace");
        false
    }
}

impl StringMatch<'_> {
    /// Returns the text, and whether it is a regular expression; nothing where every value matches.
    fn lower(&self) -> Result<Option<(Str, bool)>, String> {
        match (&self.exact, &self.prefix, &self.regex) {
            (None, None, None) => Ok(None),
            (Some(exact), None, None) => Ok(Some((exact.shared(), false))),
            (None, Some(prefix), None) => {
                Ok(Some((shared(&format!("{}{ANY}", escaped(prefix.as_str()))), true)))
            }
            (None, None, Some(regex)) if matches!(regex.as_str(), "" | "*") => Ok(None),
            (None, None, Some(regex)) => {
                expression::check(regex.as_str())?;
                Ok(Some((regex.shared(), true)))
            }
            _ => Err("has more than one of exact, prefix and regex".to_owned()),
        }
    }

    /// Returns the origin, or the regular expression of origins, that it allows.
    pub(super) fn origin(&self) -> Result<(Str, bool), String> {
        Ok(self.lower()?.unwrap_or((shared(ANY), true)))
    }

    fn path(&self) -> Result<Option<PathMatch>, String> {
        let Some((text, is_regex)) = self.lower()? else { return Ok(None) };
        Ok(match &self.prefix {
            // Every path begins with a slash.
            Some(prefix) if matches!(prefix.as_str(), "" | "/") => None,
            Some(prefix) => Some(PathMatch::StartsWith(prefix.shared())),
            None if is_regex => Some(PathMatch::Regex(text)),
            None => Some(PathMatch::Exact(text)),
        })
    }
}

/// Returns a regular expression that matches a text literally.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

impl Matches for HttpMatch<'_> {
    fn lower(self, at: &str, notes: &mut Notes<'_>) -> Option<RequestMatch> {
        let caller = self.caller(at, notes);
        // What is wrong is told, whoever calls.
        let request = notes.faults.take(at, self.request(caller.clone().unwrap_or_default()));
        caller.and(request)
    }
}

impl HttpMatch<'_> {
    /// Lowers what it says of requests, of callers that are lowered already.
    fn request(&self, caller: RequestMatch) -> Lowered<RequestMatch> {
        let at = |field: &'static str| move |message: String| (field.to_owned(), message);
        let mut headers = Vec::new();
        for (field, header, of) in
            [("authority", ":authority", &self.authority), ("scheme", ":scheme", &self.scheme)]
        {
            if let Some((value, is_regex)) = lowered(of).map_err(at(field))? {
                headers.push(ValueMatch { name: shared(header), value, is_regex, is_negated: false });
            }
        }
        let method = match lowered(&self.method).map_err(at("method"))? {
            None => Str::default(),
            Some((text, false)) => method(&text).map_err(at("method"))?,
            Some((value, true)) => {
                let name = shared(":method");
                headers.push(ValueMatch { name, value, is_regex: true, is_negated: false });
                Str::default()
            }
        };
        headers.extend(values(&self.headers, "headers", false, header_name)?);
        headers.extend(values(&self.without_headers, "withoutHeaders", true, header_name)?);
        let parameter = |name: &str| (!name.is_empty()).then(|| shared(name));
        let path = self.uri.as_ref().map(StringMatch::path).transpose().map_err(at("uri"))?.flatten();
        let is_regex = matches!(path, Some(PathMatch::Regex(_)) | None);
        Ok(RequestMatch {
            path,
            headers,
            query: values(&self.query_params, "queryParams", false, parameter)?,
            method,
            ignores_case: self.ignore_uri_case.unwrap_or(false) && !is_regex,
            ..caller
        })
    }
}

impl Matches for StreamMatch<'_> {
    fn lower(self, at: &str, notes: &mut Notes<'_>) -> Option<RequestMatch> {
        let caller = self.caller(at, notes);
        let mut is_compared = true;
        let destinations = self.destination_subnets.unwrap_or_default();
        if let Some(first) = destinations.first() {
            let message =
                format!("{:?} is not compared with addresses: the match matches nothing", first.as_str());
            let help = "write a ServiceEntry with the addresses, and its host in hosts";
            notes.ignore(at, "destinationSubnets", message, help);
            is_compared = false;
        }
        if let Some(subnet) = self.source_subnet.as_ref().filter(|subnet| !subnet.as_str().is_empty()) {
            let message =
                format!("{:?} is not compared with addresses: the match matches nothing", subnet.as_str());
            let help = "match sourceNamespace, or restrict who connects by an AuthorizationPolicy";
            notes.ignore(at, "sourceSubnet", message, help);
            is_compared = false;
        }
        caller.filter(|_| is_compared).map(|caller| RequestMatch {
            sni: self.sni_hosts.iter().flatten().map(|host| shared_host(host.as_str())).collect(),
            ..caller
        })
    }
}

fn lowered(of: &Option<StringMatch<'_>>) -> Result<Option<(Str, bool)>, String> {
    of.as_ref().map_or(Ok(None), StringMatch::lower)
}

/// Returns the matches of values by their names.
fn values(
    list: &Option<Values<'_>>,
    field: &str,
    is_negated: bool,
    name_of: impl Fn(&str) -> Option<Str>,
) -> Lowered<Vec<ValueMatch>> {
    let lower = |(written, of): (&Text<'_>, &Option<StringMatch<'_>>)| {
        let at = || join(field, written.as_str());
        let name = name_of(written.as_str())
            .ok_or_else(|| (field.to_owned(), format!("{:?} cannot be a name", written.as_str())))?;
        let (value, is_regex) =
            lowered(of).map_err(|message| (at(), message))?.unwrap_or((shared(ANY), true));
        Ok(ValueMatch { name, value, is_regex, is_negated })
    };
    list.iter().flatten().map(lower).collect()
}
