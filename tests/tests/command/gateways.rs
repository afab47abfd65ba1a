//! Gateways, routes and statuses as `dump` shows them, of the example and of what is wrong.

use super::{Server, bookinfo, copy_of_bookinfo, dump, edit, get, run, text};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

/// Runs `dump -o json`.
pub(super) async fn listed(args: &[&str]) -> anyhow::Result<Vec<Value>> {
    Ok(serde_json::from_str(&dump(&[args, &["-o", "json"]].concat()).await?)?)
}

/// A rule: for which hostname, the sentence, and hosts with their shares.
pub(super) type Rule = (String, String, Vec<(String, u64)>);

/// The rules of a route.
pub(super) fn rules(routes: &[Value], name: &str) -> Vec<Rule> {
    let of_name = routes.iter().filter(|route| route["name"] == name);
    let rule = |route: &Value| {
        let backends = route["backends"].as_array().into_iter().flatten();
        let backend = |of: &Value| (text(of, "hostname").to_owned(), of["weight"].as_u64().unwrap_or(0));
        let sentence = text(route, "sentence").to_owned();
        (text(route, "hostname").to_owned(), sentence, backends.map(backend).collect())
    };
    of_name.map(rule).collect()
}

#[tokio::test]
async fn gateways_of_a_folder_are_deployed_and_programmed() -> anyhow::Result<()> {
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    let gateways = listed(&["gateways", "--from", from]).await?;
    let names: Vec<&str> = gateways.iter().map(|of| text(of, "name")).collect();
    assert_eq!(names, ["bookinfo-gateway", "waypoint"]);
    for (gateway, deployed) in gateways.iter().zip(["bookinfo-gateway-istio", "waypoint"]) {
        let kinds = ["ServiceAccount", "Deployment", "Service"].map(|kind| format!("{kind} {deployed}"));
        assert_eq!(gateway["deployed"], json!(kinds));
        assert_eq!((&gateway["programmed"], &gateway["problems"]), (&json!(true), &json!([])), "{gateway}");
        ensure!(gateway["addresses"].as_array().is_some_and(|all| !all.is_empty()), "{gateway}");
    }
    assert_eq!(gateways[0]["listeners"][0]["attachedRoutes"], 1);

    // What is bound to the waypoint, and what runs it.
    let services = dump(&["services", "--from", from]).await?;
    let reviews = services.lines().find(|line| line.contains(" reviews ")).context("reviews are listed")?;
    ensure!(reviews.contains(" waypoint "), "{reviews}");
    let workloads = dump(&["workloads", "--from", from]).await?;
    for account in ["bookinfo-gateway-istio", "waypoint"] {
        ensure!(workloads.contains(&format!(" {account} ")), "{workloads}");
    }
    let status = listed(&["status", "service", "--from", from]).await?;
    let bound: Vec<_> = status.iter().map(|of| (&of["metadata"]["name"], &of["status"])).collect();
    assert_eq!(bound.len(), 1, "{bound:?}");
    let condition = &bound[0].1["conditions"][0];
    assert_eq!((bound[0].0, text(condition, "type")), (&json!("reviews"), "istio.io/WaypointBound"));
    assert_eq!(text(condition, "status"), "True", "{condition}");

    // Where nothing is deployed, it says so.
    let arguments = ["dump", "gateways", "-o", "json", "--from", from, "--deploy-gateways=false"];
    let gateways: Vec<Value> = serde_json::from_slice(&run(arguments).await?.stdout)?;
    for gateway in gateways {
        assert_eq!((&gateway["programmed"], &gateway["deployed"]), (&json!(false), &json!([])), "{gateway}");
        ensure!(gateway["problems"].to_string().contains("Programmed (AddressNotUsable)"), "{gateway}");
    }
    Ok(())
}

