//! Settling: when a trace has been quiet for a while, its roll-up is computed anew from all of its spans.
//!
//! Which traces are unsettled is written with their spans, in the same transaction, so nothing is forgotten by a crash:
//! a starting process asks the store. What is kept in memory here is only when to look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::analysis::summary;
use crate::clock::Clock;
use crate::meters;
use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::model::trace::Trace;
use crate::settings::pipeline::PipelineSettings;
use crate::store::{RollupStore, Store, StoreError};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TraceKey {
    pub tenant: TenantId,
    pub trace_id: TraceId,
}

/// Rows of one trace that are read to settle it; a trace beyond it is rolled up from its first spans.
const MAX_ROWS: usize = 100_000;
/// Roll-ups written in one transaction.
const CHUNK: usize = 500;
/// Unsettled traces asked for at once at the start.
const RECOVERY_PAGE: usize = 10_000;

pub(super) struct Settler {
    rollups: Arc<dyn RollupStore>,
    touched: UnboundedReceiver<Vec<TraceKey>>,
    waiting: HashMap<TraceKey, Times>,
    quiet: Duration,
    max_age: Duration,
    deadline_ns: i64,
    clock: Clock,
}

#[derive(Clone, Copy)]
struct Times {
    first: Instant,
    last: Instant,
}

impl Settler {
    /// A settler, and where the writer tells which traces it wrote to.
    pub fn new(store: &Store, settings: &PipelineSettings, clock: Clock) -> (Self, UnboundedSender<Vec<TraceKey>>) {
        let (sender, touched) = unbounded_channel();
        let settler = Self {
            rollups: store.rollups.clone(),
            touched,
            waiting: HashMap::new(),
            quiet: Duration::from_millis(settings.settle_quiet_ms),
            max_age: Duration::from_millis(settings.settle_max_age_ms),
            deadline_ns: settings.abandoned_after_ns(),
            clock,
        };
        (settler, sender)
    }

    /// Runs until the writer is gone, then settles what is left and ends.
    pub async fn run(mut self) {
        self.recover().await;
        let mut tick = tokio::time::interval((self.quiet / 2).max(Duration::from_millis(10)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                traces = self.touched.recv() => match traces {
                    Some(traces) => self.note(traces),
                    None => break,
                },
                _ = tick.tick() => self.settle_due(false).await,
            }
        }
        self.settle_due(true).await;
    }

    fn note(&mut self, traces: Vec<TraceKey>) {
        let now = Instant::now();
        for trace in traces {
            self.waiting.entry(trace).and_modify(|times| times.last = now).or_insert(Times { first: now, last: now });
        }
    }

    /// Takes up what an earlier process left unsettled. A store that is away is asked again with the next start; the
    /// traces are settled anyway when they are written to.
    async fn recover(&mut self) {
        match self.rollups.unsettled(RECOVERY_PAGE).await {
            Ok(traces) => {
                if !traces.is_empty() {
                    tracing::info!(traces = traces.len(), "settling what an earlier process left unsettled");
                }
                self.note(traces.into_iter().map(|(tenant, trace_id)| TraceKey { tenant, trace_id }).collect());
            }
            Err(error) => tracing::warn!(%error, "cannot ask for unsettled traces"),
        }
    }

    async fn settle_due(&mut self, all: bool) {
        let now = Instant::now();
        let due: Vec<TraceKey> = self
            .waiting
            .iter()
            .filter(|(_, times)| all || now - times.last >= self.quiet || now - times.first >= self.max_age)
            .map(|(trace, _)| trace.clone())
            .collect();
        for chunk in due.chunks(CHUNK) {
            let settled = self.settle(chunk).await;
            if let Err(error) = settled {
                tracing::warn!(%error, traces = chunk.len(), "cannot settle; it is tried again");
                continue;
            }
            for trace in chunk {
                if let Some(times) = self.waiting.remove(trace) {
                    histogram!(meters::SETTLE_LAG_SECONDS).record(times.first.elapsed().as_secs_f64());
                }
            }
            counter!(meters::TRACES_SETTLED).increment(chunk.len() as u64);
        }
        gauge!(meters::TRACES_UNSETTLED).set(self.waiting.len() as f64);
    }

    async fn settle(&self, traces: &[TraceKey]) -> Result<(), StoreError> {
        let mut rollups = Vec::with_capacity(traces.len());
        for TraceKey { tenant, trace_id } in traces {
            let (touch, mut rows) = match self.rollups.rows_to_settle(tenant, *trace_id, MAX_ROWS).await {
                Ok(Some(read)) => read,
                Ok(None) => continue,
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => {
                    // One damaged trace must not keep its neighbours unsettled.
                    tracing::error!(%error, %trace_id, "this trace cannot be read, so it has no roll-up");
                    continue;
                }
            };
            let truncated = rows.len() > MAX_ROWS;
            rows.truncate(MAX_ROWS);
            let trace = Trace::new(tenant.clone(), *trace_id, rows, truncated);
            rollups.push((tenant.clone(), touch, summary::rollup(&trace, self.clock.now(), self.deadline_ns)));
        }
        self.rollups.write_rollups(&rollups).await
    }
}
