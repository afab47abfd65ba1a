//! What keeps the source from reading, for pages and metrics.

use cluster::SourceProblems;
use model::{Diagnostic, Severity};
use std::sync::Arc;
use tokio::sync::watch;

/// The problems of a source, whichever it is; the default has none.
#[derive(Debug, Clone, Default)]
pub enum SourceView {
    /// Nothing is read.
    #[default]
    None,
    /// An API server, and what it has of kinds without effect.
    Cluster(watch::Receiver<SourceProblems>, watch::Receiver<Arc<[Diagnostic]>>),
    /// Folders.
    Folder(watch::Receiver<Arc<[Diagnostic]>>),
}

impl SourceView {
    /// Returns what is to be known beside the objects that are read: of files, and of kinds without
    /// effect.
    pub fn findings(&self) -> Arc<[Diagnostic]> {
        match self {
            Self::None => Arc::from([]),
            Self::Cluster(_, found) | Self::Folder(found) => Arc::clone(&found.borrow()),
        }
    }

    /// Returns what the source cannot read at the moment, in one sentence each.
    pub fn problems(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Cluster(problems, _) => problems.borrow().sentences().map(str::to_owned).collect(),
            Self::Folder(found) => {
                let found = found.borrow();
                let refused = found.iter().filter(|finding| finding.severity == Severity::Error);
                refused.map(|finding| format!("{}: {finding}", finding.code)).collect()
            }
        }
    }
}
