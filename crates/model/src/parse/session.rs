//! `sessionPersistence` of routes and policies.

use super::duration;
use super::fault::Lowered;
use super::text::{Text, or_empty};
use crate::facts::SessionPersistence;
use crate::shared;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct SessionManifest<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    session_name: Option<Text<'a>>,
    #[serde(borrow)]
    absolute_timeout: Option<Text<'a>>,
    /// `cookieConfig` before 1.7.
    #[serde(borrow, alias = "cookieConfig")]
    cookie: Option<Cookie<'a>>,
    #[serde(borrow)]
    header: Option<Header<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Cookie<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    lifetime_type: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Header<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

impl SessionManifest<'_> {
    /// Lowers it.
    ///
    /// # Errors
    /// The field that is not valid, and why.
    pub(super) fn lower(&self) -> Lowered<SessionPersistence> {
        let by_header = match or_empty(&self.kind) {
            "" | "Cookie" => false,
            "Header" => true,
            other => return Err(("type".to_owned(), format!("{other:?} is neither Cookie nor Header"))),
        };
        let cookie = self.cookie.as_ref();
        let own_name = if by_header {
            self.header.as_ref().and_then(|header| header.name.as_ref())
        } else {
            cookie.and_then(|cookie| cookie.name.as_ref())
        };
        let name = own_name.or(self.session_name.as_ref()).map_or("", Text::as_str);
        let timeout = duration::optional(&self.absolute_timeout);
        Ok(SessionPersistence {
            by_header,
            name: shared(name),
            absolute_timeout: timeout.map_err(|message| ("absoluteTimeout".to_owned(), message))?,
            is_permanent: cookie.is_some_and(|cookie| or_empty(&cookie.lifetime_type) == "Permanent"),
        })
    }
}