#[tokio::test]
async fn each_rule_of_a_route_is_a_sentence() -> anyhow::Result<()> {
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    let routes = listed(&["routes", "--from", from]).await?;
    let host = |version: &str| format!("reviews-{version}.bookinfo.svc.cluster.local");
    let [v1, v2, v3] = ["v1", "v2", "v3"].map(host);
    let one = format!("path \"/\" and below, header end-user \"jason\" at port 9080 → {v3}:9080");
    let all = format!("path \"/\" and below at port 9080 → {v1}:9080 90/100, {v2}:9080 10/100");
    let host = || "reviews.bookinfo.svc.cluster.local".to_owned();
    let expected = [(host(), one.clone(), vec![(v3, 1)]), (host(), all, vec![(v1, 90), (v2, 10)])];
    assert_eq!(rules(&routes, "reviews"), expected);
    assert_eq!(rules(&routes, "bookinfo").len(), 5);
    let table = dump(&["routes", "-o", "wide", "--from", from]).await?;
    let row = table.lines().find(|line| line.contains(&one)).context("the header match is listed")?;
    ensure!(row.starts_with("bookinfo    HTTPRoute reviews    Service bookinfo/reviews:9080 "), "{row}");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_routes_is_told_beside_them() -> anyhow::Result<()> {
    let folder = copy_of_bookinfo()?;
    let routes = folder.path().join("routes.yaml");
    edit(&routes, "name: reviews-v2", "name: nobody")?;
    edit(&routes, "- name: bookinfo-gateway", "- name: elsewhere")?;
    let from = folder.path().to_str().context("a path of text")?;
    let server = Server::of_folder(folder.path()).await?;
    for source in [["--from", from], ["--server", &server.monitoring]] {
        let output = run(["dump", "routes", "-o", "json"].iter().chain(&source)).await?;
        let routes: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        let of = |name: &str| routes.iter().filter(|of| of["name"] == name).collect::<Vec<_>>();
        let reviews = of("reviews");
        assert_eq!(reviews[0]["problems"], json!([]));
        assert_eq!(reviews[1]["problems"], json!(["backend(nobody.bookinfo) not found"]));
        assert_eq!(reviews[1]["backends"][1], json!({"weight": 10}));
        ensure!(text(reviews[1], "sentence").ends_with(", refused 10/100"), "{reviews:?}");
        let lost = of("bookinfo");
        assert_eq!((lost.len(), &lost[0]["parent"]["name"]), (1, &json!("elsewhere")), "{lost:?}");
        let told = "the parent is not there, or not of a class of ours";
        assert_eq!((lost[0].get("sentence"), &lost[0]["problems"]), (None, &json!([told])));

        let table = run(["dump", "status", "httproutes", "-o", "wide"].iter().chain(&source)).await?;
        let table = String::from_utf8(table.stdout)?;
        let told = table.lines().filter(|line| line.contains("BackendNotFound")).collect::<Vec<_>>();
        ensure!(told.len() == 1 && told[0].contains("  Service reviews:9080  "), "{table}");
        ensure!(table.lines().skip(1).all(|line| line.starts_with("HTTPRoute ")), "{table}");
    }
    Ok(())
}

#[tokio::test]
async fn statuses_are_of_all_kinds_or_of_one() -> anyhow::Result<()> {
    let from = bookinfo();
    let from = from.to_str().context("a path of text")?;
    let all = listed(&["status", "--from", from]).await?;
    let kinds: std::collections::BTreeSet<&str> = all.iter().map(|of| text(of, "kind")).collect();
    let expected = ["AuthorizationPolicy", "Gateway", "GatewayClass", "HTTPRoute", "Service"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let one = listed(&["status", "gw", "--from", from]).await?;
    let of_kind = all.iter().filter(|of| of["kind"] == "Gateway").cloned().collect::<Vec<_>>();
    assert_eq!(one, of_kind);
    ensure!(!all.iter().any(|of| of.to_string().contains("lastTransitionTime")), "{all:?}");

    let server = Server::of_folder(&bookinfo()).await?;
    let monitoring = ["--server", server.monitoring.as_str()];
    for source in [["--from", from], monitoring] {
        for (args, told) in [
            (["status", "pods"], "no Pod has a status of ours; those that may: "),
            (
                ["status", "httproutse"],
                "there is no kind \"httproutse\" that is read; did you mean HTTPRoute?",
            ),
            (["gateways", "pods"], "`dump status` takes a kind"),
        ] {
            let output = run(["dump"].iter().chain(&args).chain(&source)).await?;
            let errors = String::from_utf8(output.stderr)?;
            assert_eq!(output.status.code(), Some(1), "{args:?}: {errors}");
            ensure!(errors.contains(told) && errors.lines().count() == 1, "{args:?}: {errors}");
        }
        for (args, told) in [
            (["routes", "-n", "bookinf"], "no routes in a namespace \"bookinf\"; did you mean \"bookinfo\"?"),
            (
                ["gateways", "-n", "outside"],
                "no gateways in a namespace \"outside\"; there are some in \"bookinfo\"",
            ),
        ] {
            let output = run(["dump"].iter().chain(&args).chain(&source)).await?;
            let errors = String::from_utf8(output.stderr)?;
            ensure!(output.status.success() && errors.contains(told), "{args:?}: {errors}");
        }
    }
    let (status, page) = get(&server.monitoring, "/debug/statusz?kind=pod").await?;
    ensure!(status == 400 && page.starts_with("no Pod has"), "{status}: {page}");
    // The other port of the same process.
    let output = run(["dump", "gateways", "--server", &server.xds]).await?;
    let errors = String::from_utf8(output.stderr)?;
    ensure!(
        errors.contains("name its monitoring address by --server") && errors.lines().count() == 1,
        "{errors}"
    );
    Ok(())
}
