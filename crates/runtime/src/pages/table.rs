//! The table of debug pages: index, list and answers come from it, so that none has what another lacks.

use super::answer::{self, Answer};
use super::asked::{Asked, Viewer};
use super::monitoring::Monitoring;
use super::{ambient, config, config_dump, own, proxies, registry};
use axum::http::StatusCode;
use model::Lines;
use std::pin::Pin;

type Making<'m> = Pin<Box<dyn Future<Output = Answer> + Send + 'm>>;

/// A debug page.
pub(super) struct Page {
    /// Its path below `/debug/`.
    name: &'static str,
    /// What to ask it with, in the index.
    query: &'static str,
    help: &'static str,
    about: About,
    make: for<'m> fn(&'m Monitoring, &'m Asked) -> Making<'m>,
}

/// What a page is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// The mesh, or the control plane.
    Mesh,
    /// One proxy: whoever is in its namespace may ask.
    Proxy,
}

macro_rules! pages {
    ($($name:literal $query:literal $about:ident $make:path: $help:literal;)*) => {
        &[$(Page {
            name: $name,
            query: $query,
            help: $help,
            about: About::$about,
            make: |m, asked| Box::pin($make(m, asked)),
        },)*]
    };
}

/// Every page, ascending by name.
static PAGES: &[Page] = pages! {
    "adsz" "" Mesh proxies::adsz: "connected proxies: metadata and subscriptions (Istio's)";
    "ambientz" "" Mesh ambient::ambientz: "workloads, services and policies as ztunnels are sent them (Istio's)";
    "authorizationz" "" Mesh ambient::authorizationz: "policies as ztunnels are sent them (Istio's)";
    "clientz" "" Mesh own::clientz: "connected clients: what each was sent, has acknowledged and refused";
    "clusterz" "" Mesh config::clusterz: "clusters that are read (Istio's)";
    "config_dump" "?proxyID=POD.NAMESPACE" Proxy config_dump::config_dump: "what a proxy is sent, as Envoy's admin interface dumps it (Istio's)";
    "configz" "" Mesh config::configz: "objects of Istio and of the Gateway API (Istio's)";
    "connections" "" Mesh proxies::connections: "connected proxies: address and time (Istio's)";
    "diagnosticz" "" Mesh own::diagnosticz: "what is wrong with the objects at hand";
    "ecdsz" "?proxyID=POD.NAMESPACE" Mesh config_dump::ecdsz: "configurations of filters of a proxy (Istio's)";
    "edsz" "?proxyID=POD.NAMESPACE" Proxy config_dump::edsz: "endpoints of a proxy (Istio's)";
    "endpointShardz" "" Mesh registry::endpointz: "endpoints by host and namespace (Istio's)";
    "endpointz" "" Mesh registry::endpointz: "the same, by its older name (Istio's)";
    "enginez" "" Mesh own::enginez: "tables of the engine: rows, how often computed, how often changed";
    "envoyz" "?waypoint=NAMESPACE/NAME" Mesh own::envoyz: "what Envoys of a waypoint are sent";
    "gatewayz" "" Mesh own::gatewayz: "gateways: addresses, listeners, what is deployed, what is wrong";
    "identityz" "" Mesh own::identityz: "the active signer and roots, and problems with key material";
    "list" "" Mesh list: "names of these pages, as JSON (Istio's)";
    "logz" "" Mesh own::logz: "what is logged, as a filter; PUT ?filter=FILTER changes it";
    "mcsz" "" Mesh config::mcsz: "services of the multi-cluster API: none is read (Istio's)";
    "mesh" "" Mesh config::mesh: "settings of the mesh, as JSON (Istio's)";
    "ndsz" "?proxyID=POD.NAMESPACE" Proxy config_dump::ndsz: "names for DNS: no proxy is sent any (Istio's)";
    "networkz" "" Mesh ambient::networkz: "gateways of networks (Istio's)";
    "registryz" "" Mesh registry::registryz: "services of the mesh (Istio's)";
    "resourcesz" "" Mesh config::resourcesz: "kinds that are read (Istio's)";
    "routez" "" Mesh own::routez: "rules of routes where they are tried, each as a sentence, and what is wrong";
    "sourcez" "" Mesh own::sourcez: "problems that keep the source from reading; nothing when there are none";
    "statusz" "?kind=KIND" Mesh own::statusz: "statuses of objects, of all kinds or of one";
    "syncz" "?namespace=NAMESPACE" Mesh proxies::syncz: "how far connected proxies are in step, of all namespaces or of one (Istio's)";
    "waypointz" "" Mesh own::waypointz: "waypoints: services, size of their configuration, replicas, what they have acknowledged and refused";
    "whyz" "?name=pod/NAMESPACE/NAME" Mesh own::whyz: "why something is what it is";
};

/// What else the port has.
const OTHERS: [(&str, &str); 2] =
    [("/metrics", "metrics for Prometheus"), ("/version", "the version of this control plane")];

impl Page {
    /// Makes it; `None` for a viewer who may not see it.
    pub async fn answer(&self, m: &Monitoring, asked: &Asked) -> Option<Answer> {
        if self.about == About::Mesh && asked.viewer != Viewer::Everything {
            return None;
        }
        let answer = (self.make)(m, asked).await;
        Some(if asked.parameter("pretty").is_some() { answer.pretty() } else { answer })
    }
}

/// The page of a name.
pub(super) fn find(name: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.name == name)
}

/// A line for each page.
pub(super) fn index() -> String {
    let others = OTHERS.iter().map(|(path, help)| ((*path).to_owned(), *help));
    let pages = PAGES.iter().map(|page| (format!("/debug/{}{}", page.name, page.query), page.help));
    let lines: Vec<_> = others.chain(pages).collect();
    let width = lines.iter().map(|(path, _)| path.len()).max().unwrap_or_default();
    lines.iter().map(|(path, help)| format!("{path:width$}  {help}\n")).collect()
}

/// The index as an answer.
pub(super) fn whole() -> Answer {
    let mut text = Lines::default();
    text.push_all(&index());
    answer::text(StatusCode::OK, text)
}

/// Says that there is no such page, and which there are. What it begins with is what istioctl looks for.
pub(super) fn not_found(path: &str, index: &str) -> Answer {
    let path: String = path.chars().take(200).collect();
    let mut text = Lines::from_iter([format!("404 page not found: there is no page {path}; there are")]);
    text.push("");
    text.push_all(index);
    answer::text(StatusCode::NOT_FOUND, text)
}

/// Says that others have their turn.
pub(super) fn busy() -> Answer {
    answer::line(StatusCode::SERVICE_UNAVAILABLE, "too many pages are being made; ask again")
}

/// The names of all pages but this one.
async fn list(_: &Monitoring, _: &Asked) -> Answer {
    let names: Vec<_> = PAGES.iter().map(|page| page.name).filter(|name| *name != "list").collect();
    answer::json(StatusCode::OK, &names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_in_order_each_once_and_the_index_has_them_all() {
        let names: Vec<_> = PAGES.iter().map(|page| page.name).collect();
        // As Go sorts strings, and each once.
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        let index = index();
        for page in PAGES {
            assert!(index.contains(&format!("/debug/{}{} ", page.name, page.query)), "{index}");
        }
        let open = PAGES.iter().filter(|page| page.about == About::Proxy).map(|page| page.name);
        assert_eq!(open.collect::<Vec<_>>(), ["config_dump", "edsz", "ndsz"]);
    }
}
