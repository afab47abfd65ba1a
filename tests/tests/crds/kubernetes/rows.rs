//! The rows of the table: a kind, a merge patch of its good object, and who refuses what becomes of it.

/// What is expected of an API server and of a folder.
#[derive(Debug)]
pub enum Expected {
    /// Both take it.
    Accepted,
    /// Both refuse it, and name this field.
    Refused(&'static str),
    /// The API server refuses it and names this field; no mesh depends on it, and a folder takes it.
    ByServerOnly(&'static str),
}

use Expected::{Accepted, ByServerOnly, Refused};

/// A good object of each kind.
pub const BASES: &str = r"
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: web, image: web, ports: [{name: http, containerPort: 8080}]}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}]
ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec: {serviceName: web, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: web}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: web}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: web}
spec: {schedule: '0 1 * * *', jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: web}]}}}}}
---
{apiVersion: v1, kind: ReplicationController, metadata: {name: web}, spec: {selector: {app: web}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: istio}, data: {mesh: ''}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: some}}
---
{apiVersion: v1, kind: Node, metadata: {name: some}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: some}, spec: {controllerName: istio.io/mesh-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: way}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: entry}, spec: {hosts: [a.test], resolution: STATIC, ports: [{name: http, number: 80}]}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: entry}, spec: {address: 192.0.2.1}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: peer}, spec: {mtls: {mode: STRICT}}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: policy}, spec: {rules: [{}]}}
";

