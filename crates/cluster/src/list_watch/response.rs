//! What the API server answers, read in place: objects stay slices of the answer until parsed.

use model::Name;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A page of a list (Kubernetes API concepts, "Retrieving large results sets in chunks").
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    /// Its place in time and in the list.
    #[serde(default)]
    pub(super) metadata: PageMeta,
    /// The objects.
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// The metadata of a list.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMeta {
    /// The version of the whole list: a watch goes on from there.
    pub(super) resource_version: Option<String>,
    /// Asks for the next page; absent or empty on the last.
    #[serde(rename = "continue")]
    pub(super) continue_token: Option<String>,
}

impl<'a> Page<'a> {
    /// Reads the body of an answer.
    pub(super) fn read(body: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(body)
    }

    /// Returns the objects; a list without any may come without the field.
    pub(super) fn objects(&self) -> &[&'a RawValue] {
        self.items.as_deref().unwrap_or_default()
    }
}

/// The part of an object's metadata that the source itself needs.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Head<'a> {
    /// `metadata.name`.
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    /// `metadata.namespace`, empty for kinds of the cluster.
    #[serde(borrow)]
    pub(super) namespace: Cow<'a, str>,
    /// `metadata.resourceVersion`.
    #[serde(borrow)]
    pub(super) resource_version: Cow<'a, str>,
}

/// The body of a failure (`Status` of meta/v1).
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Failure {
    /// The HTTP code that it stands for.
    pub(super) code: u16,
    /// What the API server says.
    pub(super) message: String,
}

/// One line of a watch (Kubernetes API concepts, "Efficient detection of changes").
pub(super) enum Change<'a> {
    /// `ADDED`, `MODIFIED`: an object is as given.
    Put {
        /// Its metadata.
        head: Head<'a>,
        /// All of it, as JSON.
        object: &'a str,
    },
    /// `DELETED`.
    Remove(Head<'a>),
    /// `BOOKMARK`: nothing changed up to this version.
    Bookmark(Head<'a>),
    /// `ERROR`: the watch ends.
    Failure(Failure),
}

impl<'a> Change<'a> {
    /// Reads one line.
    pub(super) fn read(line: &'a [u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(rename = "type", borrow)]
            change: Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let line: Line<'a> = serde_json::from_slice(line)?;
        let object = line.object.get();
        Ok(match line.change.as_ref() {
            "ADDED" | "MODIFIED" => Change::Put { head: head(object)?, object },
            "DELETED" => Change::Remove(head(object)?),
            "BOOKMARK" => Change::Bookmark(head(object)?),
            // Besides ERROR there is nothing; a server that says something else is not understood.
            _ => Change::Failure(serde_json::from_str(object)?),
        })
    }
}

/// Returns what the body of a failed request says: the message of a `Status`, else the first line.
pub(super) fn failure_message(body: &[u8]) -> String {
    let status: Failure = serde_json::from_slice(body).unwrap_or_default();
    if !status.message.is_empty() {
        return status.message;
    }
    let text = String::from_utf8_lossy(body);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    line.trim().chars().take(200).collect()
}

/// Returns the name of an object that may be anything; empty where it has none.
pub(super) fn name_of(object: &str) -> Name {
    let head = head(object).unwrap_or_default();
    Name::new(&head.namespace, &head.name)
}

fn head(object: &str) -> serde_json::Result<Head<'_>> {
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow, default)]
        metadata: Head<'a>,
    }
    Ok(serde_json::from_str::<Metadata<'_>>(object)?.metadata)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_page_keeps_objects_as_they_were_written() {
        let body = br#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"more"},
            "items":[{"metadata":{"name":"a"}}, {"metadata": 5}]}"#;
        let page = Page::read(body).unwrap();
        let texts: Vec<_> = page.objects().iter().map(|o| o.get()).collect();
        assert_eq!(texts, [r#"{"metadata":{"name":"a"}}"#, r#"{"metadata": 5}"#]);
        assert_eq!(page.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(page.metadata.continue_token.as_deref(), Some("more"));
    }

    #[test]
    fn a_page_without_objects_may_have_null_for_them() {
        assert!(
            Page::read(br#"{"metadata":{"resourceVersion":"7"},"items":null}"#).unwrap().objects().is_empty()
        );
    }

    #[test]
    fn the_name_is_read_whatever_else_the_object_holds() {
        let object = r#"{"spec":[1],"metadata":{"labels":{"a":"b"},"name":"x\u0041","namespace":"n"}}"#;
        assert_eq!(name_of(object), Name::new("n", "xA"));
        assert_eq!(name_of("[]"), Name::new("", ""));
    }

    #[test]
    fn a_failure_tells_its_message_or_its_first_line() {
        assert_eq!(failure_message(br#"{"kind":"Status","code":403,"message":"not you"}"#), "not you");
        assert_eq!(failure_message(b"\n404 page not found\n<html>"), "404 page not found");
        assert_eq!(failure_message(b""), "no reason given");
    }

    #[test]
    fn lines_of_a_watch_are_told_apart() {
        let put =
            Change::read(br#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"3"}}}"#);
        assert!(matches!(put.unwrap(), Change::Put { head, .. } if head.resource_version == "3"));
        let gone = Change::read(br#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"old"}}"#);
        assert!(matches!(gone.unwrap(), Change::Failure(status) if status.code == 410));
        assert!(Change::read(br#"{"type":"ADDED""#).is_err());
    }
}
