//! What a client must understand to be sent a resource, and which clients do.
//!
//! | feature | from ztunnel | one that does not know it | so it gets |
//! |---|---|---|---|
//! | a workload behind a gateway | 1.26 | sends a share of the service's traffic to no address | no such workload |
//! | dry run of a policy | 1.29 | enforces the policy | no such policy |
//! | visibility `NAMESPACE` of a service | 1.31 | lets every namespace see it | no such service |
//! | weighted waypoints | 1.31 | sends everything to the primary, which is meant for it anyway | the same bytes |
//!
//! Workloads list a policy in dry run for everybody, since they are one body for all clients. One that is
//! not sent the policy says in its log that it is missing and judges without it: that is what dry run means.
//! No policy that is active is withheld from anybody.
//!
//! A client that announces no version could be any. Policies in dry run are withheld from it, since
//! enforcing them is what their author did not want yet. The others are not: istiod sends them to
//! all, and a namespace that cannot reach its own entry is worse off than one whose entry is seen.

/// Understanding that a policy is tried and not enforced (`Authorization.dry_run`).
pub const DRY_RUN: u8 = 1;
/// Understanding that a service is for its own namespace only (`Service.visibility`).
pub const VISIBILITY: u8 = 1 << 1;

/// Understanding that a workload without an address is reached through the gateway of its network.
pub const BEHIND_GATEWAY: u8 = 1 << 2;

/// A feature, the first release that knows it, and whether a client of no known version is taken to.
const FEATURES: [(u8, (u32, u32), bool); 3] =
    [(BEHIND_GATEWAY, (1, 26), true), (DRY_RUN, (1, 29), false), (VISIBILITY, (1, 31), true)];

/// Returns what a client understands that announces this version (`ISTIO_VERSION` of its node's
/// metadata), such as `1.29.2` or `1.31-alpha.0`, as bits; anything else is no version.
pub fn understood_by(version: &str) -> u8 {
    let release = release(version);
    let knows = |(_, since, unknown): &&(u8, (u32, u32), bool)| release.map_or(*unknown, |r| r >= *since);
    FEATURES.iter().filter(knows).fold(0, |all, (feature, ..)| all | feature)
}

/// The first two numbers of a version.
fn release(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.strip_prefix('v').unwrap_or(version).split_once('.')?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..end].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_tell_what_is_understood() {
        let unknown = BEHIND_GATEWAY | VISIBILITY;
        for (version, understood) in [
            ("1.25.5", 0),
            ("1.28.9", BEHIND_GATEWAY),
            ("1.29.0", BEHIND_GATEWAY | DRY_RUN),
            ("v1.30.1", BEHIND_GATEWAY | DRY_RUN),
            ("1.31-alpha.0", BEHIND_GATEWAY | DRY_RUN | VISIBILITY),
            ("2.0.0", BEHIND_GATEWAY | DRY_RUN | VISIBILITY),
            ("", unknown),
            ("master", unknown),
            ("1.", unknown),
            ("1.99999999999", unknown),
        ] {
            assert_eq!(understood_by(version), understood, "{version:?}");
        }
    }
}
