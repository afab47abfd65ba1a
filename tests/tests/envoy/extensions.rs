//! What a real Envoy runs besides: scripts, and modules of WebAssembly that it fetches.

use super::proxy::LIMIT;
use super::telemetry::get;
use super::traffic::{Answer, Waypoint, echo, greeter, objects};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use model::{Event, Kind, Name, ObjectRef};
use pilothouse_tests::apiserver::until;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::process::{Command, Stdio};
use tokio::net::TcpListener;

const WEB: &str = "10.96.0.1:80";
const OTHER: &str = "10.96.0.2:80";

async fn waypoint() -> Waypoint {
    let (first, second, stream) =
        (echo("first").await.unwrap(), echo("second").await.unwrap(), greeter().await.unwrap());
    Waypoint::of(&objects(first, second, stream)).await.unwrap()
}

fn of_service(name: &str) -> Value {
    json!([{"group": "", "kind": "Service", "name": name}])
}

fn extension(name: &str, spec: Value) -> (Kind, Value) {
    (
        Kind::TrafficExtension,
        json!({"metadata": {"namespace": "shop", "name": name, "generation": 1}, "spec": spec}),
    )
}

async fn ask(waypoint: &Waypoint, to: &str, path: &str) -> Answer {
    waypoint.http(to).await.unwrap().send(get(path, &[])).await.unwrap()
}

fn gone(name: &str) -> Event {
    Event::Remove(ObjectRef { kind: Kind::TrafficExtension, name: Name::new("shop", name) })
}

/// Adds a text to a header of requests.
fn adds(text: &str) -> Value {
    let script = format!(
        "function envoy_on_request(handle)\n\
         local headers = handle:headers()\n\
         headers:replace(\"x-order\", (headers:get(\"x-order\") or \"\") .. \"{text}\")\n\
         end\n"
    );
    json!({"inlineCode": script})
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_for_what_they_are_for_in_order_of_phase_and_priority() {
    let mut waypoint = waypoint().await;
    let of = |name: &str, spec: Value, text: &str| {
        let mut spec = spec;
        spec["lua"] = adds(text);
        extension(name, spec)
    };
    waypoint
        .apply(&[
            of("last", json!({"targetRefs": of_service("web")}), "d"),
            of("stats", json!({"targetRefs": of_service("web"), "phase": "STATS", "priority": 1}), "c"),
            of("first", json!({"targetRefs": of_service("web"), "phase": "AUTHN", "priority": 2}), "a"),
            of("second", json!({"targetRefs": of_service("web"), "phase": "AUTHN", "priority": 1}), "b"),
            of("client", json!({"targetRefs": of_service("web"), "match": [{"mode": "CLIENT"}]}), "x"),
            of("port", json!({"targetRefs": of_service("web"), "match": [{"ports": [{"number": 81}]}]}), "y"),
        ])
        .await
        .unwrap();
    assert_eq!(ask(&waypoint, WEB, "/").await.body["headers"]["x-order"], "abcd");
    assert_eq!(ask(&waypoint, OTHER, "/").await.body["headers"].get("x-order"), None);
    // For all of the gateway, but by a port.
    let all = json!({"match": [{"mode": "SERVER", "ports": [{"number": 80}]}]});
    waypoint.apply(&[of("all", all, "z")]).await.unwrap();
    assert_eq!(ask(&waypoint, OTHER, "/").await.body["headers"]["x-order"], "z");
    assert_eq!(ask(&waypoint, "10.96.0.4:8000", "/").await.body["headers"].get("x-order"), None);
    waypoint.change(["all", "last", "stats", "first", "second"].map(gone).to_vec()).await.unwrap();
    assert_eq!(ask(&waypoint, WEB, "/").await.body["headers"].get("x-order"), None);

    // Before access is decided: what it answers, nobody else does.
    let answer = "function envoy_on_request(handle) handle:respond({[\":status\"] = \"202\"}, \"mine\") end";
    let deny = json!({"targetRefs": of_service("web"), "action": "DENY", "rules": [{}]});
    let deny = json!({"metadata": {"namespace": "shop", "name": "deny"}, "spec": deny});
    waypoint.apply(&[(Kind::AuthorizationPolicy, deny)]).await.unwrap();
    for (phase, status) in [("AUTHZ", 202), ("STATS", 403)] {
        let spec = json!({"targetRefs": of_service("web"), "phase": phase, "lua": {"inlineCode": answer}});
        waypoint.apply(&[extension("answer", spec)]).await.unwrap();
        assert_eq!(ask(&waypoint, WEB, "/").await.status.as_u16(), status, "{phase}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_is_none_costs_nobody_else_anything() {
    let mut waypoint = waypoint().await;
    for script in ["function (", "error('not today')", "]] x ]=] y", "return os.exit("] {
        let spec = json!({"targetRefs": of_service("web"), "lua": {"inlineCode": script}});
        waypoint.apply(&[extension("broken", spec)]).await.unwrap();
        let answer = ask(&waypoint, WEB, "/").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (503, "TrafficExtension/shop/broken cannot run"),
            "{script}"
        );
        assert_eq!(ask(&waypoint, OTHER, "/").await.status, StatusCode::OK);
    }
}

/// A module that adds `x-wasm: ran` to requests.
fn module() -> Vec<u8> {
    let text = |of: &str| [vec![u8::try_from(of.len()).unwrap()], of.as_bytes().to_vec()].concat();
    let section = |id: u8, items: &[Vec<u8>]| {
        let body = [vec![u8::try_from(items.len()).unwrap()], items.concat()].concat();
        [vec![id, u8::try_from(body.len()).unwrap()], body].concat()
    };
    let function = |parameters: usize, has_result: bool| {
        let mut of = vec![0x60, u8::try_from(parameters).unwrap()];
        of.extend(std::iter::repeat_n(0x7f, parameters));
        of.extend(if has_result { vec![1, 0x7f] } else { vec![0] });
        of
    };
    let types = [function(0, false), function(1, true), function(3, true), function(5, true)];
    let import = [text("env"), text("proxy_add_header_map_value"), vec![0, 3]].concat();
    let export = |name: &str, kind: u8, index: u8| [text(name), vec![kind, index]].concat();
    let exports = [
        export("memory", 2, 0),
        export("proxy_abi_version_0_2_1", 0, 1),
        export("proxy_on_memory_allocate", 0, 2),
        export("proxy_on_request_headers", 0, 3),
    ];
    let code = |body: &[u8]| {
        let body = [&[0], body, &[0x0b]].concat();
        [vec![u8::try_from(body.len()).unwrap()], body].concat()
    };
    // Of request headers: the name at 0, six bytes, the value at 16, three bytes. Then go on.
    let adds = [0x41, 0, 0x41, 0, 0x41, 6, 0x41, 16, 0x41, 3, 0x10, 0, 0x1a, 0x41, 0];
    let codes = [code(&[]), code(&[0x41, 0x80, 0x08]), code(&adds)];
    let data = |at: u8, of: &str| [vec![0, 0x41, at, 0x0b], text(of)].concat();
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &types),
        section(2, &[import]),
        section(3, &[vec![0], vec![1], vec![2]]),
        section(5, &[vec![0, 1]]),
        section(7, &exports),
        section(10, &codes),
        section(11, &[data(0, "x-wasm"), data(16, "ran")]),
    ]
    .concat()
}

