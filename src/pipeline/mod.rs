//! The write path: spans in at the top, committed batches out at the bottom.
//!
//! ```text
//! submit ─ queue (bounded, a lane a writer) ─ batch ─ writer ─ circuit ─ store
//!                                                       └─ settle ─ roll-ups
//! ```
//!
//! The store need not be there: it is opened beside the requests (see [`opening`]), and waited for when it goes away (see
//! [`circuit`]). The queue is the one place that pushes back.
//!
//! What an answer promises. [`Pipeline::submit`] returning a [`Receipt`] means that the spans are in this process's
//! memory and will be written until the store takes them; a killed process loses what was not yet committed: some dozen
//! milliseconds below saturation, and at most what the queue may hold. [`Receipt::stored`] returning [`Stored::Yes`]
//! means that they are committed. [`Pipeline::drain`] writes all that was taken before it returns.

mod batch;
mod circuit;
pub mod import;
mod opening;
mod queue;
mod settle;
mod upkeep;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

use crate::clock::Clock;
use crate::model::span::Span;
use crate::settings::pipeline::PipelineSettings;
use crate::store::{Store, TraceReader};

use circuit::Circuit;
pub use circuit::{StoreStatus, Trouble};
use opening::Reader;
use queue::Queue;
use settle::Settler;
use upkeep::Upkeep;
use writer::Writer;

/// The running write path. Cloning shares it.
#[derive(Clone)]
pub struct Pipeline {
    queue: Arc<Queue>,
    circuit: Arc<Circuit>,
    store: Store,
}

/// Why spans were not taken. The caller keeps them and may send them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error("the queue is full: spans arrive faster than the store takes them")]
    Full,
    #[error("the service is shutting down")]
    Draining,
}

/// What became of the spans of one submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// All are committed, but for this many that the store refused for good: they are among the dead letters.
    Yes { dead_letters: usize },
    /// Not known within the time given; they are still on their way.
    NotYet,
}

/// The promise that spans are on their way.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<usize>);

impl Receipt {
    /// Waits until the spans are committed, at most for `patience`.
    pub async fn stored(self, patience: Duration) -> Stored {
        match tokio::time::timeout(patience, self.0).await {
            Ok(Ok(dead_letters)) => Stored::Yes { dead_letters },
            Ok(Err(_)) | Err(_) => Stored::NotYet,
        }
    }
}

/// How the write path is, as /readyz shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineStatus {
    pub queued_spans: usize,
    pub queued_bytes: usize,
    pub draining: bool,
    /// Whether a request was refused for want of room, and none has become free since.
    pub full: bool,
    pub store: StoreStatus,
}

/// The tasks behind a [`Pipeline`]; they end by [`Pipeline::drain`].
pub struct Tasks {
    opening: JoinHandle<()>,
    writers: Vec<JoinHandle<()>>,
    settler: JoinHandle<()>,
    upkeep: JoinHandle<()>,
}

impl Pipeline {
    /// Starts the write path into `store`, which is opened, made and brought up to date meanwhile. Traces that an earlier
    /// process left unsettled are settled first.
    pub fn start(store: &Store, settings: &PipelineSettings, clock: Clock) -> (Self, Tasks) {
        let queue = Arc::new(Queue::new(store.writers, settings.queue_max_bytes, settings.queue_max_spans));
        let circuit = Circuit::new(settings, clock.clone());
        let flushed = Arc::new(Notify::new());
        let (settler, touched) = Settler::new(store, circuit.clone(), settings, clock.clone());
        let upkeep = Upkeep {
            store: store.maintenance.clone(),
            circuit: circuit.clone(),
            clock: clock.clone(),
            flushed: flushed.clone(),
        };
        let writer = |lane| Writer {
            lane,
            queue: queue.clone(),
            store: store.spans.clone(),
            circuit: circuit.clone(),
            touched: touched.clone(),
            flushed: flushed.clone(),
            clock: clock.clone(),
            settings: settings.clone(),
        };
        let tasks = Tasks {
            opening: tokio::spawn(opening::open(store.maintenance.clone(), circuit.clone(), clock.clone())),
            writers: (0..queue.lanes()).map(|lane| tokio::spawn(writer(lane).run())).collect(),
            settler: tokio::spawn(settler.run()),
            upkeep: tokio::spawn(upkeep.run()),
        };
        (Self { queue, circuit, store: store.clone() }, tasks)
    }

    /// The store, to be asked: at once refused while it is known to be away.
    pub fn reader(&self) -> Arc<dyn TraceReader> {
        Arc::new(Reader::new(&self.store, self.circuit.clone()))
    }

    /// Takes the spans of one request, all or none. Never waits.
    ///
    /// # Errors
    /// [`Busy`] when the queue has no room or the service is shutting down.
    pub fn submit(&self, spans: Vec<Span>) -> Result<Receipt, Busy> {
        let (done, receipt) = oneshot::channel();
        if spans.is_empty() {
            // The receiver may be gone already; nobody minds.
            let _ = done.send(0);
            return Ok(Receipt(receipt));
        }
        self.queue.push(spans, done)?;
        Ok(Receipt(receipt))
    }

    /// Whether a request may be worth decoding at all. A full queue is told before the work, not after it.
    ///
    /// # Errors
    /// [`Busy`] when there is no room for the spans of a body of that size: in memory they take about as much.
    pub fn check_room(&self, body_bytes: usize) -> Result<(), Busy> {
        self.queue.check_room(body_bytes)
    }

    pub fn status(&self) -> PipelineStatus {
        let (queued_spans, queued_bytes, draining) = self.queue.status();
        let store = self.circuit.status(self.store.maintenance.notes());
        PipelineStatus { queued_spans, queued_bytes, draining, full: self.queue.is_full(), store }
    }

    /// Takes nothing more, writes what is queued, settles what was written, and ends the tasks. Gives up after
    /// `patience` and says how many spans were left: they are lost with the process.
    pub async fn drain(&self, tasks: Tasks, patience: Duration) -> usize {
        self.queue.close();
        tasks.upkeep.abort();
        let opening = tasks.opening.abort_handle();
        let tasks: Vec<JoinHandle<()>> = tasks.writers.into_iter().chain([tasks.settler]).collect();
        let abort: Vec<AbortHandle> = tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a task of the write path ended badly");
                }
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            abort.iter().for_each(AbortHandle::abort);
        }
        opening.abort();
        self.queue.status().0
    }
}
