//! What a pod may do beyond its namespace: reach its node, or be another account.
//!
//! What is deployed is applied with the rights of the control plane, whatever rights the author of the overlay has. So an
//! author's own overlay gives the pod nothing of this that it has not already; the defaults of a class, which are in the
//! system namespace, may. What counts is what the baseline of the Pod Security Standards refuses (Kubernetes 1.36).

use serde_json::Value;
use std::collections::BTreeSet;

/// Capabilities that a container may have besides those that it has by default.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Sysctls that concern the pod alone.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];
/// Types of SELinux that confine a container.
const SELINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Returns what the pods of a Deployment may do of this, each as a field, with what distinguishes its values.
pub(super) fn of(deployment: &Value) -> BTreeSet<String> {
    let at = "spec.template.spec";
    let Some(pod) = deployment.pointer("/spec/template/spec") else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        if pod[key] == true {
            found.insert(format!("{at}.{key}"));
        }
    }
    for key in ["serviceAccountName", "serviceAccount"] {
        if let Some(account) = pod[key].as_str() {
            found.insert(format!("{at}.{key}: {account:?}"));
        }
    }
    for volume in items(pod, "volumes").filter(|volume| !volume["hostPath"].is_null()) {
        found.insert(format!("{at}.volumes[name={}].hostPath: {}", volume["name"], volume["hostPath"]));
    }
    for sysctl in items(&pod["securityContext"], "sysctls") {
        let name = sysctl["name"].as_str().unwrap_or_default();
        if !SYSCTLS.contains(&name) {
            found.insert(format!("{at}.securityContext.sysctls[name={name:?}]"));
        }
    }
    context(&pod["securityContext"], &format!("{at}.securityContext"), &mut found);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(pod, list) {
            let at = format!("{at}.{list}[name={}]", container["name"]);
            context(&container["securityContext"], &format!("{at}.securityContext"), &mut found);
            for port in items(container, "ports").filter(|port| port["hostPort"].as_u64().unwrap_or(0) != 0) {
                found.insert(format!("{at}.ports.hostPort: {}", port["hostPort"]));
            }
        }
    }
    found
}

/// Adds what a security context of a pod or container gives.
fn context(of: &Value, at: &str, found: &mut BTreeSet<String>) {
    if of["privileged"] == true {
        found.insert(format!("{at}.privileged"));
    }
    for added in items(&of["capabilities"], "add") {
        if !added.as_str().is_some_and(|name| CAPABILITIES.contains(&name)) {
            found.insert(format!("{at}.capabilities.add: {added}"));
        }
    }
    if of["procMount"].as_str().is_some_and(|mount| mount != "Default") {
        found.insert(format!("{at}.procMount"));
    }
    for profile in ["seccompProfile", "appArmorProfile"] {
        if of[profile]["type"] == "Unconfined" {
            found.insert(format!("{at}.{profile}"));
        }
    }
    let selinux = &of["seLinuxOptions"];
    let is_confined = SELINUX_TYPES.contains(&selinux["type"].as_str().unwrap_or_default());
    if !is_confined || !selinux["user"].is_null() || !selinux["role"].is_null() {
        found.insert(format!("{at}.seLinuxOptions"));
    }
    if of["windowsOptions"]["hostProcess"] == true {
        found.insert(format!("{at}.windowsOptions.hostProcess"));
    }
}

fn items<'v>(of: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    of[key].as_array().into_iter().flatten()
}
