//! The one file that knows every room: what is started, in which order, and how it is stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::access::Keys;
use crate::clock::Clock;
use crate::http::{self, Intake, Services};
use crate::journal::{Journal, JournalError, Keepers};
use crate::pipeline::forward::{ForwardError, Targets};
use crate::pipeline::{self, Care, Control, Pipeline};
use crate::query::{Doctor, Queries};
use crate::redact::{Redactor, RuleError};
use crate::settings::Settings;
use crate::settings::server::ServerSettings;
use crate::store::{self, Store, StoreError};
use crate::telemetry::{self, TelemetryError};

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("cannot listen on {address}: {source}; another program may have the port (--port takes another)")]
    Listen { address: String, source: std::io::Error },
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0} (journal.dir takes another directory, journal.enabled = false does without)")]
    Journal(#[from] JournalError),
    #[error("server.cors_origins: {origin:?} is not an origin such as https://app.example.com")]
    Origin { origin: String },
    #[error("{0}")]
    Forward(#[from] ForwardError),
    #[error("{0}")]
    Redaction(#[from] RuleError),
    #[error("{0}")]
    Telemetry(#[from] TelemetryError),
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

/// A running service.
pub struct Running {
    address: SocketAddr,
    grpc_address: Option<SocketAddr>,
    stop: watch::Sender<()>,
    servers: Vec<JoinHandle<()>>,
    pipeline: Pipeline,
    tasks: pipeline::Tasks,
    journal: Option<(Journal, Keepers)>,
    store: Store,
    /// How long the end may take in all.
    patience: Duration,
}

/// How long requests that are under way when the service is stopped may take, as a part of all that stopping may take:
/// the rest belongs to what was accepted.
const REQUESTS_PART: u32 = 2;
/// What closing the store is given at least.
const TO_CLOSE: Duration = Duration::from_secs(1);

/// Starts the service and runs it until SIGTERM or SIGINT; returns once everything that was taken is stored, or
/// `server.shutdown_timeout_secs` have passed.
///
/// # Errors
/// [`AppError`] when it cannot start.
pub async fn run(settings: &Settings) -> Result<(), AppError> {
    let signal = signals().map_err(AppError::Signals)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let running = start(settings, Clock::system()).await?;
    let address = running.address;
    let grpc = running.grpc_address.map(|address| address.to_string());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        store = store::place(&settings.store),
        ingest = !running.pipeline.control().is_off(),
        grpc,
        "tracefall listens on http://{address}"
    );
    let name = signal.await;
    tracing::info!(signal = name, "stopping: taking nothing more, storing what was taken");
    running.stop().await;
    Ok(())
}

/// Starts every part. The store is opened and brought up to date meanwhile, however long that takes; spans are taken at
/// once.
///
/// # Errors
/// [`AppError`]: what no waiting heals. What had been started is stopped again.
pub async fn start(settings: &Settings, clock: Clock) -> Result<Running, AppError> {
    let cors_origins = settings
        .server
        .cors_origins
        .iter()
        .map(|origin| HeaderValue::from_str(origin).map_err(|_| AppError::Origin { origin: origin.clone() }))
        .collect::<Result<Vec<_>, _>>()?;
    let metrics = telemetry::install_metrics()?;
    keep_bounded(metrics.clone());

    // Listening comes before the store is touched: a second process on the same port must not open the first one's file.
    let address = format!("{}:{}", settings.server.host, settings.server.port);
    let wanted = (settings.server.bind_host(), settings.server.port);
    let listen = TcpListener::bind(wanted).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (bound, listener) = listen.map_err(|source| AppError::Listen { address, source })?;
    let grpc = listen_for_grpc(settings).await?;

    // What is wrong with the settings stops the start; what is wrong with the store is waited for.
    let store = store::at(&settings.store)?;
    let forward = Targets::new(&settings.forward)?;
    let journal = open_journal(settings, &clock).await?;
    let to_pipeline = journal.as_ref().map(|(journal, _)| journal.clone());
    let levers = settings.store.data_dir.join("ingest.json");
    let control = Control::open(levers, settings.ingest.enabled, clock.clone());
    let (retention, storage) = (Some(settings.retention.clone()), settings.storage.clone());
    let redaction = Redactor::new(&settings.redaction)?.map(Arc::new);
    let care = Care { retention, storage, control, redaction, forward };
    let (pipeline, tasks) = Pipeline::start_caring(&store, to_pipeline, &settings.pipeline, &care, clock.clone());
    let deadline_ns = settings.pipeline.abandoned_after_ns();
    let request_timeout = Duration::from_secs(settings.server.request_timeout_secs);
    let services = Services {
        pipeline: pipeline.clone(),
        queries: Queries::new(pipeline.reader(), pipeline.pins(), clock.clone(), deadline_ns).knowing({
            let control = pipeline.control().clone();
            move || control.levers()
        }),
        doctor: Doctor::new(settings, clock.clone())?,
        keys: Arc::new(Keys::new(&settings.access)),
        intake: Intake::new(
            settings.server.in_flight_bytes,
            settings.server.decode_thread_count(),
            settings.ingest.limits.clone(),
            request_timeout,
            journal.is_some(),
        ),
        clock,
        request_timeout,
        max_wait: Duration::from_secs(settings.pipeline.wait_stored_max_secs),
        loopback: bound.ip().is_loopback(),
        cors_origins,
        metrics: Arc::new({
            let pipeline = pipeline.clone();
            move || {
                pipeline.show();
                metrics.render()
            }
        }),
    };
    let (stop, stopped) = watch::channel(());
    let patience = Duration::from_secs(settings.server.shutdown_timeout_secs);
    let router = http::router(services);
    let max_connections = settings.server.max_connections;
    let grpc_address = grpc.as_ref().map(|(address, _)| *address);
    let listeners = std::iter::once(listener).chain(grpc.map(|(_, listener)| listener));
    let serve = |listener| {
        let (router, mut stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            // A dropped sender means the same as a sent stop.
            let stopped = async { drop(stopped.changed().await) };
            http::serve::serve(listener, router, max_connections, stopped, patience / REQUESTS_PART).await;
        })
    };
    let servers = listeners.map(serve).collect();
    Ok(Running { address: bound, grpc_address, stop, servers, pipeline, tasks, journal, store, patience })
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for gRPC beside, which it speaks there too.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc_address
    }

    /// Takes nothing more, lets running requests finish, stores what was taken, and closes the store.
    pub async fn stop(self) {
        let begun = Instant::now();
        let left = || self.patience.saturating_sub(begun.elapsed());
        // The servers may have ended by themselves.
        let _ = self.stop.send(());
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::error!(%error, "a listener ended badly");
            }
        }
        let unstored = self.pipeline.drain(self.tasks, left()).await;
        match self.journal {
            Some((journal, keepers)) => close_journal(journal, keepers).await,
            None if unstored > 0 => {
                tracing::error!(spans = unstored, "the store did not take these spans in time; they are lost");
            }
            None => {}
        }
        if tokio::time::timeout(left().max(TO_CLOSE), self.store.maintenance.close()).await.is_err() {
            tracing::warn!("the store's connections could not be closed in time");
        }
    }
}

