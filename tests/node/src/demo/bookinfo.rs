//! The steps of the bookinfo example. One more is one more entry of [`STEPS`].

use super::play::{Play, Step};
use super::site::{Answer, Site};
use crate::pod::key;
use anyhow::ensure;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(super) const PLAY: Play = Play {
    name: "bookinfo",
    introduction: "The bookinfo example as processes on this machine, with a real Envoy as its waypoint.",
    prepare,
    outside: &[],
    steps: STEPS,
};

/// What enrols the namespace.
const LABEL: &str = "  labels:\n    istio.io/dataplane-mode: ambient\n";
/// The namespace, as it is without.
const NAMESPACE: &str = "  name: bookinfo\n";

/// Takes the namespace out of the mesh, and the gateway away: all that is to be seen is within.
fn prepare(folder: &Path) -> anyhow::Result<()> {
    fs::remove_file(folder.join("gateway.yaml"))?;
    let path = folder.join("namespaces.yaml");
    let namespaces = fs::read_to_string(&path)?;
    ensure!(namespaces.contains(LABEL), "the example enrols its namespace by other lines than\n{LABEL}");
    Ok(fs::write(path, namespaces.replace(LABEL, ""))?)
}

/// All steps, in order.
const STEPS: &[Step] = &[
    Step {
        title: "Processes",
        explanation: "   Each pod of the folder is a process with an address of its own. Nobody is in the mesh yet: all \
                      is plain text, and policies reach nobody.",
        play: |site| Box::pin(processes(site)),
    },
    Step {
        title: "Enrolled by a label, and nothing restarted",
        explanation: "   The label of the namespace takes its pods into the mesh: the node captures what they send, and \
                      tunnels it with their identities.",
        play: |site| Box::pin(enrolled(site)),
    },
    Step {
        title: "Denied and allowed at L4",
        explanation: "   policies.yaml says who may call whom, by service account. The proxy of the node of the \
                      destination enforces it.",
        play: |site| Box::pin(policies(site)),
    },
    Step {
        title: "Split 90/10 at the waypoint",
        explanation: "   The Service reviews has a waypoint, an Envoy. routes.yaml has it send nine of ten requests to v1, \
                      and the tenth to v2.",
        play: |site| Box::pin(split(site)),
    },
    Step {
        title: "Matched by a header",
        explanation: "   Requests of one user go to v3, says the same route.",
        play: |site| Box::pin(matched(site)),
    },
    Step {
        title: "Denied and allowed at L7",
        explanation: "   A policy for the Service is enforced at its waypoint, which sees requests: the page may read \
                      reviews, and not delete them.",
        play: |site| Box::pin(requests(site)),
    },
    Step {
        title: "Retried",
        explanation: "   A path of the server fails two times of three. The route tries again, so the caller sees no \
                      failure, and the server sees three requests.",
        play: |site| Box::pin(retried(site)),
    },
    Step {
        title: "Broken on purpose",
        explanation: "   A label sends one more Service through the waypoint, and a VirtualService has some of its requests \
                      fail there, to see how callers take it.",
        play: |site| Box::pin(broken(site)),
    },
    Step {
        title: "Counted",
        explanation: "   The waypoint has counted all of it, by who called and who answered, under the names that \
                      dashboards know.",
        play: |site| Box::pin(counted(site)),
    },
];

const PAGE: &str = "bookinfo/productpage-v1";
const OUTSIDE: &str = "outside/curl";
const REVIEWS: &str = "http://reviews:9080/reviews/0";

async fn processes(site: &mut Site) -> anyhow::Result<()> {
    println!("   {:<44} {:<16} PROCESS", "POD", "ADDRESS");
    for pod in site.node.pods() {
        let status = pod.pod().status.as_ref();
        let address = status.and_then(|status| status.pod_ip.as_deref()).unwrap_or_default();
        let processes: Vec<String> =
            pod.containers().iter().filter_map(|of| of.process()).map(|id| id.to_string()).collect();
        println!("   {:<44} {address:<16} {}", key(pod.pod()), processes.join(" "));
    }
    let answer = site.show(OUTSIDE, &["http://productpage.bookinfo:9080/productpage"]).await?;
    ensure!(answer.status() == Some(200) && answer.workload() == "productpage-v1");
    let answer = site.show(PAGE, &["http://ratings:9080/ratings/0"]).await?;
    ensure!(answer.status() == Some(200) && answer.workload() == "ratings-v1");
    Ok(())
}

async fn enrolled(site: &mut Site) -> anyhow::Result<()> {
    let before = site.processes();
    site.enrol("namespaces.yaml", NAMESPACE, LABEL).await?;
    let answer = site.show(PAGE, &["http://details:9080/details/0"]).await?;
    ensure!(answer.status() == Some(200) && answer.workload() == "details-v1");
    println!("   the proxy: {}", site.until_logged(&["inbound", "sa/productpage to", ":9080"]).await?);
    ensure!(site.processes() == before, "processes are others than before: {before:?}");
    println!("   all {} pods run the processes that they ran before", before.len());
    Ok(())
}

async fn policies(site: &mut Site) -> anyhow::Result<()> {
    let answer = site.show(OUTSIDE, &["http://productpage.bookinfo:9080/productpage"]).await?;
    ensure!(answer.status().is_none(), "plain text passed");
    println!("     nothing in plain text reaches a pod of bookinfo, says its PeerAuthentication");
    let answer = site.show(PAGE, &["http://ratings:9080/ratings/0"]).await?;
    ensure!(answer.status().is_none(), "the page may not call ratings");
    println!("     ratings are called by reviews only");
    let answer = site.show("bookinfo/reviews-v2", &["http://ratings:9080/ratings/0"]).await?;
    ensure!(answer.status() == Some(200) && answer.workload() == "ratings-v1");
    Ok(())
}

