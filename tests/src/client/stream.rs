//! The task that keeps a client's stream: connects, applies, answers, and connects again.

use std::sync::Arc;
use std::time::Duration;

use proto::discovery::DeltaDiscoveryRequest;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use super::transport::{self, OpenError, Wire};
use super::{Reconnect, Shared};

/// What a client asks of its task.
pub(super) enum Command {
    /// Asks for addresses by name; without a stream, the next one offers the names.
    Subscribe(Vec<String>),
    /// Ends the stream and stays away; answered once it is down.
    Disconnect(oneshot::Sender<()>),
    /// Connects now, to another address if given; answered with the outcome.
    Connect { address: Option<String>, done: oneshot::Sender<Result<(), OpenError>> },
    /// Stops or goes on reading responses.
    Pause { paused: bool, done: oneshot::Sender<()> },
}

/// First and longest pause between two attempts after most errors.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(15));

enum End {
    /// The server ended the stream without an error.
    Clean,
    /// The stream broke.
    Broken(Status),
    /// The client was told to disconnect.
    Asked(oneshot::Sender<()>),
    /// The client was told to connect again, maybe elsewhere.
    Elsewhere { address: Option<String>, done: oneshot::Sender<Result<(), OpenError>> },
    /// The client is gone.
    Dropped,
}

/// Why an attempt gave no stream.
enum NotOpen {
    Failed(OpenError),
    Asked(oneshot::Sender<()>),
    Elsewhere { address: Option<String>, done: oneshot::Sender<Result<(), OpenError>> },
    Dropped,
}

/// Who waits for the outcome of an attempt.
type Waiter = Option<oneshot::Sender<Result<(), OpenError>>>;

/// Runs until the client is dropped.
pub(super) async fn drive(shared: Arc<Shared>, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut wait: Option<Duration> = None;
    let mut backoff = BACKOFF.0;
    let mut paused = false;
    // an attempt to make, with who waits for it
    let mut waiter: Option<Waiter> = None;
    loop {
        // away, or between two attempts: only commands and the end of the pause count
        while waiter.is_none() {
            let pause = async {
                match wait {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Connect { address, done }) => {
                        shared.move_to(address);
                        waiter = Some(Some(done));
                    }
                    Some(Command::Disconnect(done)) => {
                        wait = None;
                        let _ = done.send(());
                    }
                    Some(Command::Pause { paused: now, done }) => {
                        paused = now;
                        let _ = done.send(());
                    }
                    Some(Command::Subscribe(names)) => drop(shared.demand(&names)),
                },
                () = pause => waiter = Some(None),
            }
        }
        let mut done: Waiter = waiter.take().flatten();
        let first = shared.initial_requests();
        let target = shared.target();
        let wire = match open(&shared, &target, first, &mut commands, &mut paused).await {
            Ok(wire) => wire,
            Err(NotOpen::Failed(error)) => {
                shared.closed(Some(error.to_string()));
                wait = retry(&shared, error.code(), &mut backoff);
                if let Some(done) = done.take() {
                    let _ = done.send(Err(error));
                }
                continue;
            }
            Err(NotOpen::Asked(answer)) => {
                shared.closed(None);
                wait = None;
                let _ = answer.send(());
                continue;
            }
            Err(NotOpen::Elsewhere { address, done }) => {
                shared.closed(None);
                shared.move_to(address);
                waiter = Some(Some(done));
                continue;
            }
            Err(NotOpen::Dropped) => return,
        };
        shared.opened();
        if let Some(done) = done.take() {
            let _ = done.send(Ok(()));
        }
        match read(&shared, wire, &mut commands, &mut paused).await {
            End::Clean => {
                shared.closed(None);
                backoff = BACKOFF.0;
                wait = (shared.reconnect == Reconnect::Automatic).then_some(Duration::ZERO);
            }
            End::Broken(status) => {
                shared.closed(Some(format!("stream broke: {:?}: {}", status.code(), status.message())));
                wait = retry(&shared, status.code(), &mut backoff);
            }
            End::Asked(done) => {
                shared.closed(None);
                wait = None;
                let _ = done.send(());
            }
            End::Elsewhere { address, done } => {
                shared.closed(None);
                shared.move_to(address);
                waiter = Some(Some(done));
            }
            End::Dropped => return,
        }
    }
}

/// How long to wait before the next attempt; none if the test decides.
fn retry(shared: &Shared, code: Code, backoff: &mut Duration) -> Option<Duration> {
    if shared.reconnect == Reconnect::Manual {
        return None;
    }
    if matches!(code, Code::Unknown | Code::Cancelled | Code::DeadlineExceeded) {
        return Some(BACKOFF.0);
    }
    let wait = *backoff;
    *backoff = (wait * 2).min(BACKOFF.1);
    Some(wait)
}

/// Opens a stream, and gives up the attempt if the client asks for something else.
async fn open(
    shared: &Shared,
    target: &transport::Target,
    first: Vec<DeltaDiscoveryRequest>,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    paused: &mut bool,
) -> Result<Wire, NotOpen> {
    let attempt = transport::open(target, first);
    tokio::pin!(attempt);
    // names asked for meanwhile are not in the first requests: they follow
    let mut asked = Vec::new();
    loop {
        tokio::select! {
            outcome = &mut attempt => {
                let wire = outcome.map_err(NotOpen::Failed)?;
                for request in asked {
                    let _ = wire.requests.send(request);
                }
                return Ok(wire);
            }
            command = commands.recv() => match command {
                None => return Err(NotOpen::Dropped),
                Some(Command::Disconnect(done)) => return Err(NotOpen::Asked(done)),
                Some(Command::Connect { address, done }) => return Err(NotOpen::Elsewhere { address, done }),
                Some(Command::Pause { paused: now, done }) => {
                    *paused = now;
                    let _ = done.send(());
                }
                Some(Command::Subscribe(names)) => asked.push(shared.demand(&names)),
            },
        }
    }
}

async fn read(
    shared: &Shared,
    mut wire: Wire,
    commands: &mut mpsc::UnboundedReceiver<Command>,
    paused: &mut bool,
) -> End {
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return End::Dropped,
                Some(Command::Disconnect(done)) => return End::Asked(done),
                Some(Command::Connect { address, done }) => return End::Elsewhere { address, done },
                Some(Command::Pause { paused: now, done }) => {
                    *paused = now;
                    let _ = done.send(());
                }
                Some(Command::Subscribe(names)) => {
                    // a broken stream shows in the next read
                    let _ = wire.requests.send(shared.demand(&names));
                }
            },
            response = wire.responses.message(), if !*paused => match response {
                Ok(Some(response)) => {
                    let reply = shared.apply(&response);
                    let _ = wire.requests.send(reply);
                }
                Ok(None) => return End::Clean,
                Err(status) => return End::Broken(status),
            },
        }
    }
}
