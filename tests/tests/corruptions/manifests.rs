//! The good manifests: policies and settings in every style that people write.

/// The files by their names; what a name begins with tells what is damaged how often.
pub const FILES: &[(&str, &str)] = &[
    ("namespaces.yaml", NAMESPACES),
    ("accounts.yaml", ACCOUNTS),
    ("workloads.yaml", WORKLOADS),
    ("settings-block.yaml", SETTINGS),
    ("policy-block.yaml", BLOCK),
    ("policy-flow.yaml", FLOW),
    ("policy-list.yaml", LIST),
    ("policy-json.json", JSON),
    ("policy-strict.yaml", STRICT),
    ("policy-ports.yaml", PORTS),
];

const NAMESPACES: &str = r"apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    istio.io/dataplane-mode: ambient
---
apiVersion: v1
kind: Namespace
metadata:
  name: far
  labels:
    istio.io/dataplane-mode: ambient
---
apiVersion: v1
kind: Namespace
metadata:
  name: istio-config
";

const ACCOUNTS: &str = r"apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: db, namespace: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: client, namespace: far}
";

const WORKLOADS: &str = r"apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 1
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: web
        ports:
        - {name: http, containerPort: 8080}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      serviceAccountName: db
      containers: [{name: db, image: db, ports: [{containerPort: 5432}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: far}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      serviceAccountName: client
      containers: [{name: client, image: client}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: batch, namespace: far}
spec:
  selector: {matchLabels: {app: batch}}
  template:
    metadata: {labels: {app: batch}}
    spec:
      containers: [{name: batch, image: batch}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}]
";

const SETTINGS: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: istio
  namespace: istio-system
data:
  mesh: |
    rootNamespace: istio-config
    trustDomain: corp.test
    trustDomainAliases: ["old.test"]
"#;

const BLOCK: &str = r#"apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: web-callers
  namespace: shop
spec:
  selector:
    matchLabels:
      app: web
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["corp.test/ns/far/sa/client"]
    to:
    - operation:
        ports: ["8080"]
  - from:
    - source:
        namespaces: ["shop"]
        notIpBlocks: ["192.0.2.0/24"]
    when:
    - key: destination.port
      values: ["8080", "9090"]
"#;

const FLOW: &str = r#"apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: db-deny, namespace: shop}
spec:
  selector: {matchLabels: {app: db}}
  action: DENY
  rules:
  - from: [{source: {notPrincipals: ["corp.test/ns/shop/sa/web"]}}]
  - to: [{operation: {notPorts: ["5432"]}}]
"#;

const LIST: &str = r#"apiVersion: v1
kind: List
items:
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata:
    name: nobody-from-outside
    namespace: istio-config
  spec:
    action: DENY
    rules:
    - from:
      - source:
          ipBlocks: ["192.0.2.0/24"]
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata: {name: batch-is-shut, namespace: far}
  spec: {selector: {matchLabels: {app: batch}}, action: DENY, rules: [{from: [{source: {namespaces: ["shop", "far"]}}]}]}
"#;

const JSON: &str = r#"{
  "apiVersion": "security.istio.io/v1",
  "kind": "AuthorizationPolicy",
  "metadata": {"name": "client-callers", "namespace": "far"},
  "spec": {
    "selector": {"matchLabels": {"app": "client"}},
    "rules": [
      {"from": [{"source": {"serviceAccounts": ["shop/web"]}}], "to": [{"operation": {"ports": ["9090"]}}]}
    ]
  }
}
"#;

const STRICT: &str = r"apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: istio-config
spec:
  mtls:
    mode: STRICT
";

const PORTS: &str = r#"apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: batch, namespace: far}
spec:
  selector: {matchLabels: {app: batch}}
  mtls: {mode: STRICT}
  portLevelMtls:
    "9090": {mode: PERMISSIVE}
"#;