async fn split(site: &mut Site) -> anyhow::Result<()> {
    const CALLS: usize = 200;
    site.until(PAGE, &[REVIEWS], |answer| answer.status() == Some(200)).await?;
    let answers = site.call(PAGE, &["--count", &CALLS.to_string(), REVIEWS]).await?;
    let mut counts = BTreeMap::<String, usize>::new();
    for answer in &answers {
        ensure!(answer.status() == Some(200), "{}", answer.words());
        *counts.entry(answer.workload()).or_default() += 1;
    }
    println!("   {PAGE} $ call --count {CALLS} {REVIEWS}");
    for (workload, count) in &counts {
        println!("     {count:>3} from {workload}");
    }
    let of = |workload: &str| counts.get(workload).copied().unwrap_or_default();
    // Five standard deviations.
    ensure!((159..=200).contains(&of("reviews-v1")) && of("reviews-v1") + of("reviews-v2") == CALLS);
    ensure!(of("reviews-v2") > 0);
    Ok(())
}

async fn matched(site: &mut Site) -> anyhow::Result<()> {
    let answer = site.show(PAGE, &["-H", "end-user: jason", REVIEWS]).await?;
    ensure!(answer.status() == Some(200) && answer.workload() == "reviews-v3");
    Ok(())
}

const READERS: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: reviews-readers
  namespace: bookinfo
spec:
  targetRefs:
    - group: \"\"
      kind: Service
      name: reviews
  action: ALLOW
  rules:
    - from:
        - source:
            principals:
              - cluster.local/ns/bookinfo/sa/productpage
      to:
        - operation:
            methods: [GET]
";

async fn requests(site: &mut Site) -> anyhow::Result<()> {
    let answer = site.show(PAGE, &["-X", "DELETE", REVIEWS]).await?;
    ensure!(answer.status() == Some(200), "it is forbidden already");
    site.write("readers.yaml", READERS)?;
    let is_forbidden = |answer: &Answer| answer.status() == Some(403);
    site.until(PAGE, &["-X", "DELETE", REVIEWS], is_forbidden).await?;
    let answer = site.show(PAGE, &[REVIEWS]).await?;
    ensure!(answer.status() == Some(200));
    let answer = site.show("bookinfo/details-v1", &[REVIEWS]).await?;
    ensure!(is_forbidden(&answer), "another account may read");
    Ok(())
}

const RETRY: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: reviews-flaky
  namespace: bookinfo
spec:
  parentRefs:
    - group: \"\"
      kind: Service
      name: reviews
      port: 9080
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /flaky
      retry:
        codes: [503]
        attempts: 2
      backendRefs:
        - name: reviews-v3
          port: 9080
";

async fn retried(site: &mut Site) -> anyhow::Result<()> {
    const FLAKY: &str = "http://reviews:9080/flaky/2";
    site.write("retry.yaml", RETRY)?;
    let seen = |answer: &Answer| answer.field("requests").parse::<u64>().unwrap_or_default();
    // The first answer that a try again had a part in is the last of three.
    let first =
        site.until(PAGE, &[FLAKY], |of| of.status() == Some(200) && of.workload() == "reviews-v3").await?;
    let second = site.show(PAGE, &[FLAKY]).await?;
    let requests = seen(&second).saturating_sub(seen(&first));
    println!("     the server has seen {requests} requests for this one");
    ensure!(second.status() == Some(200) && requests == 3);
    Ok(())
}

const FAULT: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews-v3
  namespace: bookinfo
spec:
  hosts: [reviews-v3]
  http:
    - match:
        - headers:
            x-demo:
              exact: fault
      fault:
        abort:
          percentage:
            value: 100
          httpStatus: 418
      route:
        - destination:
            host: reviews-v3
    - route:
        - destination:
            host: reviews-v3
";

async fn broken(site: &mut Site) -> anyhow::Result<()> {
    const SERVICE: &str =
        "  name: reviews-v3\n  namespace: bookinfo\n  labels:\n    app: reviews\n    version: v3\n";
    const URL: &str = "http://reviews-v3:9080/reviews/0";
    site.label("reviews.yaml", SERVICE, "istio.io/use-waypoint: waypoint")?;
    site.write("fault.yaml", FAULT)?;
    site.until(PAGE, &["-H", "x-demo: fault", URL], |answer| answer.status() == Some(418)).await?;
    let answer = site.show(PAGE, &[URL]).await?;
    ensure!(answer.status() == Some(200) && answer.workload() == "reviews-v3");
    Ok(())
}

async fn counted(site: &mut Site) -> anyhow::Result<()> {
    let url = format!("http://{}:15020/stats/prometheus", site.address("bookinfo/waypoint")?);
    let labels = ["source_workload", "destination_workload", "response_code"];
    let counts = site.counts(OUTSIDE, &url, "istio_requests_total", &labels).await?;
    let of = |answered: &str| {
        let labels = format!("source_workload=\"productpage-v1\", {answered}");
        counts.get(&labels).copied().unwrap_or_default()
    };
    ensure!(of("destination_workload=\"reviews-v1\", response_code=\"200\"") > 150);
    ensure!(of("destination_workload=\"reviews-v2\", response_code=\"200\"") > 0);
    ensure!(of("destination_workload=\"unknown\", response_code=\"403\"") > 0);
    Ok(())
}
