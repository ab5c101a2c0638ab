//! A process around one or more nodes: log, runtime, signals, exit code.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use clap::Parser;
use proto::id::NodeName;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::allocator;
use crate::bind::BindError;
use crate::config::{self, Common, ConfigError, Loaded};
use crate::exit::Exit;
use crate::files;
use crate::log;

/// Why a node could not start, or went on no longer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A listener could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The operating system refused something else.
    #[error("a listener failed: {0}")]
    Io(#[from] std::io::Error),
    /// The operating system gave not what the store needs.
    #[error("the store cannot be opened: {0}")]
    Store(std::io::Error),
    /// The relay holds a link of a newer edge with this one's name.
    #[error(
        "superseded: another edge of the name {0} has started since; this one gives way. Every edge needs a --name of its \
         own"
    )]
    Superseded(NodeName),
    /// A task that must not end did; the process cannot go on.
    #[error("the {0} task ended unexpectedly")]
    TaskEnded(&'static str),
}

/// The `main` of a binary with one node: reads and checks its settings, and runs `body` with what came out.
pub fn main<T: Parser, C>(
    common: impl FnOnce(&T) -> &Common,
    check: impl FnOnce(&Loaded<T>) -> Result<C, ConfigError>,
    body: impl AsyncFnOnce(C, watch::Receiver<bool>) -> Result<(), RunError>,
) -> Exit {
    let loaded: Loaded<T> = match config::load(std::env::args_os(), std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(error) => return error.report(),
    };
    let common = common(&loaded.settings);
    if common.print_config {
        print!("{}", loaded.print_config());
        return Exit::Success;
    }
    match check(&loaded) {
        Ok(config) => start(common, &loaded.warnings, async move |stop| body(config, stop).await),
        Err(error) => error.report(),
    }
}

/// Runs `body` on a one-thread runtime until it ends. The first SIGINT or SIGTERM asks it to stop, by what it is handed;
/// the second ends the process at once.
pub fn start<E: Display>(
    common: &Common,
    warnings: &[String],
    body: impl AsyncFnOnce(watch::Receiver<bool>) -> Result<(), E>,
) -> Exit {
    let left_out = match log::init(&common.log_level, common.log_format) {
        Ok(left_out) => left_out,
        Err(error) => {
            eprintln!("error: cannot write a log: {error}");
            return Exit::Failed;
        }
    };
    if let Err(error) = allocator::set_up() {
        tracing::warn!("memory is given back as late as the allocator likes: {error}");
    }
    if let Err(error) = files::raise() {
        tracing::warn!("the soft limit of open files stays as it is: {error}");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let running = || {
        runtime.block_on(async {
            let (stop, stopped) = watch::channel(false);
            let signals = tokio::spawn(obey_signals(stop));
            tokio::spawn(left_out.clone().keep_telling());
            let done = body(stopped).await;
            signals.abort();
            done
        })
    };
    // The panic has told its story already; nothing of what it broke is used again.
    let Ok(done) = catch_unwind(AssertUnwindSafe(running)) else { return Exit::Failed };
    // What is still at work, such as a client that does not close, is not waited for.
    runtime.shutdown_background();
    left_out.tell();
    match done {
        Ok(()) => Exit::Success,
        Err(error) => failed(&error),
    }
}

/// A runtime for the data path: one thread, since a message that comes alone pays for every wake-up.
///
/// # Errors
/// The operating system gives no more.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Runs `main` as a task; what comes back ends when it ends, or with its panic.
///
/// tokio polls what it was started with only after a look at the sockets, which is a system call for each turn; a task has
/// its turn as soon as the one is over that woke it.
pub fn spawn<T: Send + 'static>(
    main: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Unpin {
    // Its drop ends the task.
    let mut running = JoinSet::new();
    running.spawn(main);
    Box::pin(async move {
        match running.join_next().await.expect("there is one task") {
            Ok(done) => done,
            Err(error) => resume_unwind(error.into_panic()),
        }
    })
}

fn failed(error: &impl Display) -> Exit {
    eprintln!("error: {error}");
    Exit::Failed
}

/// Makes `stop` true at the first SIGINT or SIGTERM, and ends the process at the second. Never returns.
pub async fn obey_signals(stop: watch::Sender<bool>) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        tracing::error!("signals cannot be caught; only SIGKILL ends this process");
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.send_replace(true) {
            std::process::exit(i32::from(Exit::Failed.code()));
        }
        tracing::info!("stopping; a second signal ends the process at once");
    }
}
