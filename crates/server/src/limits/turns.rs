//! Turns: who is computed for next, of those of whom nothing is known yet.
//!
//! A handshake costs the server much more than its client, and one thread computes for many connections: with all of
//! them in one queue, a call of a known caller waits for every handshake that came before it. So what is computed for
//! a connection until its caller is known goes in steps, each of which waits for a turn. After a step its turn is free
//! again only once everything else that was ready has run; and of those who wait, addresses take turns.
//!
//! ```text
//!   wants a turn ─▶ FairQueue ─▶ has one: one step is computed ─▶ all else that is ready runs ─▶ the turn is free
//! ```
//!
//! Addresses that have shown a good token lately wait for none: they are among what else is ready.

use limits::{FairQueue, Network, Peer};
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::yield_now;

/// How much may wait before it is looked through for what nobody waits for any more.
const SWEEP_ABOVE: usize = 1024;

/// Who waits for turns: an address.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    /// The turns of its port.
    pub turns: Turns,
    /// Its address.
    pub peer: Peer,
}

/// Turns of one port. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: FairQueue<Network, Peer, oneshot::Sender<Turn>>,
    /// How much may wait until it is looked through.
    sweep_at: usize,
}

/// Leave to compute one step.
#[derive(Debug)]
struct Turn(Option<Turns>);

impl Waiter {
    /// Completes a future. Each of its steps takes a turn, until `is_known`: whoever it is has shown a credential by
    /// then.
    pub async fn take_turns<F: Future>(
        &self,
        is_known: impl Fn() -> bool,
        mut future: Pin<&mut F>,
    ) -> F::Output {
        let mut waits = None;
        poll_fn(move |cx| {
            if is_known() {
                return future.as_mut().poll(cx);
            }
            let waits_for = waits.get_or_insert_with(|| self.turns.request(self.peer));
            let Poll::Ready(turn) = Pin::new(waits_for).poll(cx) else { return Poll::Pending };
            waits = None;
            let polled = future.as_mut().poll(cx);
            drop(turn);
            polled
        })
        .await
    }
}

impl Turns {
    /// Gives this many turns at once.
    pub fn new(at_once: usize) -> Self {
        let (free, waiting) = (at_once.max(1), FairQueue::default());
        Self(Arc::new(Mutex::new(State { free, waiting, sweep_at: SWEEP_ABOVE })))
    }

    /// Gives half as many turns at once as the runtime has threads: the others are for callers that are known.
    pub fn of_runtime() -> Self {
        Self::new(Handle::current().metrics().num_workers() / 2)
    }

    fn request(&self, peer: Peer) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        let state = &mut *self.0.lock();
        if state.waiting.len() >= state.sweep_at {
            state.waiting.retain(|waits| !waits.is_closed());
            state.sweep_at = SWEEP_ABOVE.max(2 * state.waiting.len());
        }
        state.waiting.push(&peer.network(), &peer, sender);
        state.give(self);
        receiver
    }

    fn give_back(&self) {
        let state = &mut *self.0.lock();
        state.free += 1;
        state.give(self);
    }
}

impl State {
    /// Gives turns that are free to those whose they are.
    fn give(&mut self, turns: &Turns) {
        while self.free > 0 {
            let Some(next) = self.waiting.pop() else { return };
            match next.send(Turn(Some(turns.clone()))) {
                Ok(()) => self.free -= 1,
                // It does not wait any more.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

impl Drop for Turn {
    /// Gives the turn back once whatever else is ready has run.
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                // Woken after all tasks that are ready, and after those that sockets make ready.
                yield_now().await;
                turns.give_back();
            })),
            Err(_) => turns.give_back(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::pin::pin;

    fn waiter(turns: &Turns, host: u8) -> Waiter {
        let peer = Peer::of(Ipv4Addr::new(10, 0, 0, host).into());
        Waiter { turns: turns.clone(), peer }
    }

    fn run<F: Future>(test: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    /// Takes this many steps, and writes down each.
    fn steps(
        waiter: Waiter,
        count: usize,
        log: &Arc<Mutex<String>>,
        name: char,
    ) -> tokio::task::JoinHandle<()> {
        let log = Arc::clone(log);
        tokio::spawn(async move {
            let steps = pin!(async {
                for _ in 0..count {
                    log.lock().push(name);
                    yield_now().await;
                }
            });
            waiter.take_turns(|| false, steps).await;
        })
    }

    #[test]
    fn addresses_take_turns_and_all_that_is_ready_runs_between_two_steps() {
        let (turns, log) = (Turns::new(1), Arc::<Mutex<String>>::default());
        run(async {
            let many: Vec<_> = (0..4).map(|_| steps(waiter(&turns, 1), 2, &log, 'a')).collect();
            let one = steps(waiter(&turns, 2), 2, &log, 'b');
            let known = Arc::clone(&log);
            let known = tokio::spawn(async move {
                for _ in 0..6 {
                    known.lock().push('.');
                    yield_now().await;
                }
            });
            for task in many.into_iter().chain([one, known]) {
                task.await.unwrap();
            }
            // The last turn is given back, too.
            while turns.0.lock().free == 0 {
                yield_now().await;
            }
        });
        let log = log.lock();
        let taken: String = log.chars().filter(|step| *step != '.').collect();
        assert_eq!(taken.len(), 10);
        // The one has its turn after one of the many, whenever it is back for the next.
        assert!(taken.starts_with("aab") && taken[..6].matches('b').count() == 2, "{log}");
        // Whoever is known is not behind those who wait.
        let steps_before = |(at, _): (usize, _)| log[..at].chars().filter(|step| *step != '.').count();
        assert!(log.match_indices('.').enumerate().all(|(n, found)| steps_before(found) <= n + 1), "{log}");
        assert!(turns.0.lock().waiting.is_empty());
    }

    #[test]
    fn who_leaves_gives_the_turn_to_the_next() {
        let (turns, log) = (Turns::new(1), Arc::<Mutex<String>>::default());
        run(async {
            let first = turns.request(waiter(&turns, 1).peer);
            let leaves = turns.request(waiter(&turns, 1).peer);
            let next = steps(waiter(&turns, 2), 1, &log, 'n');
            yield_now().await;
            assert_eq!(log.lock().as_str(), "", "the turn is taken");
            drop((leaves, first));
            next.await.unwrap();
            // What nobody waits for any more is forgotten.
            let _held = turns.request(waiter(&turns, 1).peer);
            for _ in 0..4 * SWEEP_ABOVE {
                drop(turns.request(waiter(&turns, 3).peer));
            }
            assert!(turns.0.lock().waiting.len() <= SWEEP_ABOVE);
        });
        assert_eq!(log.lock().as_str(), "n");
    }

    #[test]
    fn who_is_known_waits_for_nobody() {
        let turns = Turns::new(1);
        run(async {
            let _held = turns.request(waiter(&turns, 1).peer);
            let done = pin!(async { 7 });
            assert_eq!(waiter(&turns, 1).take_turns(|| true, done).await, 7);
        });
    }
}
