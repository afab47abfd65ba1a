//! Random routes and random requests: a real Envoy answers as the routing model says.

use super::proxy::LIMIT;
use super::traffic::{Answer, Http, Waypoint, echo};
use gateway::{HostKey, Outcome, Request as Asked, ServiceTarget, Target};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use model::{Event, Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::until;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const MESHES: u64 = 60;
const REQUESTS: usize = 200;
const SERVICES: [&str; 3] = ["web", "one", "two"];

const PATHS: [&str; 12] =
    ["/", "/a", "/A", "/ab", "/a/", "/a/b", "/A/b", "/a/b/c", "/b", "/b/a", "/x.txt", "/a/x.txt"];
const EXPRESSIONS: [&str; 5] = ["/a.*", "/[a-b]", "/.+\\.txt", "/a/(b|c)(/c)?", ".*"];
const USERS: [&str; 4] = ["a", "ab", "b", "c d"];
const USER_EXPRESSIONS: [&str; 4] = ["a.*", "a|b", "[^a]+", "b?"];

fn mesh(ports: [u16; 3]) -> String {
    let fixed = "\
options: {gateway_api: true, configures_waypoints: true}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: istio-waypoint}
spec: {controllerName: istio.io/mesh-controller}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/use-waypoint: waypoint}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {namespace: shop, name: waypoint}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
status: {addresses: [{type: IPAddress, value: 10.1.0.9}]}
";
    let services = SERVICES.iter().zip(ports).enumerate().map(|(n, (name, at))| {
        format!(
            "---\n\
             apiVersion: v1\n\
             kind: Service\n\
             metadata: {{namespace: shop, name: {name}}}\n\
             spec: {{clusterIP: 10.96.1.{n}, ports: [{{name: http, port: 80}}, {{name: http-more, port: 81}}]}}\n\
             ---\n\
             apiVersion: discovery.k8s.io/v1\n\
             kind: EndpointSlice\n\
             metadata: {{namespace: shop, name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\n\
             addressType: IPv4\n\
             endpoints: [{{addresses: [127.0.0.1], conditions: {{ready: true}}}}]\n\
             ports: [{{name: http, port: {at}, protocol: TCP}}, {{name: http-more, port: {at}, protocol: TCP}}]\n"
        )
    });
    fixed.to_owned() + &services.collect::<String>()
}

/// What makes random objects and requests, the same for the same seed.
struct Chance(StdRng);

