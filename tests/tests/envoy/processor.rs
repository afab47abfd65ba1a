//! Requests and answers that a service sees and changes, at a real Envoy that is what a waypoint is configured to be.

use super::telemetry::get;
use super::traffic::{Answer, Waypoint, echo, greeter, objects, service};
use futures::StreamExt;
use futures::channel::mpsc;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::{Kind, Name, ObjectRef};
use prost::{Message, Oneof};
use proto::envoy::r#type::v3::HttpStatus;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

const WEB: &str = "10.96.0.1:80";
const OTHER: &str = "10.96.0.2:80";

/// A service that changes what it is shown, and what that was: the kind of each message, in order.
#[derive(Clone, Default)]
struct Words(Arc<Mutex<Vec<&'static str>>>);

impl Words {
    fn shown(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves, and returns the port.
    async fn serve(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, own) = (listener.local_addr().unwrap().port(), self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                let answer = service_fn(move |request: Request<Incoming>| {
                    let own = own.clone();
                    async move { Ok::<_, Infallible>(own.process(request)) }
                });
                let connection = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), answer));
            }
        });
        port
    }

    fn process(
        &self,
        request: Request<Incoming>,
    ) -> Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<>> {
        assert_eq!(request.uri().path(), "/envoy.service.ext_proc.v3.ExternalProcessor/Process");
        let (out, messages) = mpsc::unbounded();
        let (own, mut body) = (self.clone(), request.into_body());
        tokio::spawn(async move {
            let mut read = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                read.extend(frame.into_data().unwrap_or_default());
                while let Some(message) = next(&mut read) {
                    let answer = own.answer(ProcessingRequest::decode(&*message).unwrap());
                    let message = ProcessingResponse { response: Some(answer) }.encode_to_vec();
                    let mut framed = vec![0];
                    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
                    framed.extend(message);
                    let _ = out.unbounded_send(Ok(Frame::data(Bytes::from(framed))));
                }
            }
        });
        let body = StreamBody::new(messages.boxed());
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    }

    fn answer(&self, request: ProcessingRequest) -> Given {
        let note = |what| self.0.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        let changed = |common| Some(Changed { response: Some(common) });
        match request.request.unwrap() {
            Shown::RequestHeaders(of) => {
                note("request headers");
                let headers = of.headers.unwrap().headers;
                if headers.iter().any(|of| of.key == "x-refuse") {
                    let status = Some(HttpStatus { code: 451 });
                    return Given::Immediate(Immediate { status, body: b"said the processor".to_vec() });
                }
                let scope = "inbound-vip|80|http|other.shop.svc.cluster.local";
                let headers = [("x-by", "processor"), ("x-pilothouse-scope", scope)];
                Given::RequestHeaders(changed(common(&headers, None)).unwrap())
            }
            Shown::ResponseHeaders(_) => {
                note("response headers");
                Given::ResponseHeaders(changed(common(&[("x-words", "seen")], None)).unwrap())
            }
            Shown::RequestBody(of) => {
                note("request body");
                Given::RequestBody(changed(common(&[], Some(of.body.to_ascii_uppercase()))).unwrap())
            }
            Shown::ResponseBody(of) => {
                note("response body");
                let text = String::from_utf8(of.body).unwrap().replace("first", "changed");
                Given::ResponseBody(changed(common(&[], Some(text.into_bytes()))).unwrap())
            }
        }
    }
}

/// Takes the first message from what was read.
fn next(read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(read.get(1..5)?.try_into().ok()?) as usize;
    let message = read.get(5..5 + length)?.to_vec();
    read.drain(..5 + length);
    Some(message)
}

fn common(headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Common {
    let header = |(key, value): &(&str, &str)| HeaderOption {
        header: Some(Header { key: (*key).to_owned(), raw: value.as_bytes().to_vec() }),
    };
    let headers = Headers { set: headers.iter().map(header).collect() };
    Common { headers: Some(headers), body: body.map(|body| Body { body }) }
}

// What of Envoy's protocol is needed to answer.
#[derive(Clone, PartialEq, Message)]
struct ProcessingRequest {
    #[prost(oneof = "Shown", tags = "2, 3, 4, 5")]
    request: Option<Shown>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Shown {
    #[prost(message, tag = "2")]
    RequestHeaders(ShownHeaders),
    #[prost(message, tag = "3")]
    ResponseHeaders(ShownHeaders),
    #[prost(message, tag = "4")]
    RequestBody(Body),
    #[prost(message, tag = "5")]
    ResponseBody(Body),
}

#[derive(Clone, PartialEq, Message)]
struct ShownHeaders {
    #[prost(message, optional, tag = "1")]
    headers: Option<HeaderMap>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderMap {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "3")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(bytes = "vec", tag = "1")]
    body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ProcessingResponse {
    #[prost(oneof = "Given", tags = "1, 2, 3, 4, 7")]
    response: Option<Given>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Given {
    #[prost(message, tag = "1")]
    RequestHeaders(Changed),
    #[prost(message, tag = "2")]
    ResponseHeaders(Changed),
    #[prost(message, tag = "3")]
    RequestBody(Changed),
    #[prost(message, tag = "4")]
    ResponseBody(Changed),
    #[prost(message, tag = "7")]
    Immediate(Immediate),
}

#[derive(Clone, PartialEq, Message)]
struct Changed {
    #[prost(message, optional, tag = "1")]
    response: Option<Common>,
}

#[derive(Clone, PartialEq, Message)]
struct Common {
    #[prost(message, optional, tag = "2")]
    headers: Option<Headers>,
    #[prost(message, optional, tag = "3")]
    body: Option<Body>,
}

#[derive(Clone, PartialEq, Message)]
struct Headers {
    #[prost(message, repeated, tag = "1")]
    set: Vec<HeaderOption>,
}

#[derive(Clone, PartialEq, Message)]
struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, Message)]
struct Immediate {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(bytes = "vec", tag = "3")]
    body: Vec<u8>,
}

