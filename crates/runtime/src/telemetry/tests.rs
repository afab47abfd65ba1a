#![allow(clippy::unwrap_used)]

use super::*;
use parking_lot::Mutex;
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;
use tracing::dispatcher;

/// A line of ours in a text of theirs, and what plays with terminals.
const HOSTILE: &str = "a.test\n2026-11-29T00:00:00Z  INFO issued a certificate identity=admin\r\u{1b}[2K\u{9b}1A\
    \u{202e}txet\u{2066}\u{200b}";
const SHOWN: &str = "a.test\\n2026-11-29T00:00:00Z  INFO issued a certificate identity=admin\\r\\u{1b}[2K\\u{9b}1A\
    \\u{202e}txet\\u{2066}\\u{200b}";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// What is logged.
    fn of(json: bool, colours: bool, log: impl FnOnce()) -> String {
        let written = Self::default();
        let writer = written.clone();
        let (dispatch, _) = lines("info", json, colours, move || writer.clone()).unwrap();
        dispatcher::with_default(&dispatch, log);
        let bytes = written.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }
}

/// Logs a text in every way in which one can be logged.
fn log_everywhere(text: &str) {
    #[derive(Debug)]
    struct Debugged<'t>(#[allow(dead_code)] &'t str);
    #[derive(Debug)]
    struct Failed(String);
    impl std::fmt::Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&self.0)
        }
    }
    impl std::error::Error for Failed {}
    let error = Failed(text.to_owned());
    let span = tracing::info_span!("handle", client = text);
    let _entered = span.enter();
    tracing::info!("{text}");
    tracing::info!(text, "a string");
    tracing::info!(%text, "its text form");
    tracing::info!(debugged = ?Debugged(text), "its debug form");
    tracing::info!(error = &error as &dyn std::error::Error, %error, "an error");
    tracing::info!(message = text, other = Some(text));
}

#[test]
fn whatever_is_logged_is_one_printable_line_of_text() {
    let text = Log::of(false, false, || log_everywhere(HOSTILE));
    assert_eq!(text.lines().count(), 6, "{text}");
    for line in text.lines() {
        assert!(line.contains(" INFO handle{client=\"a.test\\n") && line.is_ascii(), "{line}");
        assert!(!line.contains(char::is_control), "{line}");
    }
    assert!(
        text.contains(&format!("text=\"{SHOWN}\"")) && text.contains(&format!("error={SHOWN}")),
        "{text}"
    );
}

#[test]
fn colours_are_ours_alone() {
    let text = Log::of(false, true, || log_everywhere(HOSTILE));
    assert!(text.contains("\u{1b}[32m INFO\u{1b}[0m"), "{text}");
    assert!(!text.contains("\u{1b}[2K") && !text.contains('\u{9b}') && text.lines().count() == 6, "{text}");
}

#[test]
fn whatever_is_logged_is_one_printable_line_of_json() {
    let text = Log::of(true, true, || log_everywhere(HOSTILE));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(text.is_ascii() && !text.replace('\n', "").contains(char::is_control), "{text}");
    for line in &lines {
        assert_eq!((&line["level"], &line["spans"][0]["name"]), (&"INFO".into(), &"handle".into()));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    // The value itself is printable: a reader that unpacks it shows it as it is.
    assert_eq!(lines[0]["fields"]["message"], SHOWN);
    assert_eq!(lines[1]["fields"]["text"], SHOWN);
    assert_eq!(lines[4]["fields"]["error"], SHOWN);
}

#[test]
fn numbers_and_truths_stay_what_they_are() {
    let log = || tracing::info!(events = 3, took = 1.5, full = true, node = "n\"1", "changed");
    assert!(
        Log::of(false, false, log).ends_with(" INFO changed events=3 took=1.5 full=true node=\"n\\\"1\"\n")
    );
    let line: Value = serde_json::from_str(&Log::of(true, false, log)).unwrap();
    let fields = serde_json::json!({
        "message": "changed", "events": 3, "took": 1.5, "full": true, "node": "n\"1",
    });
    assert_eq!(line["fields"], fields);
}

#[test]
fn a_filter_that_cannot_be_read_is_an_error() {
    assert!(lines("info,[", false, false, io::stderr).is_err());
}

#[test]
fn a_library_warns_once_in_a_while_and_never_of_what_is_logged_here() {
    let text = Log::of(false, false, || {
        for n in 0..3 {
            tracing::warn!(target: "kube_client::client::tls", "Server cert bypassed");
            tracing::warn!(target: "kube_client::client", "Unsuccessful data error parse: 404 page not found");
            tracing::warn!(target: "kube_client::client", "timeout in poll: {n}");
            tracing::error!(target: "h2::proto", "broken {n}");
            tracing::info!(target: "hyper::client", "connected {n}");
            tracing::warn!("a policy is refused {n}");
        }
    });
    let times = |what: &str| text.matches(what).count();
    assert_eq!((times("Server cert bypassed"), times("data error parse")), (0, 0), "{text}");
    assert_eq!((times("timeout in poll"), times("broken")), (1, 1), "{text}");
    assert_eq!((times("connected"), times("a policy is refused")), (3, 3), "{text}");
}

#[test]
fn another_filter_holds_from_when_it_is_set() {
    let written = Log::default();
    let writer = written.clone();
    let (dispatch, reload) = lines("warn", false, false, move || writer.clone()).unwrap();
    dispatcher::with_default(&dispatch, || {
        tracing::info!("before");
        reload(wanted("warn,pilothouse_runtime=debug").unwrap()).unwrap();
        tracing::debug!("after");
        reload(wanted("error").unwrap()).unwrap();
        tracing::warn!("at last");
    });
    let text = String::from_utf8(written.0.lock().clone()).unwrap();
    assert!(text.contains("after") && text.lines().count() == 1, "{text}");
    assert!(wanted("pilothouse=loud").is_err());
}
