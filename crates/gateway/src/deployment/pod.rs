//! The pod of a proxy: an upstream Envoy, whose bootstrap a container before it writes.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar,
    EnvVarSource, HTTPGetAction, KeyToPath, Lifecycle, LifecycleHandler, ObjectFieldSelector,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements,
    SeccompProfile, SecurityContext, ServiceAccountTokenProjection, SleepAction, Sysctl,
    TopologySpreadConstraint, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

use super::bootstrap::{self, BootstrapSetting};
use super::plan::{Plan, STATUS_PORT};
use crate::class::Class;

/// The name that the container has in istiod's pods, which logs, dashboards and overlays look for.
const CONTAINER: &str = "istio-proxy";
/// The user of both containers, as in istiod's pods.
const USER: i64 = 1337;
/// What Envoy reads first.
const BOOTSTRAP_FILE: &str = "/etc/istio/proxy/bootstrap.yaml";
const ROOT_FILE: &str = "/var/run/secrets/istio/root-cert.pem";
const TOKEN_FILE: &str = "/var/run/secrets/tokens/istio-token";
/// For whom the token is.
const AUDIENCE: &str = "istio-ca";
/// How long a token lives, in seconds; it is replaced before that.
const TOKEN_LIFE: i64 = 43_200;
/// How long a pod that is to go serves what is under way, in seconds: an Envoy that is told to end does so at once. A ztunnel
/// whose control plane was away hears of it within 15.
const DRAIN: i64 = 20;
/// How long it may take to end in all, in seconds.
const GRACE: i64 = DRAIN + 10;

/// What all pods have of the control plane.
pub(super) struct Common<'a> {
    /// `HOST:PORT` of secure xDS.
    pub xds: &'a str,
    pub pilothouse_image: &'a str,
    /// The ConfigMap with the roots of the mesh.
    pub root_config_map: &'a str,
}

/// Returns the template of the pods.
pub(super) fn template(plan: &Plan, common: &Common<'_>) -> PodTemplateSpec {
    let mut labels = map(&[
        ("istio.io/dataplane-mode", "none"),
        ("service.istio.io/canonical-name", &plan.name),
        ("service.istio.io/canonical-revision", "latest"),
        ("sidecar.istio.io/inject", "false"),
    ]);
    labels.extend(plan.labels.clone());
    let mut annotations = plan.annotations.clone();
    annotations.extend(map(&[
        ("istio.io/rev", &plan.revision),
        ("prometheus.io/path", "/stats/prometheus"),
        ("prometheus.io/port", "15020"),
        ("prometheus.io/scrape", "true"),
    ]));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(plan.account.clone()),
            // Nothing in the pod talks to the API server.
            automount_service_account_token: Some(false),
            security_context: Some(PodSecurityContext {
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                // Listeners may have any port.
                sysctls: (!plan.class.is_in_mesh()).then(|| {
                    vec![Sysctl {
                        name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
                        value: "0".to_owned(),
                    }]
                }),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(GRACE),
            init_containers: Some(vec![before(plan, common)]),
            containers: vec![envoy(plan)],
            topology_spread_constraints: Some(
                ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
                    .map(|key| TopologySpreadConstraint {
                        label_selector: Some(plan.selector()),
                        max_skew: 1,
                        topology_key: key.to_owned(),
                        when_unsatisfiable: "ScheduleAnyway".to_owned(),
                        ..TopologySpreadConstraint::default()
                    })
                    .to_vec(),
            ),
            volumes: Some(volumes(common)),
            ..PodSpec::default()
        }),
    }
}

/// The container that writes the bootstrap.
fn before(plan: &Plan, common: &Common<'_>) -> Container {
    let kind = if plan.class.is_in_mesh() { "waypoint" } else { "gateway" };
    Container {
        name: "bootstrap".to_owned(),
        image: Some(common.pilothouse_image.to_owned()),
        args: Some(vec![bootstrap::COMMAND.to_owned()]),
        env: Some(vec![
            value(bootstrap::KIND, kind),
            field(bootstrap::NAMESPACE, "metadata.namespace"),
            value(bootstrap::GATEWAY, &plan.gateway),
            field(bootstrap::POD, "metadata.name"),
            field(bootstrap::IP, "status.podIP"),
            field(bootstrap::SERVICE_ACCOUNT, "spec.serviceAccountName"),
            value(bootstrap::XDS, common.xds),
            value(bootstrap::ROOT_CERT, ROOT_FILE),
            value(bootstrap::TOKEN_FILE, TOKEN_FILE),
            value(bootstrap::FILE, BOOTSTRAP_FILE),
        ]),
        resources: Some(requests("10m", "32Mi")),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![
            mount("istio-envoy", "/etc/istio/proxy", false),
            mount("istiod-ca-cert", "/var/run/secrets/istio", true),
        ]),
        ..Container::default()
    }
}