impl Chance {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.0).unwrap()
    }

    /// Tells whether one of so many comes.
    fn is_one_in(&mut self, of: u32) -> bool {
        self.0.random_ratio(1, of)
    }

    fn count(&mut self, most: usize) -> usize {
        self.0.random_range(0..=most)
    }

    fn route_match(&mut self) -> Value {
        let mut of = json!({});
        if !self.is_one_in(4) {
            of["path"] = match self.count(2) {
                0 => json!({"type": "Exact", "value": self.one(&PATHS)}),
                1 => json!({"type": "PathPrefix", "value": self.one(&PATHS)}),
                _ => json!({"type": "RegularExpression", "value": self.one(&EXPRESSIONS)}),
            };
        }
        if self.is_one_in(3) {
            of["headers"] = json!([match self.count(1) {
                0 => json!({"name": "x-user", "value": self.one(&USERS)}),
                _ =>
                    json!({"name": "X-User", "type": "RegularExpression", "value": self.one(&USER_EXPRESSIONS)}),
            }]);
        }
        if self.is_one_in(4) {
            of["queryParams"] = json!([match self.count(1) {
                0 => json!({"name": "q", "value": "1"}),
                _ => json!({"name": "q", "type": "RegularExpression", "value": "[0-9]+"}),
            }]);
        }
        if self.is_one_in(5) {
            of["method"] = json!(self.one(&["GET", "POST"]));
        }
        of
    }

    /// Whether all matches are by a prefix, of which alone a prefix can be replaced.
    fn route_path(&mut self, matches: &[Value]) -> Value {
        if matches.len() == 1 && matches[0]["path"]["type"] == "PathPrefix" && !self.is_one_in(3) {
            return json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": self.one(&["/", "/new", "/new/"])});
        }
        json!({"type": "ReplaceFullPath", "replaceFullPath": self.one(&["/", "/full", "/full/path"])})
    }

    fn route(&mut self, name: &str) -> Value {
        let rules = (0..=self.count(3)).map(|_| {
            let matches: Vec<Value> = (0..self.0.random_range(1..=2)).map(|_| self.route_match()).collect();
            let mut rule = json!({"matches": matches});
            let mut filters = Vec::new();
            if self.is_one_in(4) {
                filters.push(json!({"type": "RequestHeaderModifier", "requestHeaderModifier":
                    {"set": [{"name": "x-set", "value": "1%"}], "add": [{"name": "x-add", "value": "2"}], "remove": ["x-user"]}}));
            }
            if self.is_one_in(5) {
                let mut to = json!({"statusCode": if self.is_one_in(2) { 301 } else { 302 }});
                if self.is_one_in(2) {
                    to["hostname"] = json!("away.org");
                }
                if self.is_one_in(3) {
                    to["scheme"] = json!(self.one(&["http", "https"]));
                }
                if self.is_one_in(3) {
                    to["port"] = json!([80, 443, 8080][self.count(2)]);
                }
                if self.is_one_in(2) {
                    to["path"] = self.route_path(&matches);
                }
                filters.push(json!({"type": "RequestRedirect", "requestRedirect": to}));
            } else {
                if self.is_one_in(3) {
                    let path = self.route_path(&matches);
                    filters.push(json!({"type": "URLRewrite", "urlRewrite": {"hostname": "other.org", "path": path}}));
                }
                let backends = (0..self.count(3)).map(|_| {
                    let name = if self.is_one_in(8) { "missing" } else { self.one(&SERVICES) };
                    json!({"name": name, "port": 80, "weight": self.count(2)})
                });
                rule["backendRefs"] = json!(backends.collect::<Vec<_>>());
            }
            rule["filters"] = json!(filters);
            rule
        });
        let rules: Vec<Value> = rules.collect();
        let mut parent = json!({"group": "", "kind": "Service", "name": "web"});
        if self.is_one_in(3) {
            parent["port"] = json!(80 + self.count(1));
        }
        json!({"metadata": self.metadata(name), "spec": {"parentRefs": [parent], "rules": rules}})
    }

    fn metadata(&mut self, name: &str) -> Value {
        let created = format!("2026-01-0{}T00:00:00Z", 1 + self.count(3));
        json!({"namespace": "shop", "name": name, "generation": 1, "creationTimestamp": created})
    }

    fn text_match(&mut self, texts: &[&str], expressions: &[&str]) -> Value {
        match self.count(2) {
            0 => json!({"exact": self.one(texts)}),
            1 => json!({"prefix": self.one(texts)}),
            _ => json!({"regex": self.one(expressions)}),
        }
    }

    fn service_match(&mut self) -> Value {
        let mut of = json!({"name": "m"});
        if !self.is_one_in(4) {
            of["uri"] = self.text_match(&PATHS, &EXPRESSIONS);
            of["ignoreUriCase"] = json!(self.is_one_in(3));
        }
        if self.is_one_in(4) {
            of["headers"] = json!({"x-user": self.text_match(&USERS, &USER_EXPRESSIONS)});
        }
        if self.is_one_in(4) {
            let user = if self.is_one_in(3) { json!({}) } else { self.text_match(&USERS, &USER_EXPRESSIONS) };
            of["withoutHeaders"] = json!({"x-user": user});
        }
        if self.is_one_in(5) {
            of["queryParams"] = json!({"q": self.text_match(&["1", "10"], &["[0-9]+"])});
        }
        if self.is_one_in(6) {
            of["method"] = self.text_match(&["GET", "POST"], &["P.*"]);
        }
        if self.is_one_in(6) {
            of["authority"] = self.text_match(&["web", "other"], &[".*org"]);
        }
        if self.is_one_in(5) {
            of["port"] = json!(80 + self.count(1));
        }
        of
    }

    fn virtual_service(&mut self, name: &str) -> Value {
        let http = (0..=self.count(3)).map(|_| {
            let mut rule = json!({});
            if !self.is_one_in(6) {
                let matches = (0..self.0.random_range(1..=2)).map(|_| self.service_match());
                rule["match"] = json!(matches.collect::<Vec<_>>());
            }
            match self.count(5) {
                0 => {
                    rule["redirect"] = json!({"uri": "/there", "redirectCode": 307});
                    if self.is_one_in(2) {
                        rule["redirect"]["authority"] = json!("away.org");
                    }
                }
                1 => rule["directResponse"] = json!({"status": 203, "body": {"string": "an answer"}}),
                _ => {
                    let count = self.0.random_range(1..=3);
                    let destinations = (0..count).map(|_| {
                        let host = if self.is_one_in(8) { "missing" } else { self.one(&SERVICES) };
                        json!({"destination": {"host": host}, "weight": 1 + self.count(2)})
                    });
                    rule["route"] = json!(destinations.collect::<Vec<_>>());
                    match self.count(4) {
                        0 => rule["rewrite"] = json!({"uri": self.one(&["/", "/new"])}),
                        1 => {
                            let regex = json!({"match": "/([a-z])", "rewrite": "/\\1-"});
                            rule["rewrite"] = json!({"uriRegexRewrite": regex, "authority": "other.org"});
                        }
                        _ => {}
                    }
                    if self.is_one_in(4) {
                        rule["headers"] = json!({"request": {"set": {"x-set": "3"}, "remove": ["x-user"]}});
                    }
                }
            }
            rule
        });
        let http: Vec<Value> = http.collect();
        json!({"metadata": self.metadata(name), "spec": {"hosts": ["web"], "http": http}})
    }

    fn request(&mut self) -> Asked {
        let users = (0..self.count(2)).map(|_| ("x-user".to_owned(), self.one(&USERS).to_owned())).collect();
        Asked {
            method: self.one(&["GET", "GET", "POST", "PUT"]).to_owned(),
            scheme: "http".to_owned(),
            authority: self.one(&["web", "other", "a.org"]).to_owned(),
            path: self.one(&PATHS).to_owned(),
            query: (!self.is_one_in(2))
                .then(|| self.one(&["q=1", "q=x", "p=1&q=10", "q=2&q=1", ""]).to_owned()),
            headers: users,
            port: u16::try_from(80 + self.count(1)).unwrap(),
            caller: "shop".to_owned(),
        }
    }
}

