//! What a page is asked: its query, and by whom.

use super::answer::{self, Answer};
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode, Uri};
use model::Lines;
use serde::de::DeserializeOwned;

/// What a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Everything: it comes from this machine, or is of the namespace of the mesh or one that is allowed.
    Everything,
    /// Of the pages about single proxies those about proxies of its own namespace.
    Namespace(String),
}

impl Viewer {
    /// Tells whether it may see what is of a namespace.
    pub(super) fn sees(&self, namespace: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Namespace(own) => own == namespace,
        }
    }
}

/// A question to a page.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub viewer: Viewer,
}

impl Asked {
    /// Reads the query as that of a page of ours, which says what is wrong with it.
    ///
    /// # Errors
    /// The answer to whoever asks otherwise.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Answer> {
        match Query::try_from_uri(&self.uri) {
            Ok(Query(query)) => Ok(query),
            Err(rejection) => {
                Err(answer::text(StatusCode::BAD_REQUEST, Lines::from_iter([rejection.body_text()])))
            }
        }
    }

    /// The first value of a parameter; `None` where it is not in the query. Others are passed over, as Istio's pages do.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&self.uri).ok()?;
        pairs.into_iter().find(|(of, _)| of == name).map(|(_, value)| value)
    }
}
