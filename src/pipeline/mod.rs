//! The write path: spans in at the top, committed batches out at the bottom.
//!
//! ```text
//! submit ─ levers ─┬ journal (on disk before the answer) ┬ refill
//!                  └────────────────────────────────────┴ queue (bounded, a lane a writer) ─ batch ─ writer ─ circuit ─ store
//!                       └ forward ─ other back ends                                                     └─ settle ─ roll-ups
//! ```
//!
//! The store need not be there: it is opened beside the requests (see `opening`), and waited for when it goes away (see
//! `circuit`). The queue is a window over the journal: what has no room in memory waits on disk alone, and comes back
//! oldest first (`refill`), as does what an earlier process left over. Only when the journal's budget is spent, or,
//! without a journal, when the queue is full, are spans refused.
//!
//! What an answer promises. [`Receipt::kept`] returning means that the spans are in the journal, which survives a killed
//! process (and with `fsync = "always"` a power cut). Where the journal cannot take them, because its disk is full or
//! broken, it returns when the store has committed them. With the journal switched off it returns at once, and a killed
//! process loses what the queue held. [`Receipt::stored`] returning [`Stored::Yes`] means that they are committed.
//! [`Pipeline::drain`] writes all that is in memory before it returns; what is on disk alone stays there for the next
//! start.

mod batch;
mod brake;
mod circuit;
pub mod control;
pub mod erasure;
pub mod forward;
mod guard;
pub mod import;
pub mod letters;
mod opening;
mod queue;
mod receipt;
mod refill;
pub mod retention;
mod settle;
mod upkeep;
mod writer;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::{Notify, oneshot};
use tokio::task::{AbortHandle, JoinHandle};

use crate::clock::Clock;
use crate::journal::{self, Held, Journal, JournalError, Record, Ticket};
use crate::meters;
use crate::model::span::Span;
use crate::redact::Redactor;
use crate::settings::pipeline::PipelineSettings;
use crate::settings::retention::{RetentionSettings, StorageSettings};
use crate::store::{Pins, Store, TraceReader};
use crate::wire::hops::Hops;

use brake::Brake;
use circuit::Circuit;
pub use circuit::{StoreStatus, Trouble};
pub use control::Control;
use control::spread::Spread;
use forward::{ForwardTasks, Forwarding, TargetStatus, Targets};
use guard::{Fill, Guard};
use opening::Reader;
use queue::{Entry, Queue};
use receipt::Kept;
pub use receipt::{Receipt, Stored};
use refill::{Awaited, Refill};
use retention::Retention;
use settle::Settler;
use upkeep::Upkeep;
use writer::Writer;

/// The running write path. Cloning shares it.
#[derive(Clone)]
pub struct Pipeline {
    queue: Arc<Queue>,
    journal: Option<Journaled>,
    forwarding: Option<Arc<Forwarding>>,
    circuit: Arc<Circuit>,
    brake: Arc<Brake>,
    guard: Arc<Guard>,
    control: Control,
    flushed: Arc<Notify>,
    store: Store,
    clock: Clock,
    redaction: Option<Arc<Redactor>>,
}

/// The journal, and what the way back from it needs.
#[derive(Clone)]
struct Journaled {
    journal: Journal,
    awaited: Arc<Awaited>,
    /// That there may be records on disk alone.
    wanted: Arc<Notify>,
    /// Whether the refill has records in its hand that wait for room.
    in_hand: Arc<AtomicBool>,
}

/// Why spans were not taken. The caller keeps them and may send them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error("there is no room: spans arrive faster than the store takes them, or it is away")]
    Full,
    #[error("the journal's disk does not keep what is written to it, and the store has not taken the spans in time")]
    Unkept,
    #[error("the service is shutting down")]
    Draining,
    #[error("the store has no room left (storage.capacity_bytes), and old spans are being removed")]
    NoRoom,
}

/// How the write path is, as /readyz shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineStatus {
    pub queued_spans: usize,
    pub queued_bytes: usize,
    pub draining: bool,
    /// Whether a request was refused for want of room, and none has become free since; or the store has none.
    pub full: bool,
    pub journal: Option<journal::Status>,
    pub store: StoreStatus,
    /// Other back ends that spans go on to.
    pub forward: Vec<TargetStatus>,
}

/// What the write path does for its store beside writing.
#[derive(Debug, Clone, Default)]
pub struct Care {
    /// Removes what is too old, unless that is somebody else's.
    pub retention: Option<RetentionSettings>,
    pub storage: StorageSettings,
    /// Which spans are not kept.
    pub control: Control,
    /// Cuts secrets out of what is submitted, before the journal has it.
    pub redaction: Option<Arc<Redactor>>,
    /// Where spans go on to; the journal was opened for them.
    pub forward: Targets,
}

