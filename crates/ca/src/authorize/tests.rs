#![allow(clippy::unwrap_used)]
use super::*;
use crate::pods::PodIndex;
use proptest::prelude::*;

const WEB: &str = "spiffe://td/ns/shop/sa/web";

fn authorizer() -> NodeAuthorizer {
    NodeAuthorizer::new("istio-system/ztunnel", [TrustDomain::parse("td").unwrap()]).unwrap()
}

fn ztunnel(name: &str, uid: &str) -> Caller {
    Caller {
        namespace: "istio-system".to_owned(),
        service_account: "ztunnel".to_owned(),
        pod: Some(BoundObject { name: name.to_owned(), uid: uid.to_owned() }),
        node: None,
    }
}

fn put(pods: &mut PodIndex, namespace: &str, name: &str, uid: &str, service_account: &str, node: &str) {
    pods.put(namespace, name, RunningPod { uid: uid.into(), service_account, node, is_gone: false });
}

/// Two nodes with a ztunnel each; `web` runs on the first, `db` on the second.
fn cluster() -> PodIndex {
    let mut pods = PodIndex::default();
    put(&mut pods, "istio-system", "zt-1", "u1", "ztunnel", "n1");
    put(&mut pods, "istio-system", "zt-2", "u2", "ztunnel", "n2");
    put(&mut pods, "shop", "web-a", "u3", "web", "n1");
    put(&mut pods, "shop", "db-a", "u4", "db", "n2");
    pods
}

fn denied(caller: &Caller, requested: &str, pods: &PodIndex) -> &'static str {
    let denial = authorizer().authorize(caller, requested, pods).unwrap_err();
    assert_eq!(denial.code(), Code::Unauthenticated);
    denial.reason()
}

#[test]
fn node_proxy_gets_identities_of_its_own_node_only() {
    let pods = cluster();
    let identity = authorizer().authorize(&ztunnel("zt-1", "u1"), WEB, &pods).unwrap();
    assert_eq!(identity.to_string(), WEB);
    assert_eq!(denied(&ztunnel("zt-2", "u2"), WEB, &pods), "not_on_node");
    assert_eq!(denied(&ztunnel("zt-1", "u1"), "spiffe://td/ns/shop/sa/db", &pods), "not_on_node");
    assert_eq!(denied(&ztunnel("zt-1", "u1"), "spiffe://td/ns/other/sa/web", &pods), "not_on_node");
}

#[test]
fn every_reason_denies() {
    let pods = cluster();
    let caller = ztunnel("zt-1", "u1");
    let disabled = NodeAuthorizer::new("", [TrustDomain::parse("td").unwrap()]).unwrap();
    assert_eq!(disabled.authorize(&caller, WEB, &pods), Err(Denial::Disabled));

    let unbound = Caller { pod: None, ..caller.clone() };
    assert_eq!(denied(&unbound, WEB, &pods), "caller_unbound");
    let other = Caller { service_account: "web".to_owned(), ..caller.clone() };
    assert_eq!(denied(&other, WEB, &pods), "caller_not_trusted");
    let other = Caller { namespace: "shop".to_owned(), ..caller.clone() };
    assert_eq!(denied(&other, WEB, &pods), "caller_not_trusted");
    assert_eq!(
        denied(&caller, "spiffe://td/ns/shop/sa/web,spiffe://td/ns/a/sa/b", &pods),
        "identity_invalid"
    );
    assert_eq!(denied(&caller, "spiffe://elsewhere/ns/shop/sa/web", &pods), "trust_domain");
    assert_eq!(denied(&ztunnel("zt-9", "u1"), WEB, &pods), "pod_unknown");
    assert_eq!(denied(&ztunnel("zt-1", "u9"), WEB, &pods), "pod_replaced");
    assert_eq!(denied(&ztunnel("zt-1", ""), WEB, &pods), "pod_replaced");
    let elsewhere = Caller { node: Some("n2".to_owned()), ..caller.clone() };
    assert_eq!(denied(&elsewhere, WEB, &pods), "pod_node");
    let mut unplaced = cluster();
    put(&mut unplaced, "istio-system", "zt-1", "u1", "ztunnel", "");
    assert_eq!(denied(&elsewhere, WEB, &unplaced), "pod_unplaced");
    let mut changed = cluster();
    put(&mut changed, "istio-system", "zt-1", "u1", "other", "n1");
    assert_eq!(denied(&caller, WEB, &changed), "pod_account");
    let mut deleted = cluster();
    delete(&mut deleted, "istio-system", "zt-1");
    assert_eq!(denied(&caller, WEB, &deleted), "pod_deleted");
    assert_eq!(denied(&ztunnel("zt-1", "u9"), WEB, &deleted), "pod_replaced");
}

