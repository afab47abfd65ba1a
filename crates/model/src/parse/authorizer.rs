//! `extensionProviders` of the mesh settings: those that decide about requests.

use super::duration;
use super::text::{Text, or_empty, shared_list};
use crate::facts::{Authorizer, AuthorizerProtocol, HttpAuthorizer, RequestBody};
use crate::shared;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

type List<'a> = Option<Vec<Text<'a>>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
pub(super) struct AuthorizerManifest<'a> {
    #[serde(borrow)]
    service: Option<Text<'a>>,
    port: Option<u32>,
    #[serde(borrow)]
    timeout: Option<Text<'a>>,
    #[serde(alias = "fail_open")]
    fail_open: Option<bool>,
    #[serde(alias = "clear_route_cache")]
    clear_route_cache: Option<bool>,
    #[serde(borrow, alias = "status_on_error")]
    status_on_error: Option<Text<'a>>,
    #[serde(alias = "include_request_body_in_check")]
    include_request_body_in_check: Option<BodyManifest>,
    #[serde(borrow, alias = "path_prefix")]
    path_prefix: Option<Text<'a>>,
    #[serde(borrow, alias = "include_headers_in_check")]
    include_headers_in_check: List<'a>,
    #[serde(borrow, alias = "include_request_headers_in_check")]
    include_request_headers_in_check: List<'a>,
    #[serde(borrow, alias = "include_additional_headers_in_check")]
    include_additional_headers_in_check: Option<BTreeMap<Text<'a>, Text<'a>>>,
    #[serde(borrow, alias = "headers_to_upstream_on_allow")]
    headers_to_upstream_on_allow: List<'a>,
    #[serde(borrow, alias = "headers_to_downstream_on_deny")]
    headers_to_downstream_on_deny: List<'a>,
    #[serde(borrow, alias = "headers_to_downstream_on_allow")]
    headers_to_downstream_on_allow: List<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct BodyManifest {
    #[serde(alias = "max_request_bytes")]
    max_request_bytes: Option<u32>,
    #[serde(alias = "allow_partial_message")]
    allow_partial_message: Option<bool>,
    #[serde(alias = "pack_as_bytes")]
    pack_as_bytes: Option<bool>,
}

/// What is wrong with a provider: the field of it, what is wrong there, and what to do.
pub(super) struct Fault {
    pub(super) field: String,
    pub(super) message: String,
    pub(super) help: &'static str,
}

impl AuthorizerManifest<'_> {
    pub(super) fn lower(self, is_http: bool) -> Result<Authorizer, Fault> {
        let wrong = |field: &str, text: &str, of: &str| Fault {
            field: field.to_owned(),
            message: format!("{text:?} is no {of}"),
            help: "write one, or leave it out",
        };
        let timeout = |text: &Text<'_>| -> Result<Duration, Fault> {
            duration::of_istio(text.as_str())
                .filter(|time| !time.is_zero())
                .ok_or_else(|| wrong("timeout", text.as_str(), "time such as 600s"))
        };
        let status = |text: &Text<'_>| -> Result<u16, Fault> {
            let code = text.as_str().parse::<u16>().ok().filter(|code| (100..600).contains(code));
            code.ok_or_else(|| wrong("statusOnError", text.as_str(), "status such as 403"))
        };
        let written = |text: &&Text<'_>| !text.as_str().is_empty();
        let mut headers = shared_list(self.include_request_headers_in_check);
        headers.extend(shared_list(self.include_headers_in_check));
        let more = self.include_additional_headers_in_check.unwrap_or_default();
        let http = HttpAuthorizer {
            path_prefix: shared(or_empty(&self.path_prefix)),
            headers,
            more_headers: more.iter().map(|(name, value)| (name.shared(), value.shared())).collect(),
            to_upstream: shared_list(self.headers_to_upstream_on_allow),
            on_deny: shared_list(self.headers_to_downstream_on_deny),
            on_allow: shared_list(self.headers_to_downstream_on_allow),
        };
        Ok(Authorizer {
            service: shared(or_empty(&self.service)),
            // None, and so not there, where it is too large.
            port: self.port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
            timeout: self.timeout.as_ref().map(timeout).transpose()?,
            fail_open: self.fail_open.unwrap_or(false),
            status_on_error: self.status_on_error.as_ref().filter(written).map(status).transpose()?,
            clear_route_cache: self.clear_route_cache.unwrap_or(false),
            body: self.include_request_body_in_check.map(|of| RequestBody {
                max_bytes: of.max_request_bytes.unwrap_or_default(),
                allow_partial: of.allow_partial_message.unwrap_or(false),
                as_bytes: of.pack_as_bytes.unwrap_or(false),
            }),
            protocol: if is_http { AuthorizerProtocol::Http(http) } else { AuthorizerProtocol::Grpc },
        })
    }
}
