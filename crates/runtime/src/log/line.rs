//! A line of the log before it is written.

use tracing::Level;

/// One line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    pub(super) level: Level,
    /// The code of a finding.
    pub(super) code: Option<&'static str>,
    pub(super) text: String,
}

impl Line {
    /// Writes it.
    pub(super) fn write(self) {
        // What comes from objects and files cannot write lines of its own.
        let text = model::printable(&self.text);
        match (self.level, self.code) {
            (Level::ERROR, Some(code)) => tracing::error!(code, "{text}"),
            (Level::ERROR, None) => tracing::error!("{text}"),
            (Level::WARN, Some(code)) => tracing::warn!(code, "{text}"),
            (Level::WARN, None) => tracing::warn!("{text}"),
            (_, Some(code)) => tracing::info!(code, "{text}"),
            (_, None) => tracing::info!("{text}"),
        }
    }
}
