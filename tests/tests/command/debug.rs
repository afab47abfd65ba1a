//! The debug pages that Kiali, istioctl and its bug reports ask for, read as those read them.

use super::{Server, ask, bookinfo, get, text};
use anyhow::{Context, ensure};
use pilothouse_tests::apiserver::LIMIT;
use pilothouse_tests::client::{Client, Node, Options, Reconnect, State};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What istioctl and Kiali read of an entry of `/debug/syncz`; a field of another name would be lost on them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SyncStatus {
    cluster_id: String,
    proxy: String,
    proxy_type: String,
    istio_version: String,
    resources: BTreeMap<String, ResourceStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ResourceStatus {
    #[serde(default)]
    sent: String,
    #[serde(default)]
    acked: String,
    sent_time: String,
    #[serde(default)]
    last_error: String,
}

/// What Kiali reads of a service of `/debug/registryz`.
#[derive(Debug, Deserialize)]
struct RegistryService {
    #[serde(rename = "Attributes")]
    attributes: Attributes,
    ports: Vec<Port>,
    #[serde(rename = "creationTime")]
    creation_time: String,
    hostname: String,
    #[serde(rename = "clusterVIPs")]
    cluster_vips: ClusterVips,
    #[serde(rename = "defaultAddress")]
    default_address: String,
    #[serde(rename = "Resolution")]
    resolution: i64,
    #[serde(rename = "MeshExternal")]
    mesh_external: bool,
    #[serde(rename = "ResourceVersion")]
    _resource_version: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attributes {
    service_registry: String,
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    export_to: BTreeMap<String, Value>,
    label_selectors: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Port {
    #[serde(default)]
    name: String,
    port: u16,
    protocol: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ClusterVips {
    addresses: BTreeMap<String, Vec<String>>,
}

async fn json<T: serde::de::DeserializeOwned>(server: &Server, path: &str) -> anyhow::Result<T> {
    let (status, body) = get(&server.monitoring, path).await?;
    ensure!(status == 200, "{path}: {status} {body}");
    serde_json::from_str(&body).with_context(|| format!("{path}: {body}"))
}

/// A ztunnel that says what one of a node says.
async fn ztunnel(server: &Server, node: &str) -> anyhow::Result<Client> {
    let metadata = [("CLUSTER_ID", "Kubernetes"), ("ISTIO_VERSION", "1.30.0")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let node = Node { metadata, ..Node::ztunnel(node) };
    let options = Options { node, reconnect: Reconnect::Manual, limit: LIMIT, ..Options::to(&server.xds) };
    let client = Client::connect(options).await?;
    client.until("both types", State::is_ready).await?;
    Ok(client)
}

#[tokio::test]
async fn index_list_and_answers_are_of_one_table() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let names: Vec<String> = json(&server, "/debug/list").await?;
    let sorted: BTreeSet<&String> = names.iter().collect();
    assert_eq!(names.iter().collect::<Vec<_>>(), sorted.into_iter().collect::<Vec<_>>());
    assert!(!names.iter().any(|name| name == "list" || name.contains("pprof")), "{names:?}");
    let (_, index) = get(&server.monitoring, "/debug").await?;
    // Of which proxy, waypoint or object is not said.
    let asks = ["config_dump", "ecdsz", "edsz", "envoyz", "ndsz", "whyz"];
    for name in &names {
        assert!(index.contains(&format!("/debug/{name}")), "{name}: {index}");
        let (status, body) = get(&server.monitoring, &format!("/debug/{name}")).await?;
        assert_eq!(status, if asks.contains(&name.as_str()) { 400 } else { 200 }, "{name}: {body}");
    }
    for name in ["config_dump", "ecdsz", "edsz", "ndsz"] {
        let (_, body) = get(&server.monitoring, &format!("/debug/{name}?pretty&proxyID=")).await?;
        assert_eq!(body, "You must provide a proxyID in the query string\n", "{name}");
        let (status, body) = get(&server.monitoring, &format!("/debug/{name}?proxyID=nobody")).await?;
        assert_eq!(status, 404, "{name}");
        let expected =
            "Proxy not connected to this Pilot instance. It may be connected to another instance.\n";
        assert_eq!(body, expected, "{name}");
    }
    let (status, body) = get(&server.monitoring, "/debug/nosuch").await?;
    assert!(status == 404 && body.starts_with("404 page not found"), "{body}");
    // Nothing is changed by asking.
    let before: Value = json(&server, "/debug/connections").await?;
    for path in ["adsz?push=true", "cachez?clear=true", "force_disconnect?proxyID=z"] {
        let (status, body) = get(&server.monitoring, &format!("/debug/{path}")).await?;
        assert!(status == 404 || path.starts_with("adsz"), "{path}: {status} {body}");
    }
    assert_eq!(json::<Value>(&server, "/debug/connections").await?, before);
    Ok(())
}

#[tokio::test]
async fn istioctl_finds_the_version_as_it_asks_for_it() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    // It joins address and path by one slash too many, and follows no redirect.
    let (status, version) = get(&server.monitoring, "//version").await?;
    assert_eq!((status, version.clone()), get(&server.monitoring, "/version").await?);
    assert!(serde_json::from_str::<Value>(&version).is_err(), "it would be read as another shape: {version}");
    let parts: Vec<&str> = version.split('-').collect();
    ensure!(status == 200 && parts.len() >= 3, "{version}");
    assert_eq!(parts[..parts.len() - 2].join("-"), env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[tokio::test]
async fn proxies_are_told_with_how_far_they_are_in_step() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let _two = [ztunnel(&server, "n1").await?, ztunnel(&server, "n2").await?];
    let all: Vec<SyncStatus> = json(&server, "/debug/syncz").await?;
    let names: Vec<&str> = all.iter().map(|of| of.proxy.as_str()).collect();
    assert_eq!(names, ["ztunnel-n1.istio-system", "ztunnel-n2.istio-system"]);
    for of in &all {
        assert_eq!(
            [of.cluster_id.as_str(), &of.proxy_type, &of.istio_version],
            ["Kubernetes", "ztunnel", "1.30.0"]
        );
        let types: Vec<&str> = of.resources.keys().map(String::as_str).collect();
        assert_eq!(types, [proto::type_url::AUTHORIZATION, proto::type_url::ADDRESS]);
        for status in of.resources.values() {
            assert!(!status.sent.is_empty() && status.last_error.is_empty(), "{status:?}");
            assert!(status.sent_time.starts_with("20") && status.sent_time.ends_with('Z'), "{status:?}");
        }
    }
    // It acknowledges what it was sent.
    pilothouse_tests::apiserver::until(LIMIT, async || {
        let all: Vec<SyncStatus> = json(&server, "//debug/syncz").await?;
        let is_synced = |of: &ResourceStatus| of.sent == of.acked;
        Ok(all.iter().all(|of| of.resources.values().all(is_synced)).then_some(()))
    })
    .await?;
    for (namespace, count) in [("istio-system", 2), ("bookinfo", 0)] {
        let some: Vec<Value> = json(&server, &format!("/debug/syncz?namespace={namespace}")).await?;
        assert_eq!(some.len(), count, "{namespace}");
    }

    let ads: Value = json(&server, "/debug/adsz").await?;
    assert_eq!(ads["totalClients"], 2);
    let client = &ads["clients"][0];
    assert!(text(client, "connectionId").starts_with("ztunnel-n1.istio-system-"), "{client}");
    assert_eq!(client["metadata"]["NODE_NAME"], "n1");
    assert_eq!(client["watches"].as_object().map(serde_json::Map::len), Some(2), "{client}");
    let one: Value = json(&server, "/debug/adsz?proxyID=ztunnel-n2").await?;
    assert_eq!(
        (&one["totalClients"], &one["clients"][0]["metadata"]["NODE_NAME"]),
        (&1.into(), &"n2".into())
    );
    let connections: Value = json(&server, "/debug/connections").await?;
    assert_eq!(connections["totalClients"], 2);
    assert!(connections["clients"][0].get("metadata").is_none(), "{connections}");
    Ok(())
}

#[tokio::test]
async fn a_ztunnel_is_dumped_with_the_addresses_that_it_holds() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let client = ztunnel(&server, "n1").await?;
    let dump: Value = json(&server, "/debug/config_dump?proxyID=ztunnel-n1.istio-system").await?;
    let configs = dump["configs"].as_array().context("a list of members")?;
    assert!(configs.iter().all(|of| text(of, "@type") == proto::type_url::ADDRESS), "{dump}");
    let uids: BTreeSet<_> = configs.iter().filter_map(|of| of["workload"]["uid"].as_str()).collect();
    let held = client.with(|state| state.workloads().map(|(uid, _)| uid.to_owned()).collect::<BTreeSet<_>>());
    assert_eq!(uids, held.iter().map(String::as_str).collect());
    let hosts: BTreeSet<_> = configs.iter().filter_map(|of| of["service"]["hostname"].as_str()).collect();
    assert_eq!(hosts.len(), client.with(|state| state.services().count()));
    for path in ["edsz", "ecdsz", "ndsz"] {
        let empty: Value = json(&server, &format!("/debug/{path}?proxyID=ztunnel-n1")).await?;
        assert_eq!(empty, serde_json::json!({}), "{path}");
    }
    let policies: Value = json(&server, "/debug/config_dump?types=WADS&proxyID=ztunnel-n1").await?;
    let policies = policies["configs"].as_array().context("a list of members")?;
    assert_eq!(policies.len(), client.with(|state| state.authorizations().len()));
    Ok(())
}

#[tokio::test]
async fn kiali_reads_services_endpoints_and_objects() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let services: Vec<RegistryService> = json(&server, "/debug/registryz").await?;
    let hosts: Vec<&String> = services.iter().map(|of| &of.hostname).collect();
    assert!(hosts.windows(2).all(|pair| pair[0] <= pair[1]), "{hosts:?}");
    let reviews = services.iter().find(|of| of.hostname == "reviews.bookinfo.svc.cluster.local");
    let reviews = reviews.context("reviews is listed")?;
    let of = &reviews.attributes;
    assert_eq!(
        [of.service_registry.as_str(), &of.name, &of.namespace],
        ["Kubernetes", "reviews", "bookinfo"]
    );
    assert_eq!(of.label_selectors["app"], "reviews");
    assert!(of.export_to.contains_key("*") && !of.labels.is_empty(), "{of:?}");
    assert_eq!((reviews.ports[0].port, reviews.ports[0].name.as_str()), (9080, "http"));
    assert_eq!(reviews.ports[0].protocol, "HTTP");
    assert_eq!(reviews.cluster_vips.addresses["Kubernetes"].join(","), reviews.default_address);
    reviews.default_address.parse::<std::net::IpAddr>()?;
    assert_eq!((reviews.resolution, reviews.mesh_external), (0, false));
    assert!(reviews.creation_time.ends_with('Z'), "{}", reviews.creation_time);

    for path in ["/debug/endpointz", "/debug/endpointShardz"] {
        let hosts: BTreeMap<String, BTreeMap<String, Value>> = json(&server, path).await?;
        let of = &hosts["reviews.bookinfo.svc.cluster.local"]["bookinfo"];
        let endpoints = of["Shards"]["Kubernetes/Kubernetes"].as_array().context("a shard")?;
        assert_eq!(endpoints.len(), 3, "{of}");
        for endpoint in endpoints {
            assert_eq!(
                (&endpoint["EndpointPort"], &endpoint["ServicePortName"]),
                (&9080.into(), &"http".into())
            );
            endpoint["Addresses"][0].as_str().context("an address")?.parse::<std::net::IpAddr>()?;
        }
        let accounts = of["ServiceAccounts"].as_object().context("a set of accounts")?;
        assert!(accounts.keys().all(|of| of.starts_with("spiffe://cluster.local/ns/bookinfo/sa/")), "{of}");
    }

    let objects: Vec<Value> = json(&server, "/debug/configz").await?;
    let kinds: BTreeSet<&str> = objects.iter().map(|of| text(of, "kind")).collect();
    assert!(kinds.contains("AuthorizationPolicy") && kinds.contains("HTTPRoute"), "{kinds:?}");
    for object in &objects {
        assert!(
            object["metadata"]["name"].is_string() && text(object, "apiVersion").contains('/'),
            "{object}"
        );
        assert!(object["spec"].is_object() && object["metadata"].get("managedFields").is_none(), "{object}");
    }
    let kinds: Vec<Value> = json(&server, "/debug/resourcesz").await?;
    let policy =
        serde_json::json!({"group": "security.istio.io", "version": "v1", "kind": "AuthorizationPolicy"});
    assert!(kinds.contains(&policy), "{kinds:?}");
    let clusters: Value = json(&server, "/debug/clusterz").await?;
    let own = serde_json::json!([{"id": "Kubernetes", "secretName": "", "syncStatus": "synced"}]);
    assert_eq!(clusters, own);
    assert_eq!(text(&json(&server, "/debug/mesh").await?, "rootNamespace"), "istio-system");
    for path in ["networkz", "mcsz"] {
        assert_eq!(json::<Value>(&server, &format!("/debug/{path}")).await?, serde_json::json!([]));
    }
    let (_, pretty) = get(&server.monitoring, "/debug/clusterz?pretty").await?;
    assert!(pretty.lines().count() > 3 && serde_json::from_str::<Value>(&pretty)? == own, "{pretty}");
    Ok(())
}

#[tokio::test]
async fn ambient_state_has_addresses_as_text_in_base64() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let client = ztunnel(&server, "n1").await?;
    let ambient: BTreeMap<String, Vec<Value>> = json(&server, "/debug/ambientz").await?;
    let held = client.with(|state| {
        let counts = [state.workloads().count(), state.services().count(), state.authorizations().len()];
        let workload = state.workloads().next().map(|(uid, of)| (uid.to_owned(), of.addresses.clone()));
        (counts, workload)
    });
    let (counts, workload) = held;
    assert_eq!(["workloads", "services", "policies"].map(|list| ambient[list].len()), counts);
    let (uid, addresses) = workload.context("there is a workload")?;
    let shown = ambient["workloads"].iter().find(|of| text(of, "uid") == uid).context("it is shown")?;
    let ip = pilothouse_tests::client::ip(&addresses[0]).context("it has an address")?;
    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, ip.to_string());
    assert_eq!(shown["addresses"][0], expected);
    assert!(shown.get("trustDomain").is_some() || shown.get("serviceAccount").is_some(), "{shown}");
    let policies: Value = json(&server, "/debug/authorizationz").await?;
    assert_eq!(policies["authorization_policies"], serde_json::json!(ambient["policies"]));
    Ok(())
}