fn digest(of: &[u8]) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-r"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = openssl.spawn().unwrap();
    running.stdin.take().unwrap().write_all(of).unwrap();
    let output = running.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// An address of this machine that is not its own alone.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent.
    socket.connect("192.0.2.1:9").unwrap();
    socket.local_addr().unwrap().ip()
}

/// Serves a module at `/module`, and returns the port.
async fn serve(module: Vec<u8>) -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let module = Bytes::from(module.clone());
            let answer = service_fn(move |request: Request<Incoming>| {
                let module = module.clone();
                async move {
                    let is_it = request.uri().path() == "/module";
                    let status = if is_it { StatusCode::OK } else { StatusCode::NOT_FOUND };
                    let body = Full::new(if is_it { module } else { Bytes::new() });
                    Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_fetched_and_fail_as_they_are_to() {
    let mut waypoint = waypoint().await;
    let module = module();
    let (sha256, port) = (digest(&module), serve(module).await);
    let url = format!("http://{}:{port}/module", own_address());
    let wasm = json!({"url": url, "sha256": sha256, "pluginConfig": {"a": 1},
        "vmConfig": {"env": [{"name": "A", "value": "b"}]}});
    let spec = json!({"targetRefs": of_service("web"), "wasm": wasm});
    waypoint.apply(&[extension("module", spec)]).await.unwrap();
    let ran = until(LIMIT, async || {
        let answer = ask(&waypoint, WEB, "/").await;
        Ok((answer.body["headers"]["x-wasm"] == "ran").then_some(()))
    });
    if let Err(error) = ran.await {
        let answer = ask(&waypoint, WEB, "/").await;
        panic!("{error}: {} {} {}", answer.status, answer.text, waypoint.log());
    }
    assert_eq!(ask(&waypoint, OTHER, "/").await.body["headers"].get("x-wasm"), None);

    // What is not there, is something else, or cannot be fetched at all: requests are refused, or pass.
    let other = format!("http://{}:{port}/other", own_address());
    // Envoy keeps what it has fetched, by its digest.
    let (wrong, unknown) = ("0".repeat(64), "1".repeat(64));
    for (name, url, sha256) in [
        ("gone", other.as_str(), unknown.as_str()),
        ("another", &url, &wrong),
        ("image", "oci://example.org/a:1", &sha256),
        ("here", "http://127.0.0.1/module", &sha256),
    ] {
        for (strategy, expected) in [("FAIL_CLOSE", false), ("FAIL_OPEN", true)] {
            let spec = json!({"targetRefs": of_service("web"), "url": url, "sha256": sha256, "failStrategy": strategy});
            let plugin = json!({"metadata": {"namespace": "shop", "name": name}, "spec": spec});
            waypoint.change(vec![gone("module")]).await.unwrap();
            waypoint.apply(&[(Kind::WasmPlugin, plugin)]).await.unwrap();
            let as_expected = until(LIMIT, async || {
                // Until Envoy knows that it cannot be fetched, the listener is not there: the CONNECT is refused.
                let status = match waypoint.http(WEB).await {
                    Ok(mut http) => http.send(get("/", &[])).await?.status,
                    Err(_) => StatusCode::SERVICE_UNAVAILABLE,
                };
                Ok((status.is_success() == expected).then_some(status))
            });
            let status = as_expected.await.unwrap_or_else(|error| panic!("{name} {strategy}: {error}"));
            assert!(expected || status.is_server_error(), "{name} {strategy}: {status}");
            assert_eq!(ask(&waypoint, OTHER, "/").await.status, StatusCode::OK);
        }
        let gone = ObjectRef { kind: Kind::WasmPlugin, name: Name::new("shop", name) };
        waypoint.change(vec![Event::Remove(gone)]).await.unwrap();
    }
}

#[test]
fn what_does_not_run_is_told() {
    let options = mesh::Options { configures_waypoints: true, gateway_api: true, ..mesh::Options::default() };
    let mut mesh = plane::Plane::new(&options);
    let labels = json!({"istio.io/use-waypoint": "waypoint", "istio.io/use-waypoint-namespace": "infra"});
    let put =
        |kind: Kind, object: Value| Event::Put(model::parse(kind, object.to_string().as_bytes()).unwrap());
    let gateway = json!({"metadata": {"namespace": "infra", "name": "waypoint"},
        "spec": {"gatewayClassName": "istio-waypoint",
            "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE", "allowedRoutes": {"namespaces": {"from": "All"}}}]},
        "status": {"addresses": [{"type": "IPAddress", "value": "10.1.0.9"}]}});
    let class = json!({"metadata": {"name": "istio-waypoint"}, "spec": {"controllerName": "istio.io/mesh-controller"}});
    let service = json!({"metadata": {"namespace": "shop", "name": "web", "labels": labels},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80}]}});
    let lua = json!({"inlineCode": "-- nothing"});
    let objects = [
        put(Kind::GatewayClass, class),
        put(Kind::Gateway, gateway),
        put(Kind::Namespace, json!({"metadata": {"name": "shop"}})),
        put(Kind::Service, service),
    ];
    let of = |name: &str, spec: Value| {
        let (kind, object) = extension(name, spec);
        put(kind, object)
    };
    let extensions = [
        of("foreign", json!({"targetRefs": of_service("web"), "lua": lua})),
        of("selected", json!({"selector": {"matchLabels": {"app": "a"}}, "lua": lua})),
        of("image", json!({"wasm": {"url": "example.org/a:1"}})),
    ];
    let begin = Kind::ALL.iter().map(|kind| Event::Begin(*kind));
    let synced = Kind::ALL.iter().map(|kind| Event::Synced(*kind));
    mesh.apply(begin.chain(objects).chain(extensions).chain(synced));
    let told: Vec<String> = mesh
        .diagnostics()
        .iter()
        .filter(|of| of.code.starts_with("EX"))
        .map(|of| format!("{} {} {}", of.code, of.object.as_ref().unwrap().name.name, of.message))
        .collect();
    for expected in [
        "EX103 foreign waypoint infra/waypoint is of another",
        "EX102 selected",
        "EX101 image Envoy fetches no OCI",
    ] {
        assert!(told.iter().any(|of| of.starts_with(expected)), "{expected}: {told:#?}");
    }
    // Whoever runs the waypoint has nothing of it.
    let sent = mesh.resources().into_iter().filter(|of| of.name.contains("foreign"));
    assert_eq!(sent.map(|of| of.name).collect::<Vec<_>>(), Vec::<String>::new());
}