/// Lets a pod of [`cluster`] be one that was deleted a minute ago, and is still there.
fn delete(pods: &mut PodIndex, namespace: &str, name: &str) {
    let pod = pods.pod(namespace, name).unwrap();
    let (uid, account, node) = (pod.uid.into_owned(), pod.service_account.to_owned(), pod.node.to_owned());
    let pod = RunningPod { uid: uid.into(), service_account: &account, node: &node, is_gone: true };
    pods.put(namespace, name, pod);
}

#[test]
fn nothing_is_issued_for_a_pod_that_is_gone() {
    let mut pods = cluster();
    let caller = ztunnel("zt-1", "u1");
    put(&mut pods, "shop", "web-b", "u5", "web", "n1");
    delete(&mut pods, "shop", "web-a");
    assert!(authorizer().authorize(&caller, WEB, &pods).is_ok(), "another has the account");
    delete(&mut pods, "shop", "web-b");
    assert_eq!(denied(&caller, WEB, &pods), "not_on_node");
}

#[test]
fn certificates_of_pods_renew_themselves_only_where_that_is_wished_for() {
    let mut pods = cluster();
    let web = Caller {
        namespace: "shop".to_owned(),
        service_account: "web".to_owned(),
        pod: None,
        ..ztunnel("", "")
    };
    let by_default = |pods: &PodIndex| {
        web.live_account(pods, CertificateRenewal::default()).map_err(|denial| denial.reason())
    };
    assert_eq!(by_default(&pods), Err("account_of_pods"));
    assert_eq!(web.live_account(&pods, CertificateRenewal::All), Ok(()));
    pods.put_outside("shop", "web");
    assert_eq!(by_default(&pods), Ok(()));
    pods.remove("shop", "web-a");
    assert_eq!(by_default(&pods), Ok(()));
}

#[test]
fn account_of_a_certificate_must_have_a_pod_on_whatever_node() {
    let mut pods = cluster();
    let live = |web: &Caller, pods: &PodIndex| web.live_account(pods, CertificateRenewal::All);
    let web = Caller { namespace: "shop".to_owned(), service_account: "web".to_owned(), ..ztunnel("", "") };
    let web = Caller { pod: None, ..web };
    assert_eq!(live(&web, &pods), Ok(()));
    put(&mut pods, "shop", "web-a", "u3", "web", "");
    assert_eq!(live(&web, &pods), Ok(()));
    delete(&mut pods, "shop", "web-a");
    assert_eq!(live(&web, &pods).unwrap_err().reason(), "account_gone");
    pods.remove("shop", "web-a");
    let gone = live(&web, &pods).unwrap_err();
    assert_eq!((gone.code(), gone.reason()), (Code::Unauthenticated, "account_gone"));
}

#[test]
fn pod_without_a_node_gives_nobody_anything() {
    let mut pods = cluster();
    put(&mut pods, "istio-system", "zt-1", "u1", "ztunnel", "");
    put(&mut pods, "shop", "web-a", "u3", "web", "");
    assert_eq!(denied(&ztunnel("zt-1", "u1"), WEB, &pods), "not_on_node");
}