/// Tells whether an answer is one that an outcome may have.
fn is_one_of(answer: &Answer, outcome: &Outcome<'_>, asked: &Asked) -> bool {
    let is_from = |service: &str, sent: &Asked| {
        let values = |name: &str| {
            let own = sent.headers.iter().filter(|(of, _)| of == name);
            own.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(",")
        };
        answer.status == 200
            && answer.body["by"] == service
            && answer.body["path"] == sent.path
            && answer.body["query"].as_str() == sent.query.as_deref()
            && answer.body["headers"]["host"] == sent.authority
            && ["x-user", "x-set", "x-add"]
                .iter()
                .all(|name| answer.body["headers"][*name].as_str().unwrap_or_default() == values(name))
    };
    match outcome {
        Outcome::ToService => is_from("web", asked),
        Outcome::NotFound => answer.status == 404,
        Outcome::Refused => answer.status == 500,
        Outcome::Answered(with) => answer.status == with.status && answer.text.as_bytes() == &*with.body,
        Outcome::Redirected(code, to) => {
            answer.status == *code && answer.headers.get("location").is_some_and(|location| location == to)
        }
        Outcome::Forwarded(shares) => shares.iter().any(|(share, sent)| match &share.backend {
            None => answer.status == 500,
            Some(to) => is_from(to.hostname.split('.').next().unwrap_or_default(), sent),
        }),
    }
}