#[tokio::test]
async fn what_is_logged_is_changed_while_it_runs() -> anyhow::Result<()> {
    let mut server = Server::of_folder(&bookinfo()).await?;
    let monitoring = server.monitoring.clone();
    let page = async || get(&monitoring, "/debug/logz").await;
    assert_eq!(page().await?, (200, "info\n".to_owned()));
    let put = async |query: &str| ask(&monitoring, "PUT", &format!("/debug/logz{query}")).await;
    assert_eq!(put("?filter=info,pilothouse_runtime=debug").await?.0, 200);
    server
        .until_line("that it was changed", |line| text(line, "message") == "what is logged was changed")
        .await?;
    assert_eq!(page().await?, (200, "info,pilothouse_runtime=debug\n".to_owned()));

    // What cannot be read changes nothing, and neither does anything but PUT.
    for query in ["", "?filter=", "?filter=pilothouse=loud", "?other=info"] {
        assert_eq!(put(query).await?.0, 400, "{query}");
    }
    for (method, path, status) in [
        ("POST", "/debug/logz?filter=error", 405),
        ("DELETE", "/debug/logz", 405),
        ("PUT", "/debug/whyz", 405),
        ("GET", "/debug/logz?filter=error", 200),
    ] {
        assert_eq!(ask(&monitoring, method, path).await?.0, status, "{method} {path}");
    }
    assert_eq!(page().await?.1, "info,pilothouse_runtime=debug\n");
    Ok(())
}
