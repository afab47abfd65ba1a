//! Log lines as JSON objects, for collectors.

use super::fields::{PrintableFields, PrintableValues, Recorded};
use serde_json::{Value, json};
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes an event as `{"timestamp", "level", "fields": {"message", …}}`, and the spans around it, if any,
/// as `"spans": [{"name", "fields"}]`, the outermost first.
pub(super) struct JsonLines;

impl<S> FormatEvent<S, PrintableFields> for JsonLines
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, PrintableFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let level = event.metadata().level().as_str();
        // In this order, as people look for them; the fields in that in which they were written.
        write!(writer, "{{\"timestamp\":\"{timestamp}\",\"level\":\"{level}\",\"fields\":{{")?;
        for (index, Recorded { name, value, .. }) in PrintableValues::of(event).0.into_iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(writer, "{comma}{}:{value}", Value::from(name))?;
        }
        writer.write_char('}')?;
        let spans: Vec<Value> = context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
            .map(|span| {
                let extensions = span.extensions();
                let fields = extensions.get::<FormattedFields<PrintableFields>>();
                json!({ "name": span.name(), "fields": fields.map_or("", |fields| fields.fields.as_str()) })
            })
            .collect();
        if !spans.is_empty() {
            write!(writer, ",\"spans\":{}", Value::Array(spans))?;
        }
        writeln!(writer, "}}")
    }
}