#[test]
fn answers_follow_the_pods() {
    let mut pods = cluster();
    let (one, two) = (ztunnel("zt-1", "u1"), ztunnel("zt-2", "u2"));
    pods.remove("shop", "web-a");
    let gone = authorizer().authorize(&one, WEB, &pods).unwrap_err();
    assert!(gone.may_pass_soon());
    // The same name again, on the other node.
    put(&mut pods, "shop", "web-a", "u5", "web", "n2");
    assert!(authorizer().authorize(&two, WEB, &pods).is_ok());
    assert_eq!(denied(&one, WEB, &pods), "not_on_node");
    // The proxy's own pod is replaced: its old token is worth nothing, also for open streams.
    put(&mut pods, "istio-system", "zt-2", "u6", "ztunnel", "n2");
    assert_eq!(denied(&two, WEB, &pods), "pod_replaced");
    assert!(two.live_pod(&pods).is_err());
    assert_eq!(ztunnel("zt-2", "u6").live_pod(&pods).unwrap().node, "n2");
}

#[test]
fn what_news_of_pods_may_change_is_waited_for_and_nothing_else() {
    let mut pods = cluster();
    let may_pass_soon = |caller: &Caller, pods: &PodIndex| {
        authorizer().authorize(caller, WEB, pods).unwrap_err().may_pass_soon()
    };
    let at = |node: &str| Caller { node: Some(node.to_owned()), ..ztunnel("zt-1", "u1") };
    assert!(may_pass_soon(&ztunnel("zt-9", "u9"), &pods), "the pod is new");
    assert!(may_pass_soon(&ztunnel("zt-1", "u9"), &pods), "the pod follows another of its name");
    assert!(!may_pass_soon(&at("n2"), &pods), "a pod stays on its node");
    put(&mut pods, "istio-system", "zt-1", "u1", "ztunnel", "");
    assert!(may_pass_soon(&at("n1"), &pods), "the pod is being placed");
    put(&mut pods, "istio-system", "zt-1", "u1", "other", "n1");
    assert!(!may_pass_soon(&at("n1"), &pods), "a pod keeps its account");
}

#[test]
fn setting_of_trusted_accounts_is_read_strictly() {
    let domains = || [TrustDomain::parse("td").unwrap()];
    let authorizer = NodeAuthorizer::new(" a/b, ,c/d,", domains()).unwrap();
    assert!(authorizer.trusts("a", "b") && authorizer.trusts("c", "d"));
    assert!(!authorizer.trusts("a", "d") && !authorizer.trusts("", ""));
    for wrong in ["a", "a/", "/b", "a/b/c"] {
        assert!(NodeAuthorizer::new(wrong, domains()).is_err(), "{wrong}");
    }
}

proptest! {
    /// No caller, whatever it claims, gets an identity that does not run on the node of a trusted
    /// proxy's live pod.
    #[test]
    fn nothing_is_granted_beyond_the_node(
        namespace in "(istio-system|shop)", account in "(ztunnel|web)", pod in "(zt-1|zt-2|web-a)",
        uid in "u[1-4]", node in prop::option::of("n[12]"), wanted in "(web|db|ztunnel)",
    ) {
        let pods = cluster();
        let bound = Some(BoundObject { name: pod, uid });
        let caller = Caller { namespace, service_account: account, pod: bound, node };
        let requested = format!("spiffe://td/ns/shop/sa/{wanted}");
        if authorizer().authorize(&caller, &requested, &pods).is_ok() {
            prop_assert_eq!((caller.namespace.as_str(), caller.service_account.as_str()), ("istio-system", "ztunnel"));
            let bound = caller.pod.unwrap();
            let expected = match wanted.as_str() { "web" => ("zt-1", "u1"), _ => ("zt-2", "u2") };
            prop_assert_eq!((bound.name.as_str(), bound.uid.as_str()), expected);
        }
    }
}
