//! From the journal back into the queue: what an earlier process left over, and what came while the queue was full; the
//! oldest first, as room becomes free.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinError;

use super::queue::{Entry, Queue};
use crate::journal::{Backlog, Journal, JournalError};
use crate::model::span::Span;

/// Spans that are read at a time, beside those in the queue; one record may have more.
const AT_A_TIME: usize = 2_000;
/// The same in bytes, as they lie on disk.
const BYTES_AT_A_TIME: usize = 4 << 20;
/// How long to wait after the disk could not be read.
const AFTER_AN_ERROR: Duration = Duration::from_secs(1);
/// How often progress is logged.
const PROGRESS: Duration = Duration::from_secs(10);

pub(super) struct Refill {
    pub journal: Journal,
    pub queue: Arc<Queue>,
    pub awaited: Arc<Awaited>,
    /// That there may be records on disk alone, or that the queue was closed.
    pub wanted: Arc<Notify>,
    /// Whether there are records in hand that wait for room: then nobody else may take it.
    pub in_hand: Arc<AtomicBool>,
}

/// Who waits for the commit of a record that is on disk alone, by its sequence.
#[derive(Default)]
pub(super) struct Awaited(Mutex<BTreeMap<u64, oneshot::Sender<usize>>>);

impl Awaited {
    /// Beyond this many, those who gave up are looked for.
    const MANY: usize = 1_024;

    pub fn insert(&self, sequence: u64, done: oneshot::Sender<usize>) {
        let mut awaited = self.lock();
        if awaited.len() >= Self::MANY {
            awaited.retain(|_, done| !done.is_closed());
        }
        awaited.insert(sequence, done);
    }

    fn remove(&self, sequence: u64) -> Option<oneshot::Sender<usize>> {
        self.lock().remove(&sequence)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records taken from the disk.
type Taken = Result<Vec<(u64, Vec<Span>)>, JournalError>;

impl Refill {
    /// Runs until the queue is closed. What is on disk then stays there for the next start.
    pub async fn run(self) {
        let mut backlog = self.journal.backlog();
        let mut behind: Option<Behind> = None;
        while !self.queue.is_closed() {
            let (taken, after) = match take(self.journal.clone(), backlog).await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::error!(%error, "reading the journal failed; what it holds is stored after the next start");
                    return;
                }
            };
            backlog = after;
            match taken {
                Ok(records) if records.is_empty() => {
                    if let Some(behind) = behind.take() {
                        behind.caught_up();
                    }
                    self.wanted.notified().await;
                }
                Ok(records) => {
                    behind
                        .get_or_insert_with(|| Behind::begin(&self.journal, records.len()))
                        .advance(&records, &self.journal);
                    self.push(records).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the journal cannot be read; trying again");
                    tokio::time::sleep(AFTER_AN_ERROR).await;
                }
            }
        }
    }

    async fn push(&self, records: Vec<(u64, Vec<Span>)>) {
        self.in_hand.store(true, Ordering::Release);
        for (sequence, spans) in records {
            if spans.is_empty() {
                // No writer would ever say that it is done.
                self.journal.done(sequence);
                continue;
            }
            let entry = Entry { journal: self.journal.clone(), sequence };
            if self.queue.room(&spans).await {
                let done = self.awaited.remove(sequence);
                self.queue.push_for(spans, done, Some(entry));
            } else {
                self.journal.give_back(sequence);
            }
        }
        self.in_hand.store(false, Ordering::Release);
    }
}

/// The next records, on a thread that may block.
async fn take(journal: Journal, mut backlog: Backlog) -> Result<(Taken, Backlog), JoinError> {
    tokio::task::spawn_blocking(move || {
        let taken = take_some(&journal, &mut backlog);
        (taken, backlog)
    })
    .await
}

fn take_some(journal: &Journal, backlog: &mut Backlog) -> Taken {
    let (mut records, mut count, mut bytes) = (Vec::new(), 0, 0);
    while count < AT_A_TIME && bytes < BYTES_AT_A_TIME {
        // What was taken before a record that cannot be read is not kept waiting for it.
        let stored = match backlog.take() {
            Ok(Some(stored)) => stored,
            Ok(None) => break,
            Err(error) if records.is_empty() => return Err(error),
            Err(_) => break,
        };
        match stored.spans() {
            Ok(spans) => {
                count += spans.len().max(1);
                bytes += stored.payload.len();
                records.push((stored.sequence, spans));
            }
            Err(error) => {
                let sequence = stored.sequence;
                journal.set_aside(sequence, &error.to_string());
            }
        }
    }
    Ok(records)
}

/// A time during which records wait on disk, for the log.
struct Behind {
    begun: Instant,
    told: Instant,
    records: u64,
    spans: u64,
}

impl Behind {
    fn begin(journal: &Journal, taken: usize) -> Self {
        let waiting = journal.waiting() + taken as u64;
        tracing::info!(records = waiting, "records of the journal wait for the store; storing them, the oldest first");
        let now = Instant::now();
        Self { begun: now, told: now, records: 0, spans: 0 }
    }

    fn advance(&mut self, records: &[(u64, Vec<Span>)], journal: &Journal) {
        self.records += records.len() as u64;
        self.spans += records.iter().map(|(_, spans)| spans.len() as u64).sum::<u64>();
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            tracing::info!(
                records = self.records,
                spans = self.spans,
                waiting = journal.waiting(),
                "storing what waited in the journal"
            );
        }
    }

    fn caught_up(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        tracing::info!(records = self.records, spans = self.spans, seconds, "nothing waits on disk alone any more");
    }
}
