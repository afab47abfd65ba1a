//! What is read of identities.

use super::samples::Samples;
use ca::Certificate;
use identity::IdentityView;
use rustls::pki_types::UnixTime;
use std::fmt;

pub(super) fn encode(out: &mut Samples<'_>, view: &IdentityView) -> fmt::Result {
    let stats = &view.stats;
    out.counter("citadel_server_csr_count", "Certificate requests.", stats.requests.get())?;
    out.counter("citadel_server_success_cert_issuance_count", "Certificates issued.", stats.issued.get())?;
    out.counter(
        "citadel_server_authentication_failure_count",
        "Calls that could not be authenticated.",
        stats.unauthenticated.get(),
    )?;
    for (name, label, help, counts) in [
        (
            "citadel_server_csr_sign_err_count",
            "error",
            "Requests that could not be signed.",
            &stats.sign_errors,
        ),
        (
            "pilothouse_certificates_refused_total",
            "reason",
            "Refused certificate requests, by reason.",
            &stats.refused,
        ),
        (
            "pilothouse_streams_refused_total",
            "reason",
            "Refused streams of the secure port, by reason, including unauthenticated ones.",
            &stats.streams_refused,
        ),
        (
            "pilothouse_streams_ended_total",
            "reason",
            "Streams ended because the credential expired or the pod is gone.",
            &stats.streams_ended,
        ),
        (
            "pilothouse_tokens_accepted_total",
            "how",
            "Accepted tokens: cached, verified locally, of an additional issuer, or reviewed by the API server.",
            &stats.tokens,
        ),
        ("pilothouse_token_reviews_total", "outcome", "TokenReviews.", &stats.token_reviews),
        (
            "pilothouse_key_fetches_total",
            "outcome",
            "Fetches of the keys of the API server.",
            &stats.key_fetches,
        ),
        (
            "pilothouse_issuer_key_fetches_total",
            "outcome",
            "Fetches of the keys of additional issuers.",
            &stats.issuer_key_fetches,
        ),
        ("pilothouse_handshakes_total", "outcome", "TLS handshakes of the secure port.", &stats.handshakes),
        (
            "pilothouse_root_writes_total",
            "outcome",
            "Writes of the ConfigMap with the roots.",
            &stats.root_writes,
        ),
        (
            "pilothouse_crl_writes_total",
            "outcome",
            "Writes of the ConfigMap with the revocation lists.",
            &stats.crl_writes,
        ),
        (
            "pilothouse_event_writes_total",
            "outcome",
            "Writes of Events about key material.",
            &stats.event_writes,
        ),
        (
            "pilothouse_key_material_problems_total",
            "kind",
            "Problems with key material.",
            view.authority.problems(),
        ),
    ] {
        out.counters(name, label, help, counts.list())?;
    }
    out.gauge(
        "pilothouse_key_material_problem",
        "Whether there is a problem with key material, 0 or 1.",
        u32::from(view.authority.status().problem.is_some()),
    )?;
    let now = UnixTime::now();
    let leaves = stats.leaves.by_days_left(now).into_iter();
    out.gauges(
        "pilothouse_workload_certificates",
        "Valid certificates issued by this process, by days left; each bucket excludes the ones before it.",
        leaves.map(|(days, count)| ([("days_left", days)], count)),
    )?;
    expiry(out, view, now.as_secs())
}

/// Without key material there is nothing that expires: an absent value alarms nobody.
fn expiry(out: &mut Samples<'_>, view: &IdentityView, now: u64) -> fmt::Result {
    let signer = view.authority.current();
    let roots = signer.as_ref().map_or(&[][..], |signer| signer.trust().roots());
    let between = signer.as_ref().map_or(&[][..], |signer| signer.intermediates());
    let end = |of: &Certificate| of.validity().not_after.as_secs();
    let seconds_left = |end: u64| i64::try_from(i128::from(end) - i128::from(now)).unwrap_or(i64::MAX);
    for (name, first) in
        [("citadel_server_root_cert_expiry", roots), ("citadel_server_cert_chain_expiry", between)]
    {
        let Some(end) = first.first().map(end) else { continue };
        let (timestamp, seconds) = (format!("{name}_timestamp"), format!("{name}_seconds"));
        out.gauge(&timestamp, "Expiry of a certificate of the authority, in seconds since 1970.", end)?;
        out.gauge(&seconds, "Seconds until a certificate of the authority expires.", seconds_left(end))?;
    }
    let numbered = |kind: &'static str, list: &[Certificate]| {
        list.iter().map(end).map(|end| (kind, end)).enumerate().collect::<Vec<_>>()
    };
    let serving = view.stats.serving_expiry.get().map(|end| (0, ("serving", end)));
    let all = numbered("root", roots).into_iter().chain(numbered("intermediate", between)).chain(serving);
    out.gauges(
        "pilothouse_certificate_days_left",
        "Days until a certificate expires: roots, intermediates, and the serving certificate.",
        all.map(|(at, (kind, end))| {
            let thousandths = (seconds_left(end) as f64 / 86.4).round();
            ([("certificate", kind.to_owned()), ("number", (at + 1).to_string())], thousandths / 1000.0)
        }),
    )
}
