use super::*;

fn query(kind: &str, namespace: &str, name: &str) -> Query {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Query { name: some(name), kind: some(kind), namespace: some(namespace), ..Query::default() }
}

#[test]
fn objects_are_named_as_people_type_them() {
    let asked = |kind: &str, namespace: &str, name: &str| {
        let asked = query(kind, namespace, name).asked().ok()?.into_iter().next()?;
        Some((asked.kind, asked.namespace.unwrap_or_default(), asked.name))
    };
    let pod = || Some((Some(Kind::Pod), "shop".to_owned(), "web".to_owned()));
    assert_eq!(asked("", "", "pod/shop/web"), pod());
    assert_eq!(asked("Pod", "", "shop/web"), pod());
    assert_eq!(asked("pods", "shop", "web"), pod());
    assert_eq!(asked("", "shop", "po/web"), pod());
    assert_eq!(asked("", "", " pod/shop/web "), pod());
    assert_eq!(asked("", "", "shop/web"), Some((None, "shop".to_owned(), "web".to_owned())));
    assert_eq!(asked("svc", "", "web"), Some((Some(Kind::Service), String::new(), "web".to_owned())));
    assert_eq!(
        asked("", "", "namespace/shop"),
        Some((Some(Kind::Namespace), String::new(), "shop".to_owned()))
    );
    // A namespace may be called like a kind.
    let readings = query("", "", "pod/web").asked().unwrap_or_default();
    let readings: Vec<_> =
        readings.iter().map(|asked| (asked.kind, asked.namespace.as_deref(), asked.name.as_str())).collect();
    assert_eq!(readings, [(None, Some("pod"), "web"), (Some(Kind::Pod), None, "web")]);
    let uid = "Kubernetes//Pod/shop/web";
    assert_eq!(asked("", "", uid), Some((None, String::new(), uid.to_owned())));
}

#[test]
fn what_is_typed_wrongly_is_told_with_what_was_meant() {
    for (kind, name, told) in [
        ("", "", "name an object"),
        ("srvice", "shop/web", "did you mean Service?"),
        ("", "Podd/shop/web", "did you mean Pod?"),
        ("envoyfilter", "shop/web", "there is no kind \"envoyfilter\""),
        ("a\nb", "shop/web", "\"a\\nb\""),
    ] {
        let told_so = String::from(query(kind, "", name).asked().err().unwrap_or_default());
        assert!(told_so.contains(told), "{kind} {name}: {told_so}");
    }
}

#[test]
fn resources_are_told_by_the_objects_that_they_are_of() {
    let naming = Naming { domain: "cluster.local".to_owned() };
    let object = |kind, name: &str| Some(Object { kind, name: name.to_owned() });
    let workload = |name: &str| address_object(name, b"", &naming);
    assert_eq!(workload("c//Pod/shop/web"), object(Kind::Pod, "shop/web"));
    let slice = "c/discovery.k8s.io/EndpointSlice/shop/web-1/10.0.0.1";
    assert_eq!(workload(slice), object(Kind::EndpointSlice, "shop/web-1"));
    assert_eq!(workload("NetworkGateway/west/192.0.2.1/15008"), None);
    assert_eq!(workload("c/other.io/Pod/shop/web"), None);

    let service = |hostname: &str| {
        let service = proto::workload::Service {
            name: "web".to_owned(),
            namespace: "shop".to_owned(),
            hostname: hostname.to_owned(),
            ..Default::default()
        };
        let body = Address { r#type: Some(Type::Service(service)) }.encode_to_vec();
        address_object(&format!("shop/{hostname}"), &body, &naming)
    };
    assert_eq!(service("web.shop.svc.cluster.local"), object(Kind::Service, "shop/web"));
    assert_eq!(service("web.example.com"), object(Kind::ServiceEntry, "shop/web"));

    assert_eq!(policy_object("shop/p"), object(Kind::AuthorizationPolicy, "shop/p"));
    let converted = "shop/converted_peer_authentication_p";
    assert_eq!(policy_object(converted), object(Kind::PeerAuthentication, "shop/p"));
    assert_eq!(policy_object("istio-system/istio_converted_static_strict"), None);
}