/// A waypoint of `web`, with services that process, that accept and do not answer, and that speak no gRPC.
async fn waypoint(words: &Words) -> (Waypoint, TcpListener) {
    let (first, second, stream) =
        (echo("first").await.unwrap(), echo("second").await.unwrap(), greeter().await.unwrap());
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap().port();
    let more = service("words", "10.96.0.7", "9000", "grpc", words.serve().await)
        + &service("silent", "10.96.0.8", "9000", "grpc", at)
        + &service("plain", "10.96.0.9", "9000", "http", first);
    let waypoint = Waypoint::of(&(objects(first, second, stream) + &more)).await.unwrap();
    (waypoint, silent)
}

fn extension(processor: Value) -> (Kind, Value) {
    let refs = json!([{"group": "", "kind": "Service", "name": "web"}]);
    let spec = json!({"targetRefs": refs, "extProc": processor});
    (
        Kind::TrafficExtension,
        json!({"metadata": {"namespace": "shop", "name": "words", "generation": 1}, "spec": spec}),
    )
}

async fn ask(waypoint: &Waypoint, to: &str, headers: &[(&str, &str)]) -> Answer {
    waypoint.http(to).await.unwrap().send(get("/", headers)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_sees_and_changes_what_it_is_shown() {
    let words = Words::default();
    let (mut waypoint, _silent) = waypoint(&words).await;
    let service = "words.shop.svc.cluster.local";
    waypoint.apply(&[extension(json!({"service": service, "port": 9000, "timeout": "20s"}))]).await.unwrap();
    let answer = ask(&waypoint, WEB, &[]).await;
    assert_eq!(words.shown(), ["request headers", "response headers"]);
    assert_eq!(answer.body["by"], "first", "it does not choose the service");
    assert_eq!(answer.body["headers"]["x-by"], "processor");
    assert_eq!(answer.headers["x-words"], "seen");
    let refused = ask(&waypoint, WEB, &[("x-refuse", "1")]).await;
    assert_eq!((refused.status.as_u16(), refused.text.as_str()), (451, "said the processor"));
    words.shown();
    assert_eq!(ask(&waypoint, OTHER, &[("x-refuse", "1")]).await.status, StatusCode::OK);
    assert_eq!(words.shown(), Vec::<&str>::new());

    let bodies = json!({"service": format!("shop/{service}"), "port": 9000, "timeout": "20s", "requestHeaders": "SKIP",
        "responseHeaders": "SKIP", "responseBody": "BUFFERED"});
    waypoint.apply(&[extension(bodies)]).await.unwrap();
    let answer = ask(&waypoint, WEB, &[]).await;
    assert_eq!(words.shown(), ["response body"]);
    assert_eq!(answer.body["by"], "changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_answer_requests_fail_as_they_are_to() {
    let words = Words::default();
    let (mut waypoint, _silent) = waypoint(&words).await;
    let cannot_run = "TrafficExtension/shop/words cannot run";
    for (service, port, why) in [
        ("silent.shop.svc.cluster.local", 9000, None),
        (
            "missing.shop.svc.cluster.local",
            9000,
            Some("there is no service \"missing.shop.svc.cluster.local\""),
        ),
        ("words.shop.svc.cluster.local", 9001, Some("has no port 9001")),
        ("plain.shop.svc.cluster.local", 9000, Some("is none of gRPC")),
    ] {
        for (strategy, is_ok) in [("FAIL_CLOSE", false), ("FAIL_OPEN", true)] {
            let processor =
                json!({"service": service, "port": port, "timeout": "50ms", "failStrategy": strategy});
            waypoint.apply(&[extension(processor)]).await.unwrap();
            let answer = ask(&waypoint, WEB, &[]).await;
            assert_eq!(answer.status.is_success(), is_ok, "{service} {strategy}: {}", answer.status);
            assert!(is_ok || why.is_none() || answer.text == cannot_run, "{service}: {}", answer.text);
            assert_eq!(ask(&waypoint, OTHER, &[]).await.status, StatusCode::OK);
            let of = ObjectRef { kind: Kind::TrafficExtension, name: Name::new("shop", "words") };
            let found = waypoint.mesh.conditions_of(&of).unwrap();
            let found = found.conditions.iter().find(|of| of.kind == "WaypointAccepted").unwrap();
            assert_eq!(found.status, why.is_none(), "{service}: {}", found.message);
            assert!(why.is_none_or(|why| found.message.contains(why)), "{service}: {}", found.message);
        }
    }
}