async fn ask(connections: &mut [Http; 2], asked: &Asked) -> Answer {
    let query = asked.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let request = Request::builder().method(asked.method.as_str()).uri(format!("{}{query}", asked.path));
    let request = request.header("host", &asked.authority);
    let request = asked.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    let request: Request<Empty<Bytes>> = request.body(Empty::new()).unwrap();
    connections[usize::from(asked.port - 80)].send(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_the_one_that_the_model_says() {
    let [web, one, two] =
        [echo("web").await.unwrap(), echo("one").await.unwrap(), echo("two").await.unwrap()];
    let mut waypoint = Waypoint::of(&mesh([web, one, two])).await.unwrap();
    let mut connections =
        [waypoint.http("10.96.1.0:80").await.unwrap(), waypoint.http("10.96.1.0:81").await.unwrap()];
    let key = HostKey {
        target: Target::Service(ServiceTarget { kind: Kind::Service, name: Name::new("shop", "web") }),
        hostname: "web.shop.svc.cluster.local".into(),
    };
    let mut applied: Vec<ObjectRef> = Vec::new();
    let (mut kinds, mut differences) = ([0; 6], Vec::new());
    for seed in 0..MESHES {
        let mut chance = Chance(StdRng::seed_from_u64(seed));
        let mut objects: Vec<(Kind, Value)> = Vec::new();
        for n in 0..chance.count(2) {
            objects.push((Kind::HTTPRoute, chance.route(&format!("route-{n}"))));
        }
        for n in 0..chance.count(2) {
            objects.push((Kind::VirtualService, chance.virtual_service(&format!("service-{n}"))));
        }
        // Older than all, so that it is known when Envoy has the rest.
        objects.push((
            Kind::VirtualService,
            json!({
                "metadata": {"namespace": "shop", "name": "marker", "creationTimestamp": "2025-01-01T00:00:00Z"},
                "spec": {"hosts": ["web"], "http": [{
                    "match": [{"uri": {"exact": format!("/marker-{seed}")}}],
                    "directResponse": {"status": 200},
                }]},
            }),
        ));
        let gone = applied.drain(..).map(Event::Remove).collect();
        waypoint.change(gone).await.unwrap();
        applied = objects
            .iter()
            .map(|(kind, of)| ObjectRef {
                kind: *kind,
                name: Name::new("shop", of["metadata"]["name"].as_str().unwrap()),
            })
            .collect();
        waypoint.apply(&objects).await.unwrap();
        for port in [80, 81] {
            let marker = Asked {
                method: "GET".to_owned(),
                path: format!("/marker-{seed}"),
                authority: "web".to_owned(),
                port,
                ..Asked::default()
            };
            let is_there = until(LIMIT, async || {
                let answer = ask(&mut connections, &marker).await;
                Ok((answer.status == 200 && answer.text.is_empty()).then_some(()))
            });
            is_there.await.unwrap();
        }
        let hosts = waypoint.mesh.hosts();
        let (_, host) = hosts.iter().find(|(of, _)| *of == key).expect("rules of the service");
        for _ in 0..REQUESTS {
            let asked = chance.request();
            let (rule, outcome) = host.outcome(&asked);
            let answer = ask(&mut connections, &asked).await;
            if !is_one_of(&answer, &outcome, &asked) {
                let Answer { status, headers, text, .. } = &answer;
                differences.push(format!(
                    "mesh {seed}: {asked:?}\nis to come to {outcome:?}\nby {rule:?}\nbut is answered with {status} {headers:?} {text}"
                ));
                break;
            }
            kinds[match outcome {
                Outcome::ToService => 0,
                Outcome::NotFound => 1,
                Outcome::Refused => 2,
                Outcome::Answered(_) => 3,
                Outcome::Redirected(..) => 4,
                Outcome::Forwarded(_) => 5,
            }] += 1;
        }
    }
    let first: Vec<_> = differences.iter().take(5).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} meshes differ:\n{}", differences.len(), first.join("\n\n"));
    // There was something of each.
    assert!(kinds[1..].iter().all(|count| *count > 100), "{kinds:?}");
}
