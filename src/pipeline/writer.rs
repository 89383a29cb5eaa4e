//! The writer: takes a batch, folds it, and writes it until the store has it.
//!
//! A batch is given up only to the dead letters, and only span by span: what the store refuses as data is bisected down
//! to the spans it refuses. Everything else (a store that is away, a missing table, a full disk) is waited out.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::Health;
use super::batch::BatchRule;
use super::queue::{Part, Queue, Request, Taken};
use super::settle::TraceKey;
use crate::clock::{self, Clock};
use crate::meters;
use crate::model::merge::fold;
use crate::model::span::{Span, SpanKey};
use crate::settings::pipeline::PipelineSettings;
use crate::store::{DeadLetter, SpanWriter, StoreError};
use crate::wire::native;

pub(super) struct Writer {
    /// Of the queue, its own.
    pub lane: usize,
    pub queue: Arc<Queue>,
    pub store: Arc<dyn SpanWriter>,
    pub health: Arc<Health>,
    /// Traces that were written to, for settling.
    pub touched: UnboundedSender<Vec<TraceKey>>,
    /// That a batch was written, for upkeep.
    pub flushed: Arc<Notify>,
    pub clock: Clock,
    pub settings: PipelineSettings,
}

impl Writer {
    /// Runs until the queue is closed and the lane empty.
    pub async fn run(self) {
        let rule = BatchRule {
            max_spans: self.settings.batch_max_spans,
            linger: Duration::from_millis(self.settings.linger_ms),
        };
        while let Some(Taken { parts, spans, bytes }) = self.queue.take(self.lane, rule).await {
            let written = self.write(parts).await;
            // First the room, then the word: who hears that all is stored finds room for more.
            self.queue.release(spans, bytes);
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
            let keys: Vec<SpanKey> =
                if request.is_awaited() { spans.iter().map(Span::key).collect() } else { Vec::new() };
            requests.push((request, keys));
            records.extend(spans);
        }
        let batch = fold(records);
        let begun = Instant::now();
        let refused = self.write_bisecting(&batch).await;
        histogram!(meters::FLUSH_SECONDS).record(begun.elapsed().as_secs_f64());
        histogram!(meters::BATCH_SPANS).record(batch.len() as f64);

        let mut traces: Vec<TraceKey> =
            batch.iter().map(|span| TraceKey { tenant: span.tenant.clone(), trace_id: span.trace_id }).collect();
        traces.dedup();
        // Nobody settles any more once the service has been aborted.
        let _ = self.touched.send(traces);
        self.flushed.notify_one();
        let dead_letters = |keys: &[SpanKey]| keys.iter().filter(|key| refused.contains(key)).count();
        requests.into_iter().map(|(request, keys)| (request, dead_letters(&keys))).collect()
    }

    /// Writes all of `batch` that the store takes, and gives the keys of what it refused.
    async fn write_bisecting(&self, batch: &[Span]) -> HashSet<SpanKey> {
        let mut refused = HashSet::new();
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let Err(error) = self.write_patiently(part).await else { continue };
            match part {
                [] => {}
                [span] => {
                    refused.insert(span.key());
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
        let mut attempt = 0;
        loop {
            let error = match self.store.write_spans(spans).await {
                Ok(()) => {
                    if !self.health.store_ok.swap(true, Ordering::Relaxed) {
                        tracing::info!("the store takes spans again");
                    }
                    return Ok(());
                }
                Err(error @ StoreError::Refused { .. }) => return Err(error),
                Err(error) => error,
            };
            counter!(meters::COMMIT_FAILURES).increment(1);
            let conflict = matches!(error, StoreError::Conflict { .. });
            if !conflict && self.health.store_ok.swap(false, Ordering::Relaxed) {
                tracing::warn!(%error, "the store does not take spans; they wait in memory and are tried again");
            }
            tokio::time::sleep(self.backoff(attempt)).await;
            attempt += 1;
        }
    }

    /// Exponential, with jitter over its upper half so that several writers do not come back in step.
    fn backoff(&self, attempt: u32) -> Duration {
        let ceiling = self.settings.retry_base_ms.saturating_mul(1 << attempt.min(16)).min(self.settings.retry_max_ms);
        Duration::from_millis(ceiling / 2 + clock::random_below(ceiling / 2 + 1))
    }

    async fn bury(&self, span: &Span, error: &StoreError) {
        let letter = DeadLetter {
            tenant: span.tenant.clone(),
            trace_id: span.trace_id.to_string(),
            span_id: span.span_id.to_string(),
            body: native::encode(span),
            reason: error.to_string(),
            refused_at: self.clock.now(),
        };
        tracing::error!(trace_id = letter.trace_id, span_id = letter.span_id, %error, "the store refuses a span; it goes to the dead letters");
        counter!(meters::DEAD_LETTERS).increment(1);
        let letters = [letter];
        let mut attempt = 0;
        while let Err(error) = self.store.write_dead_letters(&letters).await {
            if !error.is_retryable() {
                tracing::error!(%error, body = letters[0].body, "a dead letter cannot be kept; this line is its only trace");
                return;
            }
            tokio::time::sleep(self.backoff(attempt)).await;
            attempt += 1;
        }
    }
}