/// Single objects.
pub const ROWS: &[(&str, &str, Expected)] = &[
    // Service: ports
    ("Service", "{spec: {ports: [{port: 0}]}}", Refused("spec.ports[0].port")),
    ("Service", "{spec: {ports: [{port: -1}]}}", Refused("spec.ports[0].port")),
    ("Service", "{spec: {ports: [{port: 1}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 65535}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 65536}]}}", Refused("spec.ports[0].port")),
    ("Service", "{spec: {ports: [{name: a}]}}", Refused("spec.ports[0].port")),
    ("Service", "{spec: {ports: [{port: '80'}]}}", Refused("spec.ports[0].port")),
    ("Service", "{spec: {ports: [{port: 80.5}]}}", Refused("spec.ports[0].port")),
    ("Service", "{spec: {ports: []}}", Refused("spec.ports")),
    ("Service", "{spec: {ports: null}}", Refused("spec.ports")),
    ("Service", "{spec: {ports: null, clusterIP: None}}", Accepted),
    ("Service", "{spec: {ports: [{port: 80}, {port: 81}]}}", Refused("spec.ports[0].name")),
    ("Service", "{spec: {ports: [{name: a, port: 80}, {port: 81}]}}", Refused("spec.ports[1].name")),
    ("Service", "{spec: {ports: [{name: a, port: 80}, {name: a, port: 81}]}}", Refused("spec.ports[1].name")),
    ("Service", "{spec: {ports: [{name: a, port: 80}, {name: b, port: 80}]}}", Refused("spec.ports[1]")),
    ("Service", "{spec: {ports: [{name: a, port: 80}, {name: b, port: 80, protocol: UDP}]}}", Accepted),
    ("Service", "{spec: {ports: [{name: A, port: 80}]}}", Refused("spec.ports[0].name")),
    ("Service", "{spec: {ports: [{name: a.b, port: 80}]}}", Refused("spec.ports[0].name")),
    ("Service", "{spec: {ports: [{name: a-name-of-more-than-fifteen-letters, port: 80}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 80, protocol: tcp}]}}", Refused("spec.ports[0].protocol")),
    ("Service", "{spec: {ports: [{port: 80, protocol: HTTP}]}}", Refused("spec.ports[0].protocol")),
    ("Service", "{spec: {ports: [{port: 80, protocol: SCTP}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 80, targetPort: 0}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 80, targetPort: ''}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 80, targetPort: -1}]}}", Refused("spec.ports[0].targetPort")),
    ("Service", "{spec: {ports: [{port: 80, targetPort: 65536}]}}", Refused("spec.ports[0].targetPort")),
    ("Service", "{spec: {ports: [{port: 80, targetPort: '80'}]}}", Refused("spec.ports[0].targetPort")),
    ("Service", "{spec: {ports: [{port: 80, targetPort: HTTP}]}}", Refused("spec.ports[0].targetPort")),
    ("Service", "{spec: {ports: [{port: 80, targetPort: a--b}]}}", Refused("spec.ports[0].targetPort")),
    ("Service", "{spec: {ports: [{port: 80, targetPort: a-name-of-more}]}}", Accepted),
    (
        "Service",
        "{spec: {ports: [{port: 80, targetPort: a-name-of-more-than}]}}",
        Refused("spec.ports[0].targetPort"),
    ),
    ("Service", "{spec: {ports: [{port: 80, appProtocol: kubernetes.io/h2c}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 80, appProtocol: HTTP}]}}", Accepted),
    ("Service", "{spec: {ports: [{port: 80, appProtocol: 'a b'}]}}", Refused("spec.ports[0].appProtocol")),
    ("Service", "{spec: {ports: [{port: 80, nodePort: 30000}]}}", Refused("spec.ports[0].nodePort")),
    ("Service", "{spec: {type: NodePort, ports: [{port: 80, nodePort: 80}]}}", Accepted),
    // Service: type and addresses
    ("Service", "{spec: {type: clusterIP}}", Refused("spec.type")),
    ("Service", "{spec: {type: ''}}", Accepted),
    ("Service", "{spec: {type: ExternalName}}", Refused("spec.externalName")),
    ("Service", "{spec: {type: ExternalName, externalName: a.test}}", Accepted),
    ("Service", "{spec: {type: ExternalName, externalName: a.test.}}", Accepted),
    ("Service", "{spec: {type: ExternalName, externalName: 'a b'}}", Refused("spec.externalName")),
    ("Service", "{spec: {type: ExternalName, externalName: A.test}}", Refused("spec.externalName")),
    (
        "Service",
        "{spec: {type: ExternalName, externalName: a.test, clusterIP: 10.0.0.9}}",
        Refused("spec.clusterIPs"),
    ),
    ("Service", "{spec: {clusterIP: none}}", Refused("spec.clusterIPs[0]")),
    ("Service", "{spec: {clusterIP: 10.0.0.256}}", Refused("spec.clusterIPs[0]")),
    ("Service", "{spec: {clusterIP: ''}}", Accepted),
    ("Service", "{spec: {clusterIP: None, type: NodePort}}", Refused("spec.clusterIPs[0]")),
    ("Service", "{spec: {clusterIP: None, type: LoadBalancer}}", Refused("spec.clusterIPs[0]")),
    ("Service", "{spec: {clusterIP: None, clusterIPs: [None, '::1']}}", Refused("spec.clusterIPs")),
    ("Service", "{spec: {clusterIPs: [None]}}", Refused("spec.clusterIPs")),
    ("Service", "{spec: {externalIPs: [192.0.2.1]}}", Accepted),
    ("Service", "{spec: {externalIPs: [a]}}", Refused("spec.externalIPs[0]")),
    ("Service", "{spec: {externalIPs: [127.0.0.1]}}", Refused("spec.externalIPs[0]")),
    ("Service", "{spec: {externalIPs: [0.0.0.0]}}", Refused("spec.externalIPs[0]")),
    ("Service", "{spec: {externalIPs: [169.254.0.1]}}", Refused("spec.externalIPs[0]")),
    ("Service", "{spec: {externalIPs: [224.0.0.1]}}", Refused("spec.externalIPs[0]")),
    ("Service", "{spec: {externalIPs: ['']}}", Refused("spec.externalIPs[0]")),
    ("Service", "{spec: {selector: {app: 'a b'}}}", Refused("spec.selector")),
    ("Service", "{spec: {selector: {'a b': app}}}", Refused("spec.selector")),
    ("Service", "{spec: {sessionAffinity: client}}", Refused("spec.sessionAffinity")),
    ("Service", "{spec: {internalTrafficPolicy: local}}", Refused("spec.internalTrafficPolicy")),
    (
        "Service",
        "{spec: {type: NodePort, externalTrafficPolicy: local}}",
        Refused("spec.externalTrafficPolicy"),
    ),
    ("Service", "{spec: {externalTrafficPolicy: Local}}", Refused("spec.externalTrafficPolicy")),
    ("Service", "{spec: {trafficDistribution: close}}", Refused("spec.trafficDistribution")),
    ("Service", "{spec: {ipFamilies: [IPv5]}}", Refused("spec.ipFamilies[0]")),
    ("Service", "{spec: {ipFamilies: [IPv4, IPv4]}}", Refused("spec.ipFamilies[1]")),
    ("Service", "{spec: {ipFamilyPolicy: Dual}}", Refused("spec.ipFamilyPolicy")),
    ("Service", "{spec: {loadBalancerClass: a/b}}", ByServerOnly("spec.loadBalancerClass")),
    ("Service", "{spec: {sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}}}", Accepted),
    // names, labels and annotations
    ("Service", "{metadata: {name: 1web}}", Accepted),
    ("Service", "{metadata: {name: a.b}}", Refused("metadata.name")),
    ("Service", "{metadata: {name: A}}", Refused("metadata.name")),
    ("Service", "{metadata: {name: '-a'}}", Refused("metadata.name")),
    ("Service", "{metadata: {labels: {a: 'b c'}}}", Refused("metadata.labels")),
    ("Service", "{metadata: {labels: {'a b': c}}}", Refused("metadata.labels")),
    ("Service", "{metadata: {labels: {a/b/c: d}}}", Refused("metadata.labels")),
    ("Service", "{metadata: {labels: {A.b/c: d}}}", Refused("metadata.labels")),
    ("Service", "{metadata: {labels: {a: ''}}}", Accepted),
    ("Service", "{metadata: {labels: {a: 1}}}", Refused("metadata.labels")),
    ("Service", "{metadata: {annotations: {'a b': c}}}", Refused("metadata.annotations")),
    ("Service", "{metadata: {annotations: {A.b/c: 'any thing'}}}", Accepted),
    ("Service", "{metadata: {annotations: {a: true}}}", Refused("metadata.annotations")),
    (
        "Service",
        "{metadata: {ownerReferences: [{apiVersion: v1, kind: Pod, name: a}]}}",
        Refused("metadata.ownerReferences[0].uid"),
    ),
    ("Service", "{metadata: {creationTimestamp: yesterday}}", Refused("metadata.creationTimestamp")),
    ("Namespace", "{metadata: {name: a.b}}", Refused("metadata.name")),
    ("Namespace", "{metadata: {labels: {istio.io/dataplane-mode: 'a b'}}}", Refused("metadata.labels")),
    ("ServiceAccount", "{metadata: {name: A}}", Refused("metadata.name")),
    ("ServiceAccount", "{metadata: {name: a.b}}", Accepted),
    ("Node", "{metadata: {name: A}}", Refused("metadata.name")),
    ("Node", "{metadata: {labels: {topology.kubernetes.io/zone: 'a b'}}}", Refused("metadata.labels")),
    ("ConfigMap", "{data: {'a b': c}}", Refused("data[a b]")),
    ("ConfigMap", "{data: {..: c}}", Refused("data[..]")),
    ("ConfigMap", "{data: {a: 1}}", Refused("data.a")),
    ("ConfigMap", "{data: {mesh: {a: b}}}", Refused("data.mesh")),
    ("ConfigMap", "{binaryData: {mesh: YQ==}}", Refused("data[mesh]")),
    // EndpointSlice
    ("EndpointSlice", "{addressType: null}", Refused("addressType")),
    ("EndpointSlice", "{addressType: IPV4}", Refused("addressType")),
    ("EndpointSlice", "{addressType: IPv6}", Refused("endpoints[0].addresses")),
    ("EndpointSlice", "{endpoints: []}", Accepted),
    ("EndpointSlice", "{endpoints: null}", Accepted),
    ("EndpointSlice", "{endpoints: [{addresses: []}]}", Refused("endpoints[0].addresses")),
    ("EndpointSlice", "{endpoints: [{}]}", Refused("endpoints[0].addresses")),
    ("EndpointSlice", "{endpoints: [{addresses: ['::1']}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: [10.0.0.256]}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: ['10.0.0.1:80']}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: [010.0.0.1]}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: [127.0.0.1]}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: [0.0.0.0]}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: [169.254.1.1]}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: [224.0.0.1]}]}", Refused("endpoints[0].addresses[0]")),
    ("EndpointSlice", "{endpoints: [{addresses: [239.0.0.1]}]}", Accepted),
    (
        "EndpointSlice",
        "{addressType: IPv6, endpoints: [{addresses: ['ff02::1']}]}",
        Refused("endpoints[0].addresses[0]"),
    ),
    (
        "EndpointSlice",
        "{addressType: IPv6, endpoints: [{addresses: ['fe80::1']}]}",
        Refused("endpoints[0].addresses[0]"),
    ),
    (
        "EndpointSlice",
        "{addressType: IPv6, endpoints: [{addresses: ['::ffff:10.0.0.1']}]}",
        Refused("endpoints[0].addresses[0]"),
    ),
    ("EndpointSlice", "{addressType: FQDN, endpoints: [{addresses: [a.test]}]}", Accepted),
    (
        "EndpointSlice",
        "{addressType: FQDN, endpoints: [{addresses: ['a b']}]}",
        Refused("endpoints[0].addresses[0]"),
    ),
    (
        "EndpointSlice",
        "{endpoints: [{addresses: [10.0.0.1], hostname: a.b}]}",
        Refused("endpoints[0].hostname"),
    ),
    (
        "EndpointSlice",
        "{endpoints: [{addresses: [10.0.0.1], nodeName: 'a b'}]}",
        Refused("endpoints[0].nodeName"),
    ),
    ("EndpointSlice", "{endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod}}]}", Accepted),
    ("EndpointSlice", "{ports: [{name: http, port: 0}]}", Accepted),
    ("EndpointSlice", "{ports: [{name: http, port: 65536}]}", Accepted),
    ("EndpointSlice", "{ports: [{name: a, port: 1}, {name: a, port: 2}]}", Refused("ports[1].name")),
    ("EndpointSlice", "{ports: [{port: 1}, {port: 2}]}", Refused("ports[1].name")),
    ("EndpointSlice", "{ports: [{name: A, port: 1}]}", Refused("ports[0].name")),
    ("EndpointSlice", "{ports: [{name: a, port: 1, protocol: tcp}]}", Refused("ports[0].protocol")),
    ("EndpointSlice", "{ports: [{name: a, port: 1, appProtocol: 'a b'}]}", Refused("ports[0].appProtocol")),
    // Pod
    ("Pod", "{spec: {containers: []}}", Refused("spec.containers")),
    ("Pod", "{spec: {containers: null}}", Refused("spec.containers")),
    ("Pod", "{spec: {containers: [{image: a}]}}", Refused("spec.containers[0].name")),
    ("Pod", "{spec: {containers: [{name: a}]}}", Refused("spec.containers[0].image")),
    ("Pod", "{spec: {containers: [{name: A, image: a}]}}", Refused("spec.containers[0].name")),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a}, {name: a, image: a}]}}",
        Refused("spec.containers[1].name"),
    ),
    ("Pod", "{spec: {initContainers: [{name: web, image: a}]}}", Refused("spec.initContainers[0].name")),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{}]}]}}",
        Refused("spec.containers[0].ports[0].containerPort"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 0}]}]}}",
        Refused("spec.containers[0].ports[0].containerPort"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 65536}]}]}}",
        Refused("spec.containers[0].ports[0].containerPort"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 1, hostPort: 65536}]}]}}",
        Refused("spec.containers[0].ports[0].hostPort"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 1, protocol: tcp}]}]}}",
        Refused("spec.containers[0].ports[0].protocol"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 1, name: HTTP}]}]}}",
        Refused("spec.containers[0].ports[0].name"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 1, name: a-name-of-more-than}]}]}}",
        Refused("spec.containers[0].ports[0].name"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 1, name: a}, {containerPort: 2, name: a}]}]}}",
        Refused("spec.containers[0].ports[1].name"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, ports: [{containerPort: 1}, {containerPort: 1}]}]}}",
        Accepted,
    ),
    (
        "Pod",
        "{spec: {hostNetwork: true, containers: [{name: a, image: a, ports: [{containerPort: 1, hostPort: 2}]}]}}",
        Refused("spec.containers[0].ports[0].hostPort"),
    ),
    ("Pod", "{spec: {restartPolicy: always}}", Refused("spec.restartPolicy")),
    ("Pod", "{spec: {dnsPolicy: none}}", Refused("spec.dnsPolicy")),
    (
        "Deployment",
        "{spec: {template: {spec: {serviceAccountName: A}}}}",
        Refused("spec.template.spec.serviceAccountName"),
    ),
    ("Pod", "{spec: {nodeName: 'a b'}}", Refused("spec.nodeName")),
    ("Pod", "{spec: {hostname: a.b}}", Refused("spec.hostname")),
    ("Pod", "{spec: {subdomain: A}}", Refused("spec.subdomain")),
    ("Pod", "{spec: {nodeSelector: {a: 'b c'}}}", Refused("spec.nodeSelector")),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, imagePullPolicy: always}]}}",
        Refused("spec.containers[0].imagePullPolicy"),
    ),
    ("Pod", "{spec: {containers: [{name: a, image: ' a'}]}}", ByServerOnly("spec.containers[0].image")),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, env: [{value: b}]}]}}",
        Refused("spec.containers[0].env[0].name"),
    ),
    (
        "Pod",
        "{spec: {containers: [{name: a, image: a, volumeMounts: [{name: v, mountPath: /v}]}]}}",
        ByServerOnly("spec.containers[0].volumeMounts[0].name"),
    ),
    ("Pod", "{spec: {activeDeadlineSeconds: 0}}", ByServerOnly("spec.activeDeadlineSeconds")),
    // controllers
    ("Deployment", "{spec: {replicas: -1}}", Refused("spec.replicas")),
    ("Deployment", "{spec: {replicas: 0}}", Accepted),
    ("Deployment", "{spec: {replicas: '1'}}", Refused("spec.replicas")),
    ("Deployment", "{spec: {selector: null}}", Refused("spec.selector")),
    ("Deployment", "{spec: {selector: {matchLabels: null}}}", Refused("spec.selector")),
    ("Deployment", "{spec: {selector: {matchLabels: {app: api}}}}", Refused("spec.template.metadata.labels")),
    ("Deployment", "{spec: {selector: {matchLabels: {app: 'a b'}}}}", Refused("spec.selector.matchLabels")),
    (
        "Deployment",
        "{spec: {selector: {matchExpressions: [{key: app, operator: In, values: [api]}]}}}",
        Refused("spec.template.metadata.labels"),
    ),
    (
        "Deployment",
        "{spec: {selector: {matchExpressions: [{key: app, operator: In}]}}}",
        Refused("spec.selector.matchExpressions[0].values"),
    ),
    (
        "Deployment",
        "{spec: {selector: {matchExpressions: [{key: app, operator: Exists, values: [a]}]}}}",
        Refused("spec.selector.matchExpressions[0].values"),
    ),
    (
        "Deployment",
        "{spec: {selector: {matchExpressions: [{key: app, operator: Is, values: [a]}]}}}",
        Refused("spec.selector.matchExpressions[0].operator"),
    ),
    (
        "Deployment",
        "{spec: {template: {metadata: {labels: null}}}}",
        Refused("spec.template.metadata.labels"),
    ),
    (
        "Deployment",
        "{spec: {template: {spec: {restartPolicy: Never}}}}",
        Refused("spec.template.spec.restartPolicy"),
    ),
    (
        "Deployment",
        "{spec: {template: {spec: {containers: null}}}}",
        Refused("spec.template.spec.containers"),
    ),
    ("Deployment", "{spec: {template: null}}", Refused("spec.template.metadata.labels")),
    ("Deployment", "{spec: null}", Refused("spec.selector")),
    ("Deployment", "{spec: {strategy: {type: Roll}}}", ByServerOnly("spec.strategy")),
    ("Deployment", "{spec: {minReadySeconds: -1}}", ByServerOnly("spec.minReadySeconds")),
    ("ReplicaSet", "{spec: {replicas: -1}}", Refused("spec.replicas")),
    ("ReplicaSet", "{spec: {selector: {matchLabels: {app: api}}}}", Refused("spec.template.metadata.labels")),
    ("ReplicationController", "{spec: {replicas: -1}}", Refused("spec.replicas")),
    ("ReplicationController", "{spec: {selector: {app: api}}}", Refused("spec.template.metadata.labels")),
    ("DaemonSet", "{spec: {selector: {matchLabels: {app: api}}}}", Refused("spec.template.metadata.labels")),
    (
        "DaemonSet",
        "{spec: {template: {spec: {restartPolicy: OnFailure}}}}",
        Refused("spec.template.spec.restartPolicy"),
    ),
    ("StatefulSet", "{spec: {replicas: -1}}", Refused("spec.replicas")),
    ("StatefulSet", "{spec: {serviceName: null}}", Accepted),
    ("StatefulSet", "{spec: {podManagementPolicy: parallel}}", Refused("spec.podManagementPolicy")),
    ("StatefulSet", "{spec: {ordinals: {start: -1}}}", Refused("spec.ordinals.start")),
    ("Job", "{spec: {parallelism: -1}}", Refused("spec.parallelism")),
    ("Job", "{spec: {completions: -1}}", Refused("spec.completions")),
    (
        "Job",
        "{spec: {template: {spec: {restartPolicy: Always}}}}",
        Refused("spec.template.spec.restartPolicy"),
    ),
    ("Job", "{spec: {template: {spec: {restartPolicy: null}}}}", Refused("spec.template.spec.restartPolicy")),
    ("CronJob", "{spec: {schedule: null}}", Refused("spec.schedule")),
    ("CronJob", "{spec: {schedule: often}}", ByServerOnly("spec.schedule")),
    (
        "CronJob",
        "{spec: {jobTemplate: {spec: {template: {spec: {restartPolicy: Always}}}}}}",
        Refused("spec.jobTemplate.spec.template.spec.restartPolicy"),
    ),
    // kinds of the Gateway API
    ("GatewayClass", "{spec: {controllerName: a}}", Refused("spec.controllerName")),
    ("GatewayClass", "{spec: {controllerName: null}}", Refused("spec.controllerName")),
    ("Gateway", "{spec: {gatewayClassName: ''}}", Refused("spec.gatewayClassName")),
    ("Gateway", "{spec: {listeners: []}}", Refused("spec.listeners")),
    (
        "Gateway",
        "{spec: {listeners: [{name: a, port: 0, protocol: HBONE}]}}",
        Refused("spec.listeners[0].port"),
    ),
    (
        "Gateway",
        "{spec: {listeners: [{name: a, port: 65536, protocol: HBONE}]}}",
        Refused("spec.listeners[0].port"),
    ),
    (
        "Gateway",
        "{spec: {listeners: [{name: A, port: 1, protocol: HBONE}]}}",
        Refused("spec.listeners[0].name"),
    ),
    ("Gateway", "{spec: {listeners: [{name: a, port: 1}]}}", Refused("spec.listeners[0].protocol")),
    (
        "Gateway",
        "{spec: {listeners: [{name: a, port: 1, protocol: 'a b'}]}}",
        Refused("spec.listeners[0].protocol"),
    ),
    (
        "Gateway",
        "{spec: {listeners: [{name: a, port: 1, protocol: HTTP, hostname: 'a b'}]}}",
        Refused("spec.listeners[0].hostname"),
    ),
    (
        "Gateway",
        "{spec: {listeners: [{name: a, port: 1, protocol: HBONE, allowedRoutes: {namespaces: {from: Some}}}]}}",
        Refused("spec.listeners[0].allowedRoutes.namespaces.from"),
    ),
    (
        "Gateway",
        "{spec: {listeners: [{name: a, port: 1, protocol: HBONE}, {name: a, port: 2, protocol: HBONE}]}}",
        Refused("spec.listeners[1]"),
    ),
    (
        "Gateway",
        "{spec: {listeners: [{name: a, port: 1, protocol: HTTP}, {name: b, port: 1, protocol: HTTP}]}}",
        Refused("spec.listeners"),
    ),
    // kinds of the mesh
    ("ServiceEntry", "{spec: {hosts: []}}", Refused("spec.hosts")),
    ("ServiceEntry", "{spec: {hosts: ['*']}}", Refused("spec.hosts[0]")),
    ("ServiceEntry", "{spec: {ports: [{name: a, number: 0}]}}", Refused("spec.ports[0].number")),
    ("ServiceEntry", "{spec: {ports: [{name: a, number: 65536}]}}", Refused("spec.ports[0].number")),
    ("ServiceEntry", "{spec: {ports: [{name: a, number: 1}, {name: b, number: 1}]}}", Refused("spec.ports")),
    ("ServiceEntry", "{spec: {resolution: static}}", Refused("spec.resolution")),
    (
        "ServiceEntry",
        "{spec: {endpoints: [{address: 192.0.2.1}], workloadSelector: {labels: {a: b}}}}",
        Refused("spec"),
    ),
    ("WorkloadEntry", "{spec: {ports: {http: 0}}}", Refused("spec.ports.http")),
    ("WorkloadEntry", "{spec: {address: null}}", Refused("spec")),
    ("PeerAuthentication", "{spec: {mtls: {mode: strict}}}", Refused("spec.mtls.mode")),
    ("PeerAuthentication", "{spec: {portLevelMtls: {'80': {mode: STRICT}}}}", Refused("spec")),
    (
        "PeerAuthentication",
        "{spec: {selector: {matchLabels: {a: b}}, portLevelMtls: {'0': {mode: STRICT}}}}",
        Refused("spec.portLevelMtls"),
    ),
    ("AuthorizationPolicy", "{spec: {action: Deny}}", Refused("spec.action")),
    (
        "AuthorizationPolicy",
        "{spec: {selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a, group: ''}]}}",
        Refused("spec"),
    ),
];