/// The tasks behind a [`Pipeline`]; they end by [`Pipeline::drain`].
pub struct Tasks {
    opening: JoinHandle<()>,
    writers: Vec<JoinHandle<()>>,
    settler: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    spread: Option<JoinHandle<()>>,
    refill: Option<JoinHandle<()>>,
    forward: ForwardTasks,
}

impl Pipeline {
    /// Starts the write path into `store`, which is opened, made and brought up to date meanwhile. Traces that an earlier
    /// process left unsettled are settled first, and what it left in the journal is written.
    pub fn start(store: &Store, journal: Option<Journal>, settings: &PipelineSettings, clock: Clock) -> (Self, Tasks) {
        Self::start_caring(store, journal, settings, &Care::default(), clock)
    }

    /// As [`Pipeline::start`], and looks after the ages and the size of what is stored.
    pub fn start_caring(
        store: &Store,
        journal: Option<Journal>,
        settings: &PipelineSettings,
        care: &Care,
        clock: Clock,
    ) -> (Self, Tasks) {
        let queue = Arc::new(Queue::new(store.writers, settings.queue_max_bytes, settings.queue_max_spans));
        let circuit = Circuit::new(settings, clock.clone());
        let brake = Arc::new(Brake::new(settings.max_rows_per_second));
        let flushed = Arc::new(Notify::new());
        let (settler, touched) = Settler::new(store, circuit.clone(), settings, clock.clone());
        let guard = Arc::new(Guard::new(&care.storage));
        let retention = care.retention.as_ref().map(|settings| Retention::new(store, settings, clock.clone()));
        let upkeep = Upkeep {
            store: store.maintenance.clone(),
            retention,
            guard: guard.clone(),
            circuit: circuit.clone(),
            clock: clock.clone(),
            flushed: flushed.clone(),
        };
        let (control, checkpoints) = (care.control.clone(), store.checkpoints.clone());
        let spread = Spread { control, checkpoints, circuit: circuit.clone() };
        let writer = |lane| Writer {
            lane,
            queue: queue.clone(),
            store: store.spans.clone(),
            circuit: circuit.clone(),
            brake: brake.clone(),
            touched: touched.clone(),
            flushed: flushed.clone(),
            clock: clock.clone(),
            settings: settings.clone(),
        };
        let journal = journal.map(|journal| Journaled {
            journal,
            awaited: Arc::default(),
            wanted: Arc::default(),
            in_hand: Arc::default(),
        });
        let started = journal.as_ref().and_then(|with| Forwarding::start(&care.forward, &with.journal, &clock));
        let (forwarding, forward) = started.unzip();
        let refill = |Journaled { journal, awaited, wanted, in_hand }: Journaled| Refill {
            journal,
            queue: queue.clone(),
            awaited,
            wanted,
            in_hand,
        };
        let tasks = Tasks {
            forward: forward.unwrap_or_default(),
            refill: journal.clone().map(|journal| tokio::spawn(refill(journal).run())),
            opening: tokio::spawn(opening::open(store.maintenance.clone(), circuit.clone(), clock.clone())),
            writers: (0..queue.lanes()).map(|lane| tokio::spawn(writer(lane).run())).collect(),
            settler: tokio::spawn(settler.run()),
            upkeep: tokio::spawn(upkeep.run()),
            // What is kept nowhere, an import's for one, is nobody else's.
            spread: care.control.is_kept().then(|| tokio::spawn(spread.run())),
        };
        let (control, redaction, store) = (care.control.clone(), care.redaction.clone(), store.clone());
        (Self { queue, journal, forwarding, circuit, brake, guard, control, flushed, store, clock, redaction }, tasks)
    }

    /// The store, to be asked: at once refused while it is known to be away.
    pub fn reader(&self) -> Arc<dyn TraceReader> {
        Arc::new(Reader::new(&self.store, self.circuit.clone()))
    }

    /// What is pinned, by the same rule.
    pub fn pins(&self) -> Arc<dyn Pins> {
        Arc::new(Reader::new(&self.store, self.circuit.clone()))
    }

    /// The levers: which spans are not kept.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Takes the spans of one request, all or none, but for those that the levers leave out. `awaited`: whether somebody wants to know of their commit. Waits for
    /// nobody, but writes to the journal's file: to be called where that may take a moment.
    ///
    /// # Errors
    /// [`Busy`] when there is no room or the service is shutting down.
    pub fn submit(&self, spans: Vec<Span>, awaited: bool) -> Result<Receipt, Busy> {
        self.submit_via(spans, awaited, &Hops::default())
    }

