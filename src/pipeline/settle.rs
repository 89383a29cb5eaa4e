//! Settling: when a trace has been quiet for a while, its roll-up is computed anew from all of its spans.
//!
//! Which traces are unsettled is written with their spans, in the same transaction, so nothing is forgotten by a crash:
//! a starting process asks the store. What is kept in memory here is only when to look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, gauge, histogram};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::circuit::Circuit;
use crate::analysis::summary;
use crate::clock::Clock;
use crate::meters;
use crate::model::ids::TraceId;
use crate::model::rollup::TraceRollup;
use crate::model::span::Span;
use crate::model::tenant::TenantId;
use crate::model::time::UnixNanos;
use crate::model::trace::Trace;
use crate::settings::pipeline::PipelineSettings;
use crate::store::error::Reach;
use crate::store::{RollupStore, Store, StoreError, ToSettle, Touch};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TraceKey {
    pub tenant: TenantId,
    pub trace_id: TraceId,
}

/// Rows that are read at once; a trace beyond it is rolled up from its first spans.
const MAX_ROWS: usize = 100_000;
/// Traces settled at once.
const CHUNK: usize = 256;
/// Traces that are kept in mind at most. The store knows the others, and is asked when these are settled.
const MOST: usize = 50_000;
/// Unsettled traces of an earlier process that are asked for at once.
const RECOVERY_PAGE: usize = 10_000;

pub(super) struct Settler {
    rollups: Arc<dyn RollupStore>,
    touched: UnboundedReceiver<Vec<TraceKey>>,
    waiting: HashMap<TraceKey, Times>,
    quiet: Duration,
    max_age: Duration,
    deadline_ns: i64,
    circuit: Arc<Circuit>,
    left: Left,
    /// Tries that failed one after the other, and when to try next.
    failures: u32,
    next_try: Instant,
    clock: Clock,
}

/// What an earlier process, or this one in haste, left unsettled and is not taken up.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    Unknown,
    More,
    Nothing,
}

#[derive(Clone, Copy)]
struct Times {
    first: Instant,
    last: Instant,
}

impl Settler {
    /// A settler, and where the writer tells which traces it wrote to.
    pub fn new(
        store: &Store,
        circuit: Arc<Circuit>,
        settings: &PipelineSettings,
        clock: Clock,
    ) -> (Self, UnboundedSender<Vec<TraceKey>>) {
        let (sender, touched) = unbounded_channel();
        let settler = Self {
            rollups: store.rollups.clone(),
            touched,
            waiting: HashMap::new(),
            quiet: Duration::from_millis(settings.settle_quiet_ms),
            max_age: Duration::from_millis(settings.settle_max_age_ms),
            deadline_ns: settings.abandoned_after_ns(),
            circuit,
            left: Left::Unknown,
            failures: 0,
            next_try: Instant::now(),
            clock,
        };
        (settler, sender)
    }

