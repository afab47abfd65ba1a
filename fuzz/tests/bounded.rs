//! Targets of fuzzing in a bounded number of runs, with inputs that resemble what clients say.

use pilothouse_fuzz::allocations::{Counting, live};
use pilothouse_fuzz::{connection, delta_requests};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use proto::discovery::{DeltaDiscoveryRequest, Node};

#[global_allocator]
static COUNTING: Counting = Counting;

fn request() -> impl Strategy<Value = DeltaDiscoveryRequest> {
    const URLS: &[&str] =
        &[proto::type_url::ADDRESS, proto::type_url::AUTHORIZATION, proto::type_url::WORKLOAD, ""];
    let names = |many| vec("[abx*/]{0,6}|[0-9]{4}", 0..many);
    let held = vec(("[abx/]{0,4}", "[0-9]{0,2}"), 0..50);
    (proptest::sample::select(URLS), names(300), names(20), held, any::<bool>(), "[0-9]-[0-9]").prop_map(
        |(url, subscribe, unsubscribe, held, refuses, nonce)| DeltaDiscoveryRequest {
            node: Some(Node { id: "ztunnel~10.0.0.1~z.istio-system~d".to_owned(), ..Node::default() }),
            type_url: url.to_owned(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: held.into_iter().collect(),
            response_nonce: nonce,
            error_detail: refuses.then(|| proto::rpc::Status { code: 0, message: "no a/x".to_owned() }),
        },
    )
}

/// Messages after their lengths, of which some are cut or changed.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let message = (request(), any::<(bool, u16, u8)>()).prop_map(|(request, (breaks, at, byte))| {
        let mut message = request.encode_to_vec();
        if breaks && !message.is_empty() {
            let at = usize::from(at) % message.len();
            message[at] = byte;
        }
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        [&length.to_le_bytes()[..], &message].concat()
    });
    vec(message, 1..8).prop_map(|all| all.concat())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `POST` of gRPC with this path, by HPACK without indexing.
fn post(path: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    let path = text(path);
    let of_grpc = [text("content-type"), text("application/grpc")].concat();
    [&b"\x83\x86\x04"[..], &path, b"\x01", &text("localhost"), b"\x00", &of_grpc].concat()
}

/// `GET /`.
const GET: &[u8] = b"\x82\x86\x84\x01\x09localhost";

fn frames() -> impl Strategy<Value = Vec<u8>> {
    let stream = (0..40u32).prop_map(|n| n * 2 + 1);
    let any_frame = (0..12u8, any::<u8>(), 0..80u32, vec(any::<u8>(), 0..40))
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    let unknown = stream.clone().prop_map(|stream| frame(1, 5, stream, &post("/a.Service/Method")));
    let get = stream.clone().prop_map(|stream| frame(1, 5, stream, GET));
    let of_stream = (stream, request(), any::<bool>()).prop_map(|(stream, request, ends)| {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap_or_default().to_be_bytes();
        let body = [&[0][..], &length, &message].concat();
        let head = frame(1, 4, stream, &post(proto::rpc_path::DELTA_AGGREGATED_RESOURCES));
        [head, frame(0, u8::from(ends), stream, &body)].concat()
    });
    let one = prop_oneof![2 => any_frame, 3 => unknown, 3 => get, 2 => of_stream];
    vec(one, 0..60).prop_map(|all| [connection::HELLO.to_vec(), all.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_of_a_stream_take_what_is_charged(input in requests()) {
        delta_requests::run(&input);
    }

    #[test]
    fn a_connection_ends_and_takes_bounded_memory(input in frames()) {
        connection::run(&input);
    }
}

#[test]
fn each_call_that_is_not_served_is_counted_until_the_connection_ends() {
    let calls = |count: u32| {
        let all = (0..count).map(|n| match n % 2 {
            0 => frame(1, 5, n * 2 + 1, GET),
            _ => frame(1, 5, n * 2 + 1, &post("/a.Service/Method")),
        });
        [connection::HELLO.to_vec(), all.flatten().collect()].concat()
    };
    assert_eq!(connection::calls(&calls(5)), (5, 0));
    let (refused, _) = connection::calls(&calls(60));
    assert!((8..=60).contains(&refused), "{refused}");
    connection::run(&calls(5_000));
}

#[test]
fn what_is_allocated_is_counted() {
    let before = live();
    let held = vec![1u8; 1 << 20];
    assert_eq!(live() - before, 1 << 20);
    drop(held);
    assert_eq!(live(), before);
}
