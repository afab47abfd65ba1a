//! Who gets logs, metrics and spans: providers by name, with the services that the mesh has.

use engine::{Builder, Cx, Memo, Table};
use model::Str;
use model::facts::{AccessLog, LogFormat, Sink, SinkService, TelemetryProvider};
use std::sync::Arc;

use super::effective::PROMETHEUS;
use crate::authorizer::Directory;

/// A provider, and where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SinkAt {
    /// What it gets, and how.
    pub sink: Sink,
    /// Its service, `NAMESPACE/HOSTNAME`, and the port; `None` for one that is no service.
    pub service: Option<(Str, u16)>,
}

/// Who a provider's name means.
///
/// # Errors
/// Why it is nobody, in words.
pub type ResolvedSink = Result<Arc<SinkAt>, String>;

/// Declares them, by name.
pub(crate) fn declare(
    b: &mut Builder,
    providers: Table<(), Vec<TelemetryProvider>>,
    directory: Directory,
) -> Memo<Str, ResolvedSink> {
    b.memo("telemetry_sinks", move |cx, name: &Str| Some(resolve(cx, providers, directory, name)))
}

fn resolve(
    cx: &Cx<'_>,
    providers: Table<(), Vec<TelemetryProvider>>,
    directory: Directory,
    name: &Str,
) -> ResolvedSink {
    let providers = cx.single(providers);
    let all = providers.iter().flat_map(|all| all.iter());
    let mut named = all.filter(|of| of.name.eq_ignore_ascii_case(name));
    let sink = match (named.next(), named.next()) {
        (Some(of), None) => of.sink.clone(),
        (Some(_), Some(_)) => {
            return Err(format!("extensionProviders of the mesh settings has {:?} twice", name.as_str()));
        }
        (None, _) => undeclared(name).ok_or_else(|| {
            let what = "gets access logs, metrics or spans of gateways";
            format!("extensionProviders of the mesh settings has no {:?} that {what}", name.as_str())
        })?,
    };
    let (at, is_grpc) = match &sink {
        Sink::File(..) | Sink::Prometheus => return Ok(Arc::new(SinkAt { sink, service: None })),
        Sink::HttpLog(of) | Sink::TcpLog(of) => (&of.at, true),
        Sink::OtelLog(of) => (&of.at, true),
        Sink::OpenTelemetry(of) => (&of.at, of.http.is_none()),
        Sink::Zipkin(of) => (&of.at, false),
    };
    let SinkService { service, port } = at;
    let found = directory.find(cx, service, *port, is_grpc)?;
    Ok(Arc::new(SinkAt { service: Some((found, *port)), sink }))
}

/// Returns the providers that are there without being declared.
fn undeclared(name: &Str) -> Option<Sink> {
    if name.eq_ignore_ascii_case(PROMETHEUS) {
        return Some(Sink::Prometheus);
    }
    let log = || AccessLog { file: "/dev/stdout".into(), format: LogFormat::Text(None) };
    name.eq_ignore_ascii_case("envoy").then(|| Sink::File(log(), false))
}
