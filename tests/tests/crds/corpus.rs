//! Objects of the kinds in the chart that use every field, and what becomes of them by small changes.

use anyhow::Context;
use kube::api::DynamicObject;
use pilothouse_tests::apiserver::documents;
use serde_json::{Value, json};

const OBJECTS: &str = r"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: empty}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: without-spec}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-identity}
spec:
  action: ALLOW
  selector: {matchLabels: {app: web, tier: ''}}
  rules:
  - from:
    - source:
        principals: ['cluster.local/ns/shop/sa/cart', '*/sa/web', '*']
        notPrincipals: ['cluster.local/ns/shop/sa/old']
        requestPrincipals: ['issuer.test/*']
        notRequestPrincipals: ['issuer.test/nobody']
        namespaces: [shop, 'test-*']
        notNamespaces: [old]
        ipBlocks: [10.0.0.0/8, '2001:db8::/32', 192.0.2.7]
        notIpBlocks: [10.1.0.0/16]
        remoteIpBlocks: [192.0.2.0/24]
        notRemoteIpBlocks: [192.0.2.1]
    - source: {}
    to:
    - operation:
        hosts: [shop.test, '*.test']
        notHosts: [old.test]
        ports: ['80', '443']
        notPorts: ['8080']
        methods: [GET, HEAD]
        notMethods: [DELETE]
        paths: [/cart, '/api/*', '/{*}/status']
        notPaths: [/admin]
    when:
    - key: source.ip
      values: [10.0.0.0/8]
      notValues: [10.1.0.0/16]
    - key: request.headers[x-team]
      values: ['*']
  - {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-account}
spec:
  action: DENY
  rules:
  - from:
    - source:
        serviceAccounts: [cart, shop/web]
        notServiceAccounts: [shop/old]
        trustDomains: [cluster.local, '*.test']
        notTrustDomains: [old.test]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-targets}
spec:
  action: AUDIT
  targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}
  - {group: '', kind: Service, name: web, namespace: ''}
  rules: []
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: by-target}
spec:
  action: CUSTOM
  provider: {name: checker}
  targetRef: {kind: Service, name: web}
  rules: [{to: [{operation: {paths: [/login]}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ports}
spec:
  selector: {matchLabels: {app: web}}
  mtls: {mode: UNSET}
  portLevelMtls:
    '8080': {mode: DISABLE}
    '65535': {mode: PERMISSIVE}
    '1': {}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: without-spec}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: minimal}
spec: {hosts: [api.test]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: static}
spec:
  hosts: [db.test, '*.db.test']
  addresses: [240.0.0.1, 10.9.0.0/16, '2001:db8::1']
  ports:
  - {name: tcp, number: 5432, protocol: TCP, targetPort: 15432}
  - {name: web, number: 80}
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - address: 192.0.2.1
    ports: {tcp: 6432, web: 8080}
    labels: {app: db, version: v1}
    network: net-1
    locality: region/zone/sub
    weight: 10
    serviceAccount: db
  - {address: 'unix:///var/run/db.sock'}
  - {address: 'unix://@db'}
  - {network: net-2}
  exportTo: ['.', '*', shop]
  subjectAltNames: ['spiffe://cluster.local/ns/db/sa/db']
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: selecting}
spec:
  hosts: [vm.test]
  ports: [{name: http, number: 80, protocol: HTTP}]
  location: MESH_EXTERNAL
  resolution: NONE
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: by-dns}
spec:
  hosts: [a.test, b.test]
  ports: [{name: tls, number: 443, protocol: TLS}]
  resolution: DNS_ROUND_ROBIN
  endpoints: [{address: one.test}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: by-request}
spec:
  hosts: ['*.wild.test']
  ports: [{name: tls, number: 443, protocol: TLS}]
  resolution: DYNAMIC_DNS
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec:
  address: 192.0.2.9
  ports: {http: 8080, grpc-web: 65535}
  labels: {app: vm, empty: ''}
  network: net-1
  locality: region/zone
  weight: 0
  serviceAccount: vm
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: elsewhere}
spec: {network: net-2}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: socket}
spec: {address: 'unix:///run/vm.sock'}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: empty}
spec: {}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: requests}
spec:
  hosts: [web, '*.example.org']
  gateways: [mesh, infra/gateway]
  exportTo: ['.']
  http:
  - name: first
    match:
    - uri: {prefix: /a}
      method: {exact: GET}
      headers: {x-user: {regex: 'j.*'}, x-any: {}}
      port: 80
      sourceLabels: {app: web}
    route:
    - {destination: {host: web, subset: v1, port: {number: 80}}, weight: 90, headers: {request: {set: {a: b}}}}
    - {destination: {host: web}, weight: 10}
    timeout: 1.5s
    retries: {attempts: 3, perTryTimeout: 1s, retryRemoteLocalities: true}
    fault: {delay: {percentage: {value: 0.5}, fixedDelay: 5s}, abort: {httpStatus: 503}}
    corsPolicy: {allowOrigins: [{exact: 'https://a.test'}], maxAge: 24h, allowCredentials: null}
    mirror: {host: web}
    mirrorPercent: 10
  - redirect: {uri: /b, derivePort: FROM_REQUEST_PORT}
  - directResponse: {status: 503, body: {string: no}}
  - delegate: {name: other}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: streams}