fn envoy(plan: &Plan) -> Container {
    let mut args = vec!["-c", BOOTSTRAP_FILE, "-l", &plan.log_level, "--disable-hot-restart"];
    if let Some(levels) = &plan.component_log_level {
        args.extend(["--component-log-level", levels]);
    }
    let (cpu, memory) = match plan.class {
        Class::Waypoint => ("50m", "64Mi"),
        Class::Gateway | Class::EastWest | Class::Remote => ("100m", "128Mi"),
    };
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        // What the API server fills in: an item is known by both.
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let probe = |delay: i32, period: i32, failures: i32| Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/healthz/ready".to_owned()),
            port: IntOrString::Int(STATUS_PORT.into()),
            ..HTTPGetAction::default()
        }),
        // An API server leaves a zero out.
        initial_delay_seconds: Some(delay).filter(|delay| *delay > 0),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(3),
        ..Probe::default()
    };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(plan.envoy_image.clone()),
        // The entry point of some images changes the user first, which this one may not.
        command: Some(vec!["envoy".to_owned()]),
        args: Some(args.into_iter().map(str::to_owned).collect()),
        ports: Some(vec![
            port("metrics", 15020),
            port("status-port", STATUS_PORT),
            port("http-envoy-prom", 15090),
        ]),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: DRAIN }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        startup_probe: Some(probe(1, 1, 30)),
        readiness_probe: Some(probe(0, 15, 4)),
        resources: Some(requests(cpu, memory)),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![
            mount("istio-envoy", "/etc/istio/proxy", true),
            mount("istio-token", "/var/run/secrets/tokens", true),
            mount("istiod-ca-cert", "/var/run/secrets/istio", true),
        ]),
        ..Container::default()
    }
}

fn volumes(common: &Common<'_>) -> Vec<Volume> {
    let volume = |name: &str| Volume { name: name.to_owned(), ..Volume::default() };
    let token = ServiceAccountTokenProjection {
        audience: Some(AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_LIFE),
        path: "istio-token".to_owned(),
    };
    vec![
        Volume {
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                ..EmptyDirVolumeSource::default()
            }),
            ..volume("istio-envoy")
        },
        Volume {
            projected: Some(ProjectedVolumeSource {
                sources: Some(vec![VolumeProjection {
                    service_account_token: Some(token),
                    ..VolumeProjection::default()
                }]),
                ..ProjectedVolumeSource::default()
            }),
            ..volume("istio-token")
        },
        Volume {
            config_map: Some(ConfigMapVolumeSource {
                name: common.root_config_map.to_owned(),
                items: Some(vec![KeyToPath {
                    key: "root-cert.pem".to_owned(),
                    path: "root-cert.pem".to_owned(),
                    ..KeyToPath::default()
                }]),
                ..ConfigMapVolumeSource::default()
            }),
            ..volume("istiod-ca-cert")
        },
    ]
}

fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        ..SecurityContext::default()
    }
}

fn requests(cpu: &str, memory: &str) -> ResourceRequirements {
    let quantity = |text: &str| Quantity(text.to_owned());
    let all = [("cpu".to_owned(), quantity(cpu)), ("memory".to_owned(), quantity(memory))];
    ResourceRequirements { requests: Some(BTreeMap::from(all)), ..ResourceRequirements::default() }
}

fn mount(name: &str, path: &str, is_read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn value(setting: BootstrapSetting, value: &str) -> EnvVar {
    EnvVar { name: setting.variable.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn field(setting: BootstrapSetting, path: &str) -> EnvVar {
    EnvVar {
        name: setting.variable.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
