//! `pilothouse serve`: runs the daemon until it is told to stop.

use anyhow::{anyhow, bail};
use runtime::config::ServeArgs;
use runtime::serve::Daemon;
use runtime::telemetry;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long streams and requests may take to end. A stream gets 5 s by itself.
const STOP: Duration = Duration::from_secs(8);

/// Serves until SIGTERM or SIGINT; a second signal ends the process at once.
///
/// # Errors
/// When the daemon cannot start, or ends although nobody told it to.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    telemetry::init(&args.log, args.log_json).map_err(|error| {
        anyhow!("cannot read the log filter {:?}: {error}; give --log a level such as `info`", args.log)
    })?;
    let threads = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let threads = threads.map_err(|error| anyhow!("cannot start threads: {error}"))?;
    let done = threads.block_on(serve(args));
    // A thread that waits for the file system does not hold the process back.
    threads.shutdown_background();
    done
}

async fn serve(args: &ServeArgs) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let daemon = tokio::select! {
        daemon = Daemon::prepare(args) => daemon?,
        () = signals.next() => return Ok(()),
    };
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(daemon.run(stop.clone()));
    tokio::select! {
        ended = &mut running => {
            ended.map_err(|error| anyhow!("the daemon has failed: {error}; please report this with its log"))?;
            bail!("the daemon has ended by itself; please report this with its log");
        }
        () = signals.next() => {}
    }
    stop.cancel();
    tokio::select! {
        ended = &mut running => ended.map_err(|error| anyhow!("the daemon has failed while stopping: {error}")),
        () = tokio::time::sleep(STOP) => Ok(()),
        () = signals.next() => Ok(()),
    }
}

/// The signals that tell a process to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| anyhow!("cannot listen for signals: {error}"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