    /// As [`Pipeline::submit`], of spans that came by way of other services.
    ///
    /// # Errors
    /// As [`Pipeline::submit`].
    pub fn submit_via(&self, spans: Vec<Span>, awaited: bool, hops: &Hops) -> Result<Receipt, Busy> {
        let (done, stored) = oneshot::channel();
        let (mut spans, sampled) = self.control.sift(spans);
        if spans.is_empty() {
            // The receiver is there still; nobody minds.
            let _ = done.send(0);
            return Ok(Receipt { stored, kept: Kept::Already, sampled });
        }
        self.check_storage()?;
        self.redact(&mut spans);
        let Some(journaled) = &self.journal else {
            self.queue.push(spans, Some(done), None).map_err(|(busy, _)| busy)?;
            return Ok(Receipt { stored, kept: Kept::Already, sampled });
        };
        if self.queue.is_closed() {
            return Err(Busy::Draining);
        }
        let kept = match journaled.append(&spans, hops) {
            Ok(ticket) => {
                if let Some(forwarding) = &self.forwarding {
                    forwarding.appended();
                }
                let entry = Entry { journal: journaled.journal.clone(), sequence: ticket.sequence() };
                let kept = kept(ticket);
                self.hold(spans, entry, journaled, Some(done).filter(|_| awaited))?;
                kept
            }
            Err(JournalError::Full { .. }) => return Err(Busy::Full),
            Err(JournalError::Closed) => return Err(Busy::Draining),
            // Neither the one nor the other: told at once, not after a wait for a commit that will not come.
            Err(_) if !self.circuit.is_well() => return Err(Busy::Unkept),
            Err(error) => {
                tracing::debug!(%error, "the journal does not take a request; it is answered after its commit");
                let count = spans.len();
                self.queue.push(spans, Some(done), None).map_err(|(busy, _)| busy)?;
                if let Some(forwarding) = &self.forwarding {
                    forwarding.passed_by(count);
                }
                Kept::OnCommit
            }
        };
        Ok(Receipt { stored, kept, sampled })
    }

    /// Whether this process sent these spans out itself, and they came back by way of others: it has them.
    pub fn has_sent(&self, hops: &Hops) -> bool {
        self.forwarding.as_ref().is_some_and(|forwarding| forwarding.knows(hops))
    }

    /// From here on nobody sees what was cut out.
    fn redact(&self, spans: &mut [Span]) {
        let Some(redactor) = &self.redaction else { return };
        for (rule, count) in redactor.spans(spans) {
            counter!(meters::REDACTED, "rule" => rule.to_owned()).increment(count);
        }
    }

    /// Puts the spans of an appended record into the queue, or leaves them to the refill.
    fn hold(
        &self,
        spans: Vec<Span>,
        entry: Entry,
        journaled: &Journaled,
        done: Option<oneshot::Sender<usize>>,
    ) -> Result<(), Busy> {
        let sequence = entry.sequence;
        let (done, refused) = match journaled.is_behind() {
            true => (done, None),
            false => match self.queue.push(spans, done, Some(entry)) {
                Ok(()) => return Ok(()),
                Err((busy, done)) => (done, Some(busy)),
            },
        };
        // Before the refill may have the record: it tells whom it finds.
        if let Some(done) = done {
            journaled.awaited.insert(sequence, done);
        }
        journaled.journal.give_back(sequence);
        journaled.wanted.notify_one();
        match refused {
            // The sender is told to come again, and the next start stores them all the same.
            Some(Busy::Draining) => Err(Busy::Draining),
            _ => Ok(()),
        }
    }

    /// Whether a request may be worth decoding at all. That there is no room is told before the work, not after it.
    ///
    /// # Errors
    /// [`Busy`] when there is no room for the spans of a body of that size: in memory they take about as much.
    pub fn check_room(&self, body_bytes: usize) -> Result<(), Busy> {
        self.check_storage()?;
        match &self.journal {
            None => self.queue.check_room(body_bytes),
            Some(_) if self.queue.is_closed() => Err(Busy::Draining),
            // While nothing waits on disk the journal is nearly empty.
            Some(Journaled { journal, .. }) if journal.waiting() > 0 && journal.status().full => Err(Busy::Full),
            Some(_) => Ok(()),
        }
    }

