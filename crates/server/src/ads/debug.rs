//! The debug API of the discovery port: questions in the form of requests, answered once and never followed.
//!
//! ```text
//!  request of a type istio.io/debug… ─▶ caller is authenticated ─▶ DebugApi::answer ─▶ one response
//!                                                                  (one at a time; the next request waits)
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost_types::Any;
use proto::Code;
use proto::discovery::{ControlPlane, DiscoveryResponse};
use xds::Question;

use super::guard::StreamGuard;
use crate::grpc::{PREFIX_BYTES, Status, prefix};

/// What nonces of answers begin with; their number follows.
const NONCE: &str = "debug-";

/// What is answered to a question: resources, or the status that ends the stream of whoever gets none.
pub type DebugAnswer = Result<Vec<Any>, (Code, String)>;

/// An answer that is being made.
pub type PendingAnswer = Pin<Box<dyn Future<Output = DebugAnswer> + Send>>;

/// Who answers questions of the debug API.
pub trait DebugApi: Send + Sync {
    /// Answers what an authenticated caller of a namespace asks. The names of the question are whatever the caller
    /// wrote.
    fn answer(&self, question: Question, namespace: &str) -> PendingAnswer;

    /// The name of this process among those that may be asked, as the callers expect it.
    fn identifier(&self) -> &str;
}

/// What asks on behalf of one stream.
pub(super) struct Debug {
    api: Arc<dyn DebugApi>,
    asked: Option<Asked>,
    /// Answers so far, which number their nonces.
    answers: u64,
}

/// A question that is being answered.
struct Asked {
    type_url: String,
    answer: PendingAnswer,
}

impl Debug {
    pub fn new(api: Arc<dyn DebugApi>) -> Self {
        Self { api, asked: None, answers: 0 }
    }

    /// Takes a question.
    ///
    /// # Errors
    /// The status that ends the stream of whoever is not authenticated.
    pub fn ask(&mut self, question: Question, guard: Option<&StreamGuard>) -> Result<(), Status> {
        let Some(guard) = guard else {
            let message = "the debug API needs authentication: ask it on the secure port";
            return Err(Status::new(Code::Unauthenticated, message));
        };
        let acknowledged = question.nonce.strip_prefix(NONCE).and_then(|number| number.parse::<u64>().ok());
        if acknowledged.is_some_and(|number| (1..=self.answers).contains(&number)) {
            // It asks for nothing.
            return Ok(());
        }
        let type_url = question.type_url.clone();
        let answer = self.api.answer(question, guard.namespace());
        self.asked = Some(Asked { type_url, answer });
        Ok(())
    }

    /// True while a question waits for its answer.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The answer to the question, as a message with its prefix.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        let Some(asked) = &mut self.asked else { return Poll::Pending };
        let answered = ready!(asked.answer.as_mut().poll(cx));
        let type_url = std::mem::take(&mut asked.type_url);
        self.asked = None;
        let resources = answered.map_err(|(code, message)| Status::new(code, message))?;
        self.answers += 1;
        let response = DiscoveryResponse {
            version_info: String::new(),
            resources,
            type_url,
            nonce: format!("{NONCE}{}", self.answers),
            control_plane: Some(ControlPlane { identifier: self.api.identifier().to_owned() }),
        };
        let len = response.encoded_len();
        let Some(prefix) = prefix(len as u64) else {
            let message = format!("an answer of {len} bytes fits no message");
            return Poll::Ready(Err(Status::new(Code::ResourceExhausted, message)));
        };
        let mut data = BytesMut::with_capacity(PREFIX_BYTES + len);
        data.put_slice(&prefix);
        // It has room.
        let _ = response.encode(&mut data);
        Poll::Ready(Ok(data.freeze()))
    }
}
