//! The example that the documentation shows, in the copy that is for tests: the other one is there to be edited.

use super::*;

/// Every manifest of `tests/bookinfo`, which is equal to `examples/bookinfo` when it is committed (`.ci/run`).
const BOOKINFO: &[(&str, &str)] = &[
    ("curl.yaml", include_str!("../../../../tests/bookinfo/curl.yaml")),
    ("details.yaml", include_str!("../../../../tests/bookinfo/details.yaml")),
    ("gateway.yaml", include_str!("../../../../tests/bookinfo/gateway.yaml")),
    ("namespaces.yaml", include_str!("../../../../tests/bookinfo/namespaces.yaml")),
    ("policies.yaml", include_str!("../../../../tests/bookinfo/policies.yaml")),
    ("productpage.yaml", include_str!("../../../../tests/bookinfo/productpage.yaml")),
    ("ratings.yaml", include_str!("../../../../tests/bookinfo/ratings.yaml")),
    ("reviews.yaml", include_str!("../../../../tests/bookinfo/reviews.yaml")),
    ("routes.yaml", include_str!("../../../../tests/bookinfo/routes.yaml")),
    ("waypoint.yaml", include_str!("../../../../tests/bookinfo/waypoint.yaml")),
];

#[test]
fn bookinfo_is_read_without_a_complaint() {
    let resolved = folder(BOOKINFO).resolve();
    assert!(resolved.problems.is_empty(), "{:?}", resolved.problems);
    let pods = all(&resolved, "Pod");
    assert_eq!(pods.len(), 8);
    for pod in pods {
        let redirected = pod.value.pointer("/metadata/annotations/ambient.istio.io~1redirection").is_some();
        assert_eq!(redirected, pod.key.namespace == "bookinfo", "{}", pod.key);
    }
    assert_eq!(all(&resolved, "EndpointSlice").len(), 7);
    let reviews = all(&resolved, "EndpointSlice")
        .into_iter()
        .find(|slice| slice.value["metadata"]["labels"]["kubernetes.io/service-name"] == "reviews")
        .unwrap();
    assert_eq!(reviews.value["endpoints"].as_array().unwrap().len(), 3);
}