    /// While nothing is taken nothing is flushed, so who is refused makes upkeep look again.
    fn check_storage(&self) -> Result<(), Busy> {
        if self.guard.fill() < Fill::Full {
            return Ok(());
        }
        self.flushed.notify_one();
        Err(Busy::NoRoom)
    }

    pub fn status(&self) -> PipelineStatus {
        let (queued_spans, queued_bytes, draining) = self.queue.status();
        let notes = self.store.maintenance.notes().into_iter().chain(self.guard.note()).collect();
        let store = self.circuit.status(notes);
        let journal = self.journal.as_ref().map(|journaled| journaled.journal.status());
        let full = journal.as_ref().map_or_else(|| self.queue.is_full(), |journal| journal.full);
        let full = full || self.guard.fill() == Fill::Full;
        let forward = self.forwarding.as_ref().map(|forwarding| forwarding.status()).unwrap_or_default();
        PipelineStatus { queued_spans, queued_bytes, draining, full, journal, store, forward }
    }

    /// Sets the gauges that nothing else keeps up to date. For each scrape.
    pub fn show(&self) {
        self.control.show();
        if let Some(forwarding) = &self.forwarding {
            forwarding.show();
        }
        let Some(Journaled { journal, .. }) = &self.journal else { return };
        let status = journal.status();
        gauge!(meters::JOURNAL_BYTES).set(status.bytes as f64);
        gauge!(meters::JOURNAL_KEPT).set(status.kept_bytes as f64);
        gauge!(meters::JOURNAL_MAX_BYTES).set(status.max_bytes as f64);
        gauge!(meters::JOURNAL_SEGMENTS).set(status.segments as f64);
        gauge!(meters::JOURNAL_WAITING).set(status.waiting as f64);
        gauge!(meters::JOURNAL_FAILING).set(f64::from(!status.can_append()));
        gauge!(meters::JOURNAL_LOST).set(status.lost_records as f64);
        gauge!(meters::JOURNAL_REPLAY, "state" => "all").set(status.replay.records as f64);
        gauge!(meters::JOURNAL_REPLAY, "state" => "done").set(status.replay.done_records as f64);
    }

    /// Takes nothing more, writes what is queued, settles what was written, and ends the tasks. Gives up after
    /// `patience` and says how many spans were left in memory: without a journal they are lost with the process.
    pub async fn drain(&self, tasks: Tasks, patience: Duration) -> usize {
        self.queue.close();
        self.brake.release();
        tasks.upkeep.abort();
        if let Some(spread) = tasks.spread {
            spread.abort();
        }
        if let Some(Journaled { wanted, .. }) = &self.journal {
            wanted.notify_one();
        }
        let (opening, forward) = (tasks.opening.abort_handle(), tasks.forward);
        let tasks: Vec<JoinHandle<()>> = tasks.writers.into_iter().chain([tasks.settler]).chain(tasks.refill).collect();
        let abort: Vec<AbortHandle> = tasks.iter().map(JoinHandle::abort_handle).collect();
        let all = async {
            for task in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, "a task of the write path ended badly");
                }
            }
        };
        let stored = async {
            if tokio::time::timeout(patience, all).await.is_err() {
                abort.iter().for_each(AbortHandle::abort);
            }
        };
        let forwarded = async {
            if let Some(forwarding) = &self.forwarding {
                forwarding.stop(forward, patience).await;
            }
        };
        tokio::join!(stored, forwarded);
        opening.abort();
        self.queue.status().0
    }
}

thread_local! {
    /// A record's buffer, used again for every request that this thread takes.
    static RECORD: RefCell<Record> = RefCell::default();
}

impl Journaled {
    /// Records on disk alone that are no reason to put further ones behind them: they come back any moment, and a busy
    /// service would else never find the moment in which none waits.
    const FEW: u64 = 100;

    /// Writes the spans down.
    fn append(&self, spans: &[Span], hops: &Hops) -> Result<Ticket, JournalError> {
        RECORD.with_borrow_mut(|record| {
            record.set_spans_via(spans, hops.as_str());
            self.journal.append(record, Held::InMemory)
        })
    }

    /// Whether what comes now has to wait on disk behind what came before, which would never find room else.
    fn is_behind(&self) -> bool {
        self.in_hand.load(Ordering::Acquire) || self.journal.waiting() > Self::FEW
    }
}

fn kept(ticket: Ticket) -> Kept {
    let (told, mut durable) = oneshot::channel();
    ticket.when_durable(move |result| {
        // The request may have stopped waiting.
        let _ = told.send(result.is_ok());
    });
    if durable.try_recv() == Ok(true) { Kept::Already } else { Kept::Soon(durable) }
}
