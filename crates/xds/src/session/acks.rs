//! What a client said of the responses of one type.

use crate::bounds::MAX_ERROR_BYTES;
use crate::capability::Capabilities;

use super::response::Response;
use super::stats::{AckState, Nack, Refusal, TypeStats};

/// How many refusals of a stream are told apart.
const MAX_REFUSALS: usize = 8;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// No response: it is a request of its own.
    Nothing,
    /// The last response.
    Last,
    /// One that was not the last any more.
    Earlier,
}

/// Acknowledgements and refusals of one type of a stream.
#[derive(Debug)]
pub(super) struct Acks {
    pub stats: TypeStats,
    /// The client has answered for what was sent up to this step.
    answered: u64,
    /// What it refused of that.
    refusals: Vec<Refusal>,
    /// The last response is not answered yet.
    is_awaited: bool,
}

impl Acks {
    pub fn new(type_url: String) -> Self {
        let stats = TypeStats { type_url, ..TypeStats::default() };
        Self { stats, answered: 0, refusals: Vec::new(), is_awaited: false }
    }

    /// Counts a response as sent.
    pub fn sent(&mut self, step: u64, response: &Response) {
        self.stats.responses += 1;
        self.stats.bytes += response.message_len();
        self.stats.sent_nonce = response.nonce().to_owned();
        self.stats.sent_step = step;
        self.is_awaited = true;
    }

    /// Takes nonce and error of a request.
    pub fn take(&mut self, nonce: String, error: Option<String>) -> Answers {
        let answers = match nonce.as_str() {
            "" => Answers::Nothing,
            nonce if nonce == self.stats.sent_nonce => Answers::Last,
            _ => Answers::Earlier,
        };
        self.is_awaited &= answers != Answers::Last;
        match (error, answers) {
            (Some(message), _) => self.refuse(nonce, message),
            (None, Answers::Nothing) => {}
            (None, Answers::Last) => {
                self.stats.acks += 1;
                self.stats.acked_nonce = nonce;
                self.stats.acked_step = self.stats.sent_step;
                self.answered = self.stats.sent_step;
            }
            (None, Answers::Earlier) => self.stats.stale += 1,
        }
        answers
    }

    fn refuse(&mut self, nonce: String, message: String) {
        self.stats.nacks += 1;
        self.note_refusal(&nonce, &message);
        self.stats.last_nack = Some(Nack { nonce, message });
    }

    /// Notes what a refusal may be about. It may answer a response that was not the last: then it is
    /// about something that was sent since the client last answered, and the last answer is to come.
    fn note_refusal(&mut self, nonce: &str, message: &str) {
        let (after, step) = (self.answered, self.stats.sent_step);
        if nonce == self.stats.sent_nonce {
            self.answered = step;
        }
        if after == step {
            // Said before, or nothing was sent.
            return;
        }
        let is_whole = self.is_whole(message);
        self.refusals.push(Refusal { after, step, message: message.to_owned(), is_whole });
        if self.refusals.len() > MAX_REFUSALS {
            self.join_refusals();
        }
    }

    /// Tells whether a message is all that the client said: one that may have been cut may have named more.
    pub fn is_whole(&self, message: &str) -> bool {
        message.len() + char::MAX.len_utf8() <= MAX_ERROR_BYTES
    }

    /// The step up to which the client has answered.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Makes one of two neighbours: of those between which the client has taken the least, the oldest.
    fn join_refusals(&mut self) {
        let taken = |pair: &[Refusal]| pair[1].after.saturating_sub(pair[0].step);
        let pairs = self.refusals.windows(2).map(taken).enumerate();
        let Some((at, _)) = pairs.min_by_key(|&(_, taken)| taken) else { return };
        let earlier = self.refusals.remove(at);
        let joined = &mut self.refusals[at];
        (joined.after, joined.is_whole) = (joined.after.min(earlier.after), false);
    }

    /// Makes room for further refusals: forgets those of resources that have all changed since or gone.
    /// `is_there` tells whether a resource was last changed after a step and not after another.
    pub fn forget_refusals(&mut self, is_there: impl Fn(u64, u64) -> bool) {
        if self.refusals.len() == MAX_REFUSALS {
            self.refusals.retain(|refusal| is_there(refusal.after, refusal.step));
        }
    }

    /// True while the last response is not answered.
    pub fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Awaits an answer to the last response no longer.
    pub fn release(&mut self) {
        self.is_awaited = false;
    }

    /// True when the last response was refused.
    pub fn is_refused(&self) -> bool {
        self.stats.last_nack.as_ref().is_some_and(|nack| nack.nonce == self.stats.sent_nonce)
    }

    /// How far the client has come, as one of these capabilities.
    pub fn state(&self, capabilities: Capabilities) -> AckState {
        AckState { answered: self.answered, refusals: self.refusals.clone(), capabilities }
    }

    /// What is kept of refusals, in bytes.
    pub fn held_bytes(&self) -> usize {
        let last = self.stats.last_nack.as_ref().map_or(0, |nack| nack.message.len());
        last + self.refusals.iter().map(|refusal| refusal.message.len()).sum::<usize>()
    }
}