spec:
  hosts: [db.example.org]
  tls: [{match: [{sniHosts: [db.example.org], port: 443}], route: [{destination: {host: db}}]}]
  tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: db}, weight: 1}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  workloadSelector: {matchLabels: {app: web}}
  trafficPolicy:
    loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 1s}}, localityLbSetting: {enabled: null, distribute: [{to: {a: 1}}]}}
    connectionPool: {tcp: {maxConnections: 1, connectTimeout: 1s}, http: {h2UpgradePolicy: UPGRADE}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, outlierDetectionHttpErrorCodes: [500]}
    portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, credentialName: a}}]
    retryBudget: {percent: 20.5}
    proxyProtocol: {version: V2}
    tunnel: {targetHost: a, targetPort: 80}
  subsets:
  - {name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM, warmup: {duration: 1s, minimumPercent: 10}}}}
  exportTo: ['*']
";

/// Returns the objects, in the versions as they are written.
pub fn objects() -> anyhow::Result<Vec<DynamicObject>> {
    let read = |document| serde_json::from_value(document).context("an object of the corpus");
    documents(OBJECTS)?.into_iter().map(read).collect()
}

/// Returns what becomes of an object when one place of its spec is left out or has another value.
///
/// The values are those at which schemas and rules tend to draw a line. Some of the results are
/// nonsense: the question is only whether two API servers agree on them.
pub fn variants(object: &DynamicObject) -> Vec<DynamicObject> {
    let Some(spec) = object.data.get("spec") else { return Vec::new() };
    let mut changed = Vec::new();
    change("spec", spec, &mut |spec| changed.push(spec));
    let with = |spec| {
        let mut variant = object.clone();
        variant.data["spec"] = spec;
        variant
    };
    changed.into_iter().map(with).collect()
}

/// The fields that are maps, whose keys have rules as well.
const MAPS: [&str; 4] = ["labels", "matchLabels", "ports", "portLevelMtls"];

/// Calls `found` with the value of a field changed at one place, for every place and change.
fn change(field: &str, value: &Value, found: &mut dyn FnMut(Value)) {
    others(value).into_iter().for_each(&mut *found);
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let mut without = fields.clone();
                without.remove(name);
                found(Value::Object(without.clone()));
                let keys = ["", "*", "0", "65536", "x_y", "x-", &"k".repeat(62), &"k".repeat(63)];
                for key in keys.into_iter().filter(|_| MAPS.contains(&field)) {
                    let mut renamed = without.clone();
                    renamed.insert(key.to_owned(), inner.clone());
                    found(Value::Object(renamed));
                }
                change(name, inner, &mut |inner| {
                    let mut with = fields.clone();
                    with.insert(name.clone(), inner);
                    found(Value::Object(with));
                });
            }
        }
        Value::Array(items) => {
            for (n, inner) in items.iter().enumerate() {
                change("", inner, &mut |inner| {
                    let mut with = items.clone();
                    with[n] = inner;
                    found(Value::Array(with));
                });
            }
        }
        _ => {}
    }
}

/// Returns other values of the type of `value`.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::String(_) => {
            ["", "*", "a*b", "a/b", "10.0.0.0/8", "unix://", "unix:///", "unix://x", "unix://@x/"]
                .into_iter()
                .map(|text| json!(text))
                .chain([63, 64, 65, 253, 254, 256, 257, 320, 321, 2048, 2049].map(|n| json!("x".repeat(n))))
                .collect()
        }
        Value::Number(_) => {
            [-1, 0, 1, 65535, 65536, 4_294_967_295_i64, 4_294_967_296].map(|n| json!(n)).into()
        }
        Value::Array(items) => {
            let repeated = |n: usize| json!(items.iter().cycle().take(n).collect::<Vec<_>>());
            let mut all = vec![json!([])];
            if !items.is_empty() {
                all.extend([
                    repeated(items.len() + 1),
                    repeated(16),
                    repeated(17),
                    repeated(257),
                    repeated(513),
                ]);
            }
            all
        }
        Value::Object(_) => vec![json!({}), json!({"unknown": "field"})],
        Value::Bool(_) | Value::Null => Vec::new(),
    }
}