/// A kind, patches of its good object before and after, and who refuses the change.
pub const CHANGES: &[(&str, &str, &str, Expected)] = &[
    ("Service", "{spec: {clusterIP: None}}", "{spec: {clusterIP: ''}}", Accepted),
    ("Service", "{}", "{spec: {clusterIP: None}}", Refused("spec.clusterIPs[0]")),
    ("Service", "{}", "{spec: {type: NodePort}}", Accepted),
    ("Service", "{}", "{spec: {type: ExternalName, externalName: a.test}}", Accepted),
    ("Service", "{}", "{spec: {selector: {app: api}, ports: [{name: http, port: 81}]}}", Accepted),
    (
        "EndpointSlice",
        "{}",
        "{addressType: FQDN, endpoints: [{addresses: [a.test]}]}",
        Refused("addressType"),
    ),
    (
        "EndpointSlice",
        "{}",
        "{endpoints: [{addresses: [10.1.0.2]}], ports: [{name: http, port: 81}]}",
        Accepted,
    ),
    ("ConfigMap", "{immutable: true}", "{immutable: true, data: {mesh: 'a: b'}}", Refused("data")),
    ("ConfigMap", "{immutable: true}", "{immutable: false}", Refused("immutable")),
    ("ConfigMap", "{immutable: true}", "{immutable: true, metadata: {labels: {a: b}}}", Accepted),
    ("ConfigMap", "{}", "{data: {mesh: 'a: b'}}", Accepted),
    ("Pod", "{}", "{spec: {serviceAccountName: other}}", Refused("spec")),
    ("Pod", "{spec: {nodeName: one}}", "{spec: {nodeName: two}}", Refused("spec")),
    ("Pod", "{}", "{spec: {hostNetwork: true}}", Refused("spec")),
    ("Pod", "{}", "{spec: {restartPolicy: Never}}", Refused("spec")),
    (
        "Pod",
        "{}",
        "{spec: {containers: [{name: web, image: web, ports: [{name: http, containerPort: 81}]}]}}",
        Refused("spec"),
    ),
    (
        "Pod",
        "{}",
        "{spec: {containers: [{name: web, image: web:2, ports: [{name: http, containerPort: 8080}]}]}}",
        Accepted,
    ),
    ("Pod", "{}", "{metadata: {labels: {app: other}}}", Accepted),
    (
        "Deployment",
        "{}",
        "{spec: {selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}}}}",
        Refused("spec.selector"),
    ),
    ("Deployment", "{}", "{spec: {replicas: 3, template: {metadata: {labels: {version: v2}}}}}", Accepted),
    (
        "ReplicaSet",
        "{}",
        "{spec: {selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}}}}",
        Refused("spec.selector"),
    ),
    (
        "DaemonSet",
        "{}",
        "{spec: {selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}}}}",
        Refused("spec.selector"),
    ),
    (
        "StatefulSet",
        "{}",
        "{spec: {selector: {matchLabels: {app: api}}, template: {metadata: {labels: {app: api}}}}}",
        Refused("spec.selector"),
    ),
    ("StatefulSet", "{}", "{spec: {serviceName: other}}", Refused("spec.serviceName")),
    ("StatefulSet", "{}", "{spec: {podManagementPolicy: Parallel}}", Refused("spec.podManagementPolicy")),
    (
        "StatefulSet",
        "{}",
        "{spec: {replicas: 3, ordinals: {start: 1}, template: {metadata: {labels: {version: v2}}}}}",
        Accepted,
    ),
    (
        "ReplicationController",
        "{}",
        "{spec: {selector: {app: api}, template: {metadata: {labels: {app: api}}}}}",
        Accepted,
    ),
    ("Job", "{}", "{spec: {template: {metadata: {labels: {a: b}}}}}", Refused("spec.template")),
    ("Job", "{}", "{spec: {completionMode: Indexed, completions: 2}}", Refused("spec.completionMode")),
    ("Job", "{}", "{spec: {parallelism: 3}}", Accepted),
    ("CronJob", "{}", "{spec: {jobTemplate: {spec: {parallelism: 3}}}}", Accepted),
    ("GatewayClass", "{}", "{spec: {controllerName: istio.io/other}}", Refused("spec.controllerName")),
    ("Gateway", "{}", "{spec: {gatewayClassName: other}}", Accepted),
    ("ServiceEntry", "{}", "{spec: {hosts: [b.test], resolution: NONE}}", Accepted),
];