    /// Runs until the writer is gone, then settles what is left and ends.
    pub async fn run(mut self) {
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
            if let Some(times) = self.waiting.get_mut(&trace) {
                times.last = now;
            } else if self.waiting.len() < MOST {
                self.waiting.insert(trace, Times { first: now, last: now });
            } else if self.left == Left::Nothing {
                self.left = Left::More;
            }
        }
    }

    /// Takes up what an earlier process left unsettled, a page of it.
    async fn recover(&mut self) -> Result<(), StoreError> {
        let traces = self.rollups.unsettled(RECOVERY_PAGE).await?;
        self.left = if traces.len() >= RECOVERY_PAGE { Left::More } else { Left::Nothing };
        if !traces.is_empty() {
            tracing::info!(traces = traces.len(), "settling what an earlier process left unsettled");
        }
        self.note(traces.into_iter().map(|(tenant, trace_id)| TraceKey { tenant, trace_id }).collect());
        Ok(())
    }

    /// Settles what is due, if the store can be tried; what fails stays due.
    async fn settle_due(&mut self, all: bool) {
        if Instant::now() < self.next_try && !all {
            return;
        }
        let asks = match self.left {
            Left::Unknown => true,
            Left::More => self.waiting.is_empty(),
            Left::Nothing => false,
        };
        if asks && self.circuit.is_closed() {
            let recovered = self.recover().await;
            self.heard(&recovered);
        }
        let now = Instant::now();
        let due: Vec<TraceKey> = self
            .waiting
            .iter()
            .filter(|(_, times)| all || now - times.last >= self.quiet || now - times.first >= self.max_age)
            .map(|(trace, _)| trace.clone())
            .collect();
        for chunk in due.chunks(CHUNK) {
            // What is told meanwhile must not pile up.
            while let Ok(traces) = self.touched.try_recv() {
                self.note(traces);
            }
            let Ok(turn) = self.circuit.try_turn() else { break };
            let settled = settle(self.rollups.as_ref(), chunk, self.clock.now(), self.deadline_ns).await;
            turn.end(&settled);
            self.heard(&settled);
            if settled.is_err() {
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

    /// Notes how the store answered, and says so where nobody else does: once.
    fn heard(&mut self, result: &Result<(), StoreError>) {
        let Err(error) = result else {
            self.failures = 0;
            return;
        };
        if self.failures == 0 && error.cause().reach() == Reach::Call {
            tracing::warn!(%error, "cannot settle; it is tried again");
        }
        self.next_try = Instant::now() + self.circuit.backoff(self.failures);
        self.failures = self.failures.saturating_add(1);
    }
}

/// Settles these traces together. Those that hold too many spans together are settled apart, and one that holds too many by
/// itself by its first ones.
///
/// # Errors
/// Those that say something of the store rather than of a trace.
pub(super) async fn settle(
    rollups: &dyn RollupStore,
    traces: &[TraceKey],
    now: UnixNanos,
    deadline_ns: i64,
) -> Result<(), StoreError> {
    let mut parts = vec![traces];
    while let Some(part) = parts.pop() {
        let keys: Vec<(TenantId, TraceId)> = part.iter().map(|trace| (trace.tenant.clone(), trace.trace_id)).collect();
        let settled = match rollups.rows_to_settle(&keys, MAX_ROWS).await {
            Ok(read) if read.rows.len() <= MAX_ROWS || part.len() == 1 => {
                match rollups.write_rollups(&roll_up(read, now, deadline_ns)).await {
                    // Of unknown kind: it says nothing against these roll-ups.
                    Err(error @ StoreError::Other { .. }) => return Err(error),
                    written => written.map(|()| true),
                }
            }
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        };
        match settled {
            Ok(true) => {}
            Err(error) if error.is_retryable() => return Err(error),
            // One damaged trace must not keep its neighbours unsettled.
            Err(error) if part.len() == 1 => {
                tracing::error!(%error, trace_id = %part[0].trace_id, "a trace gets no roll-up");
            }
            Ok(false) | Err(_) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(())
}

fn roll_up(read: ToSettle, now: UnixNanos, deadline_ns: i64) -> Vec<(TenantId, Touch, TraceRollup)> {
    let truncated = read.rows.len() > MAX_ROWS;
    let mut rows: HashMap<(TraceId, TenantId), Vec<Span>> = HashMap::with_capacity(read.traces.len());
    for row in read.rows.into_iter().take(MAX_ROWS) {
        rows.entry((row.trace_id, row.tenant.clone())).or_default().push(row);
    }
    let rollup = |(tenant, trace_id, touch): (TenantId, TraceId, Touch)| {
        let rows = rows.remove(&(trace_id, tenant.clone()))?;
        let trace = Trace::new(tenant.clone(), trace_id, rows, truncated);
        Some((tenant, touch, summary::rollup(&trace, now, deadline_ns)))
    };
    read.traces.into_iter().filter_map(rollup).collect()
}
