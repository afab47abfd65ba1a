//! Regular expressions at a real Envoy: what is taken from authors, it takes.

use super::traffic::{Waypoint, echo, objects};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use model::{Kind, Name, ObjectRef};
use serde_json::{Value, json};

const PATTERNS: [&str; 60] = [
    "",
    "a",
    "a.*",
    "/v[0-9]+/.*",
    "(?i:a|b)+?",
    "^a$",
    "\\d+\\.\\w",
    "[[:alpha:]-]",
    "[[:^alpha:]]",
    "\\x{e4}",
    "\\xe4",
    "a{3,7}",
    "a{2,}",
    "a{1000}",
    "(?P<n>a)",
    "(?<n>a)",
    "ä+",
    "\\/a\\-b",
    "[^\\]]",
    "[]a]",
    "\\pL+",
    "\\PN",
    "(?s).*",
    "(?m)^a$",
    "(?U)a+",
    "(?-s:.)",
    "\\Aa\\z",
    "\\ba\\B",
    "a|",
    "|a",
    "()",
    "(?:)",
    "[a-z&&[aeiou]]",
    "[a--b]",
    "\\%41",
    "\\_",
    "\\é",
    "(",
    "a)",
    "[",
    "*",
    "a**",
    "a+*",
    "a{3}{4}",
    "(?x) a",
    "\\u00e4",
    "\\b{start}",
    "a{1001}",
    "(a{100}){11}",
    "\\C",
    "(?=a)",
    "(a)\\1",
    "\\p{Greek}",
    "[\\d]{999}c{999}",
    "(\\pL{40}){25}",
    "[a-z]{1000}",
    "\\Qa.b\\E",
    "a{,3}",
    "{",
    "\\07",
];

fn route(n: usize, pattern: &str) -> (Kind, Value) {
    let rules = json!([
        {"matches": [{"path": {"type": "RegularExpression", "value": format!("/{n}/{pattern}")}}],
         "backendRefs": [{"name": "web", "port": 80}]},
        {"matches": [{"headers": [{"name": "x-a", "type": "RegularExpression", "value": pattern}]}],
         "backendRefs": [{"name": "web", "port": 80}]},
    ]);
    let parent = json!({"group": "", "kind": "Service", "name": "web"});
    let spec = json!({"parentRefs": [parent], "rules": rules});
    (
        Kind::HTTPRoute,
        json!({"metadata": {"namespace": "shop", "name": format!("r{n}"), "generation": 1}, "spec": spec}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_every_expression_that_is_taken_from_authors() {
    let backend = echo("web").await.unwrap();
    let mut waypoint = Waypoint::of(&objects(backend, backend, backend)).await.unwrap();
    let mut refused = 0;
    for (n, pattern) in PATTERNS.into_iter().enumerate() {
        // Awaits that Envoy has it, and tells what it says against it.
        let taken = waypoint.apply(&[route(n, pattern)]).await;
        assert!(taken.is_ok(), "{pattern:?}: {taken:?}");
        let of = ObjectRef { kind: Kind::HTTPRoute, name: Name::new("shop", &format!("r{n}")) };
        let conditions = format!("{:?}", waypoint.mesh.conditions_of(&of));
        refused +=
            usize::from(["regular expression", "too large"].iter().any(|why| conditions.contains(why)));
    }
    assert!((10..40).contains(&refused), "{refused} are refused");
    // What is refused takes nothing with it.
    let mut web = waypoint.http("10.96.0.1:80").await.unwrap();
    let request: Request<Empty<Bytes>> =
        Request::get("/1/a").header("host", "web").body(Empty::new()).unwrap();
    assert_eq!(web.send(request).await.unwrap().status, 200);
}
