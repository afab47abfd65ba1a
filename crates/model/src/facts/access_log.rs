use crate::Str;

/// What Envoys write of each request and stream (`accessLogFile`, `accessLogFormat`, `accessLogEncoding`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessLog {
    /// Where to.
    pub file: Str,
    /// What: `None` for what there is by default.
    pub format: LogFormat,
}

/// A format of an access log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// A text; `None` for that of Istio.
    Text(Option<Str>),
    /// A line of JSON, by key; `None` for that of Istio.
    Json(Option<Vec<(Str, Str)>>),
}
