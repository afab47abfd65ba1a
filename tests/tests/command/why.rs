//! `/debug/whyz` as people ask it.

use super::{Server, bookinfo, get};
use anyhow::Context;
use serde_json::Value;
use std::fs;

#[tokio::test]
async fn why_takes_what_people_type_and_answers_in_words_or_json() -> anyhow::Result<()> {
    let server = Server::of_folder(&bookinfo()).await?;
    let ask = async |query: &str| get(&server.monitoring, &format!("/debug/whyz?{query}")).await;
    let workloads = super::dump(&["-o", "json", "--server", &server.xds]).await?;
    let workloads: Value = serde_json::from_str(&workloads)?;
    let mut names = workloads.as_array().into_iter().flatten().filter_map(|of| of["name"].as_str());
    let pod = names.find(|name| name.starts_with("details-")).context("a pod of details")?;

    let (status, words) = ask(&format!("name=pod/bookinfo/{pod}")).await?;
    assert_eq!(status, 200, "{words}");
    assert!(
        words.starts_with(&format!("Pod bookinfo/{pod} is sent as Kubernetes//Pod/bookinfo/{pod}\n")),
        "{words}"
    );
    let line = |kind: &str, name: &str| format!("  {kind:<20} {name}\n");
    for object in [("Namespace", "bookinfo"), ("Service", "bookinfo/details"), ("Node", "node-")] {
        assert!(words.contains(line(object.0, object.1).trim_end()), "{object:?}: {words}");
    }
    let (_, missing) = words.split_once("looked for, and not there:\n").context("what is not there")?;
    assert!(missing.contains(&line("ConfigMap", "istio-system/istio")), "{words}");

    // The same in other forms.
    for query in [
        format!("kind=pod&name=bookinfo/{pod}"),
        format!("kind=po&namespace=bookinfo&name={pod}"),
        format!("name=bookinfo/{pod}"),
        format!("name=Kubernetes//Pod/bookinfo/{pod}"),
    ] {
        assert_eq!(ask(&query).await?, (200, words.clone()), "{query}");
    }

    let (_, both) = ask("name=bookinfo/details").await?;
    assert!(both.contains("Service bookinfo/details is sent as bookinfo/details.bookinfo.svc"), "{both}");
    let (_, policy) = ask("name=policy/bookinfo/details-callers").await?;
    assert!(policy.starts_with("AuthorizationPolicy bookinfo/details-callers is sent as "), "{policy}");

    let (status, json) = ask(&format!("name=pod/bookinfo/{pod}&format=json&depth=1")).await?;
    let json: Value = serde_json::from_str(&json)?;
    assert_eq!((status, &json[0]["sent"], &json[0]["object"]["name"]), (200, &true.into(), &pod.into()));
    let names: Vec<&Value> =
        json[0]["madeFrom"].as_array().context("a list")?.iter().map(|o| &o["kind"]).collect();
    assert!(names.contains(&&"Service".into()) && json[0]["traces"][0]["reads"].is_array(), "{json}");
    let (_, trace) = ask(&format!("name=pod/bookinfo/{pod}&format=trace&depth=4")).await?;
    assert!(trace.contains("\n  selected_services ") && trace.contains("bookinfo/details\"\n"), "{trace}");
    Ok(())
}

#[tokio::test]
async fn why_says_what_was_meant_and_what_is_not_sent() -> anyhow::Result<()> {
    let folder = super::copy_of_bookinfo()?;
    let policy = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
        metadata: {name: targeted, namespace: bookinfo}\n\
        spec: {rules: [{}], targetRefs: [{group: '', kind: Service, name: absent}]}\n";
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
        metadata: {name: outside, namespace: bookinfo}\n\
        spec: {hosts: [a.example.com, b.example.com], resolution: STATIC, \
        ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 192.0.2.1}]}\n";
    fs::write(folder.path().join("more.yaml"), format!("{policy}---\n{entry}"))?;
    let peer = |name: &str, mode: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
             metadata: {{name: {name}, namespace: bookinfo}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
        )
    };
    let peers = peer("a-first", "PERMISSIVE") + &peer("b-second", "STRICT");
    fs::write(folder.path().join("peers.yaml"), peers)?;
    let server = Server::of_folder(folder.path()).await?;
    let ask = async |query: &str| get(&server.monitoring, &format!("/debug/whyz?{query}")).await;

    let (status, words) = ask("name=ap/bookinfo/targeted").await?;
    assert_eq!(status, 200, "{words}");
    assert!(words.starts_with("AuthorizationPolicy bookinfo/targeted is not sent to ztunnels\n"), "{words}");
    assert!(words.contains("what is wrong with it:\n  AP109: "), "{words}");

    // What is read and not sent by itself has findings all the same.
    let (status, words) = ask("name=peerauthentication/bookinfo/b-second").await?;
    assert_eq!(status, 200, "{words}");
    let begin = "PeerAuthentication bookinfo/b-second is read; nothing is sent for it by itself\n\
                 what is wrong with it:\n  PA005: ";
    assert!(words.starts_with(begin) && words.contains("peers.yaml:"), "{words}");
    for query in
        ["name=namespace/bookinfo", "name=Namespace/bookinfo", "name=ns/bookinfo", "kind=ns&name=bookinfo"]
    {
        let told = "Namespace bookinfo is read; nothing is sent for it by itself\n".to_owned();
        assert_eq!(ask(query).await?, (200, told), "{query}");
    }

    // An entry is a service for each host, and a workload for each endpoint.
    let (_, words) = ask("name=se/bookinfo/outside").await?;
    for resource in
        ["bookinfo/a.example.com", "bookinfo/b.example.com", "/ServiceEntry/bookinfo/outside/192.0.2.1"]
    {
        assert!(words.contains(resource), "{resource}: {words}");
    }

    for (query, expected, told) in [
        ("", 400, "name an object: "),
        ("name=", 400, "name an object: "),
        ("name=servce/bookinfo/details", 400, "did you mean Service?"),
        ("kind=envoyfilter&name=a/b", 400, "there is no kind \"envoyfilter\""),
        ("name=details", 404, "did you mean service/bookinfo/details?"),
        ("name=svc/bookinfo/detials", 404, "did you mean bookinfo/details?"),
        ("name=svc/bookinfo/%1b%0aINFO", 404, "there is no Service bookinfo/\\u{1b}\\nINFO"),
        ("name=ns/x/bookinfo", 404, "there is no Namespace x/bookinfo"),
        ("name=namespace/nope", 404, "there is no Namespace nope"),
        ("name=pod/nope", 404, "there is no Pod nope; name it as NAMESPACE/NAME"),
        ("name=bookinfo/details&depth=x", 400, "name an object: "),
        ("name=bookinfo/details&format=xml", 400, "name an object: "),
    ] {
        let (status, text) = ask(query).await?;
        assert!(status == expected && text.contains(told), "{query}: {status} {text}");
    }
    let (_, json) = ask("name=svc/bookinfo/nope&format=json").await?;
    let json: Value = serde_json::from_str(&json)?;
    assert!(json["error"].as_str().is_some_and(|error| error.contains("bookinfo/nope")), "{json}");
    Ok(())
}
