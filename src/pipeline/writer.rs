//! The writer: takes a batch, puts it in order, and writes it until the store has it.
//!
//! A batch is given up only to the dead letters, and only span by span: what the store refuses as data is bisected down
//! to the spans it refuses. Everything else (a store that is away, a missing table, a full disk) is waited out.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::batch::BatchRule;
use super::brake::Brake;
use super::circuit::Circuit;
use super::queue::{Part, Queue, Request, Taken};
use super::settle::TraceKey;
use crate::clock::Clock;
use crate::meters;
use crate::model::merge::gather;
use crate::model::span::{Span, SpanKey};
use crate::model::time::UnixNanos;
use crate::settings::pipeline::PipelineSettings;
use crate::store::error::Reach;
use crate::store::{self, DeadLetter, SpanWriter, StoreError};
use crate::wire::native;

/// Times that a write which met another writer is repeated without a pause.
const AT_ONCE: u32 = 3;

pub(super) struct Writer {
    /// Of the queue, its own.
    pub lane: usize,
    pub queue: Arc<Queue>,
    pub store: Arc<dyn SpanWriter>,
    pub circuit: Arc<Circuit>,
    pub brake: Arc<Brake>,
    /// Traces that were written to, for settling.
    pub touched: UnboundedSender<Vec<TraceKey>>,
    /// That a batch was written, for upkeep.
    pub flushed: Arc<Notify>,
    pub clock: Clock,
    pub settings: PipelineSettings,
}

/// A record of a batch: which span's, and when it was heard of.
type Heard = (SpanKey, UnixNanos);

fn heard(span: &Span) -> Heard {
    (span.key(), span.seen_at)
}

impl Writer {
    /// Runs until the queue is closed and the lane empty.
    pub async fn run(self) {
        let rule = BatchRule {
            max_spans: self.settings.batch_max_spans,
            linger: Duration::from_millis(self.settings.linger_ms),
        };
        while let Some(Taken { parts, room }) = self.queue.take(self.lane, rule).await {
            let written = self.write(parts).await;
            // First the room, then the word: who hears that all is stored finds room for more.
            self.queue.release(room);
            for (request, dead_letters) in written {
                request.finish_part(dead_letters);
            }
        }
    }

    /// Writes what the requests brought; gives each with the number of its dead letters, yet to be told.
    async fn write(&self, parts: Vec<Part>) -> Vec<(Arc<Request>, usize)> {
        let mut records = Vec::with_capacity(parts.iter().map(|part| part.spans.len()).sum());
        let mut requests = Vec::with_capacity(parts.len());
        for Part { spans, request, .. } in parts {
            // Only who waits is told which of its spans are dead letters.
            let keys: Vec<Heard> = if request.is_awaited() { spans.iter().map(heard).collect() } else { Vec::new() };
            requests.push((request, keys));
            records.extend(spans);
        }
        let batch = gather(records);
        let mut refused = HashSet::new();
        for piece in batch.chunks(self.brake.piece()) {
            self.brake.hold(piece.len()).await;
            let begun = Instant::now();
            refused.extend(self.write_bisecting(piece).await);
            histogram!(meters::FLUSH_SECONDS).record(begun.elapsed().as_secs_f64());
        }
        histogram!(meters::BATCH_SPANS).record(batch.len() as f64);

        let mut traces: Vec<TraceKey> =
            batch.iter().map(|span| TraceKey { tenant: span.tenant.clone(), trace_id: span.trace_id }).collect();
        traces.dedup();
        // It may wait for long, and most of it was for spans of the same traces.
        traces.shrink_to_fit();
        // Nobody settles any more once the service has been aborted.
        let _ = self.touched.send(traces);
        self.flushed.notify_one();
        let dead_letters = |keys: &[Heard]| keys.iter().filter(|key| refused.contains(key)).count();
        requests.into_iter().map(|(request, keys)| (request, dead_letters(&keys))).collect()
    }

    /// Writes all of `batch` that the store takes, and tells what it refused.
    async fn write_bisecting(&self, batch: &[Span]) -> HashSet<Heard> {
        let mut refused = HashSet::new();
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let Err(error) = self.write_patiently(part).await else { continue };
            match part {
                [] => {}
                [span] => {
                    refused.insert(heard(span));
                    self.bury(span, &error).await;
                }
                _ => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        refused
    }

    /// Repeats until the store takes the spans or refuses them as data.
    async fn write_patiently(&self, spans: &[Span]) -> Result<(), StoreError> {
        self.patiently(|| self.store.write_spans(spans)).await
    }

    /// Repeats a write until the store does it or refuses its data. While the store as a whole is in trouble the circuit
    /// says when to try; where only this write fails, it is tried at growing distances, after another writer's
    /// interference at once.
    async fn patiently<W>(&self, write: impl Fn() -> W) -> Result<(), StoreError>
    where
        W: Future<Output = store::Result<()>>,
    {
        let mut failures: u32 = 0;
        loop {
            let turn = self.circuit.turn().await;
            let result = write().await;
            turn.end(&result);
            let error = match result {
                Ok(()) | Err(StoreError::Refused { .. }) => {
                    self.circuit.held_up(self.lane, None);
                    return result;
                }
                Err(error) => error,
            };
            counter!(meters::COMMIT_FAILURES).increment(1);
            if error.cause().reach() != Reach::Call {
                continue;
            }
            failures += 1;
            let pause = match error {
                StoreError::Conflict { .. } => failures.checked_sub(AT_ONCE + 1),
                _ => Some(failures - 1),
            };
            if let Some(before) = pause {
                self.circuit.held_up(self.lane, Some(&error));
                tokio::time::sleep(self.circuit.backoff(before)).await;
            }
        }
    }

    async fn bury(&self, span: &Span, error: &StoreError) {
        let letter = DeadLetter {
            tenant: span.tenant.clone(),
            trace_id: span.trace_id.to_string(),
            span_id: span.span_id.to_string(),
            body: native::encode(span),
            reason: error.reason(),
            refused_at: self.clock.now(),
        };
        tracing::error!(trace_id = letter.trace_id, span_id = letter.span_id, %error, "the store refuses a span; it goes to the dead letters");
        counter!(meters::DEAD_LETTERS).increment(1);
        let letters = [letter];
        if let Err(error) = self.patiently(|| self.store.write_dead_letters(&letters, span.seen_at)).await {
            tracing::error!(%error, body = letters[0].body, "a dead letter cannot be kept; this line is its only trace");
        }
    }
}
