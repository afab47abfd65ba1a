//! The fields of events, printable: the only reader of them, for text and for JSON.

use model::printable;
use serde_json::Value;
use std::error::Error;
use std::fmt::{self, Debug};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// The field that is the sentence of an event.
pub(super) const MESSAGE: &str = "message";

/// A field of an event or of a span.
pub(super) struct Recorded {
    pub(super) name: &'static str,
    /// A number, a truth, or a printable text.
    pub(super) value: Value,
    /// Whether a text is shown in quotes, as strings are; what has a text form of its own is not.
    is_quoted: bool,
}

/// The fields, in the order in which they were written.
#[derive(Default)]
pub(super) struct PrintableValues(pub(super) Vec<Recorded>);

impl PrintableValues {
    /// Reads the fields of an event or of a span.
    pub(super) fn of(fields: &impl RecordFields) -> Self {
        let mut values = Self::default();
        fields.record(&mut values);
        values
    }

    fn add(&mut self, field: &Field, value: Value, is_quoted: bool) {
        // How an event of the `log` crate came here.
        if !field.name().starts_with("log.") {
            let name = field.name();
            self.0.push(Recorded { name: name.strip_prefix("r#").unwrap_or(name), value, is_quoted });
        }
    }
}

impl Visit for PrintableValues {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into(), false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into(), false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into(), false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into(), false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, printable(value).into(), field.name() != MESSAGE);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            text += &format!(": {error}");
            source = error.source();
        }
        self.add(field, printable(&text).into(), false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, printable(&format!("{value:?}")).into(), false);
    }
}

/// Writes fields as text: the message, then `name=value`.
pub(super) struct PrintableFields;

impl<'w> FormatFields<'w> for PrintableFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        for (index, Recorded { name, value, is_quoted }) in
            PrintableValues::of(&fields).0.into_iter().enumerate()
        {
            if index > 0 {
                writer.write_char(' ')?;
            }
            if name != MESSAGE {
                if writer.has_ansi_escapes() {
                    write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?;
                } else {
                    write!(writer, "{name}=")?;
                }
            }
            match value {
                Value::String(text) if is_quoted => write!(writer, "\"{}\"", text.replace('"', "\\\""))?,
                Value::String(text) => writer.write_str(&text)?,
                value => write!(writer, "{value}")?,
            }
        }
        Ok(())
    }
}
