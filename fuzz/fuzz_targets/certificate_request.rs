//! Feeds whole requests for certificates to what decides them, as a ztunnel of node n1 sends them.
#![cfg_attr(fuzzing, no_main)]

use ca::token::BoundObject;
use ca::{
    Caller, Identity, Issuer, NodeAuthorizer, PodIndex, Refusal, Root, RunningPod, SigningRequest,
    SystemEntropy, TrustDomain, TtlPolicy,
};
use prost::Message;
use proto::citadel::IstioCertificateRequest;
use rustls_pki_types::UnixTime;
use std::sync::LazyLock;
use std::time::Duration;

/// Who calls.
const OWN: &str = "spiffe://cluster.local/ns/istio-system/sa/ztunnel";

struct Authority {
    authorizer: NodeAuthorizer,
    pods: PodIndex,
    caller: Caller,
    issuer: Issuer,
    now: UnixTime,
}

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
    let domain = TrustDomain::parse("cluster.local").expect("a trust domain");
    let authorizer = NodeAuthorizer::new("istio-system/ztunnel", [domain]).expect("accounts");
    let mut pods = PodIndex::default();
    let pod = |uid: &'static str, service_account, node, is_gone| RunningPod {
        uid: uid.into(),
        service_account,
        node,
        is_gone,
    };
    pods.put("istio-system", "z", pod("uid-z", "ztunnel", "n1", false));
    pods.put("shop", "web", pod("uid-web", "web", "n1", false));
    pods.put("shop", "old", pod("uid-old", "old", "n1", true));
    pods.put("shop", "db", pod("uid-db", "db", "n2", false));
    let caller = Caller {
        namespace: "istio-system".to_owned(),
        service_account: "ztunnel".to_owned(),
        pod: Some(BoundObject { name: "z".to_owned(), uid: "uid-z".to_owned() }),
        node: Some("n1".to_owned()),
    };
    let life = Duration::from_secs(3600 * 24 * 365);
    let root = Root::create("cluster.local", life, now, &SystemEntropy).expect("a root");
    let issuer = Issuer::self_signed(&root, TtlPolicy::default()).expect("an issuer");
    Authority { authorizer, pods, caller, issuer, now }
});

pilothouse_fuzz::target!(|input: &[u8]| {
    let authority = &*AUTHORITY;
    let Ok(request) = IstioCertificateRequest::decode(input) else { return };
    let requested = request.impersonated_identity();
    let identity = match authority.authorizer.authorize(&authority.caller, requested, &authority.pods) {
        Ok(identity) => {
            let on_node = ["spiffe://cluster.local/ns/shop/sa/web", OWN];
            assert!(on_node.contains(&identity.to_string().as_str()), "{identity} is not on the node");
            identity
        }
        Err(denial) => {
            assert!(!denial.reason().is_empty());
            Identity::parse(OWN).expect("an identity")
        }
    };
    let Ok(signing) = SigningRequest::from_pem(&request.csr) else { return };
    let validity = request.validity_duration;
    if let Ok(issued) = authority.issuer.issue(&signing, &identity, validity, authority.now, &SystemEntropy) {
        assert!(issued.validity.not_after.as_secs() > authority.now.as_secs());
        assert_eq!(issued.chain.len(), 2);
    }
});