/// Listens where exporters of gRPC look by default. That another program has that very port is no reason not to start:
/// gRPC is spoken on the other port as well.
async fn listen_for_grpc(settings: &Settings) -> Result<Option<(SocketAddr, TcpListener)>, AppError> {
    if !settings.server.grpc {
        return Ok(None);
    }
    let port = settings.server.grpc_port;
    let listen = TcpListener::bind((settings.server.bind_host(), port)).await;
    match listen.and_then(|listener| Ok((listener.local_addr()?, listener))) {
        Ok(listening) => Ok(Some(listening)),
        Err(error) if port == ServerSettings::default().grpc_port => {
            tracing::warn!(
                %error, port, "gRPC's usual port cannot be had; send OTLP over gRPC to the other port, or set server.grpc_port"
            );
            Ok(None)
        }
        Err(source) => Err(AppError::Listen { address: format!("{}:{port}", settings.server.host), source }),
    }
}

/// Opens the journal and starts its threads.
async fn open_journal(settings: &Settings, clock: &Clock) -> Result<Option<(Journal, Keepers)>, AppError> {
    let Some(directory) = settings.journal.directory(&settings.store) else { return Ok(None) };
    let (of_journal, clock) = (settings.journal.clone(), clock.clone());
    let follow = Targets::follow(&settings.forward);
    let not_opened = {
        let path = directory.clone();
        move |error: JoinError| JournalError::Io { doing: "open", path, source: error.into() }
    };
    let open = move || {
        let (journal, opened) = Journal::open_followed(&directory, &of_journal, &follow, move || clock.now())?;
        let no_thread = |source| JournalError::Io { doing: "start a thread for", path: directory.clone(), source };
        let keepers = Keepers::start(&journal).map_err(no_thread)?;
        Ok::<_, JournalError>((journal, keepers, opened))
    };
    let (journal, keepers, opened) = tokio::task::spawn_blocking(open).await.map_err(not_opened)??;
    if !opened.damaged.is_empty() || !opened.missing.is_empty() {
        tracing::error!(damaged = ?opened.damaged, missing = ?opened.missing, "files of the journal are damaged or missing");
    }
    if opened.torn_bytes > 0 {
        tracing::warn!(bytes = opened.torn_bytes, "the end of the journal was cut off: a write that had not ended");
    }
    tracing::debug!(segments = opened.segments, to_replay = opened.to_replay, "the journal is open");
    Ok(Some((journal, keepers)))
}

/// Makes durable what the journal holds, and says what waits there.
async fn close_journal(journal: Journal, keepers: Keepers) {
    let close = move || {
        drop(keepers);
        let closed = journal.close();
        let status = journal.status();
        (closed, status.undone)
    };
    match tokio::task::spawn_blocking(close).await {
        Ok((closed, left)) => {
            if let Err(error) = closed {
                tracing::error!(%error, "the journal was not closed as it should be");
            }
            if left > 0 {
                tracing::warn!(
                    records = left,
                    "requests wait in the journal for the store; the next start stores them"
                );
            }
        }
        Err(error) => tracing::error!(%error, "the journal was not closed as it should be"),
    }
}

/// Folds what histograms recorded every few seconds, so that they do not grow while nobody scrapes.
fn keep_bounded(metrics: PrometheusHandle) {
    const EVERY: Duration = Duration::from_secs(5);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(EVERY);
        loop {
            tick.tick().await;
            metrics.run_upkeep();
        }
    });
}

/// Resolves with the name of the first SIGTERM or SIGINT.
fn signals() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
