//! The example that the documentation shows.

use super::*;

/// Every manifest of `examples/bookinfo`.
const BOOKINFO: &[(&str, &str)] = &[
    ("curl.yaml", include_str!("../../../../examples/bookinfo/curl.yaml")),
    ("details.yaml", include_str!("../../../../examples/bookinfo/details.yaml")),
    ("gateway.yaml", include_str!("../../../../examples/bookinfo/gateway.yaml")),
    ("namespaces.yaml", include_str!("../../../../examples/bookinfo/namespaces.yaml")),
    ("policies.yaml", include_str!("../../../../examples/bookinfo/policies.yaml")),
    ("productpage.yaml", include_str!("../../../../examples/bookinfo/productpage.yaml")),
    ("ratings.yaml", include_str!("../../../../examples/bookinfo/ratings.yaml")),
    ("reviews.yaml", include_str!("../../../../examples/bookinfo/reviews.yaml")),
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
    assert_eq!(all(&resolved, "EndpointSlice").len(), 4);
    let reviews = all(&resolved, "EndpointSlice")
        .into_iter()
        .find(|slice| slice.key.name.starts_with("reviews-"))
        .unwrap();
    assert_eq!(reviews.value["endpoints"].as_array().unwrap().len(), 3);
}
