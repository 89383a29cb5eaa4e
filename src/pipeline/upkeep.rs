//! What the store needs now and then, done only while spans arrive: an idle service leaves its database asleep.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use metrics::gauge;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::circuit::Circuit;
use super::guard::{Fill, Guard};
use super::retention::{Outcome, Report, Retention};
use crate::clock::Clock;
use crate::meters;
use crate::store::{Maintenance, StoreError};

/// At most this often.
const EVERY: Duration = Duration::from_secs(60);

pub(super) struct Upkeep {
    pub store: Arc<dyn Maintenance>,
    pub retention: Option<Retention>,
    pub guard: Arc<Guard>,
    pub circuit: Arc<Circuit>,
    pub clock: Clock,
    /// Told by the writer after each batch, and when spans are refused because the store is full.
    pub flushed: Arc<Notify>,
}

impl Upkeep {
    /// Runs until aborted.
    pub async fn run(self) {
        let mut next_retention = Instant::now();
        loop {
            self.flushed.notified().await;
            // Of a store that is away enough is said elsewhere.
            if self.circuit.is_closed()
                && let Err(error) = self.look_after(&mut next_retention).await
            {
                tracing::warn!(%error, "upkeep failed; it is tried again with a later batch");
            }
            tokio::time::sleep(EVERY).await;
            // What is due by now waits for the next batch, which has the store awake: one that came meanwhile is long over.
            let _ = self.flushed.notified().now_or_never();
        }
    }

    async fn look_after(&self, next_retention: &mut Instant) -> Result<(), StoreError> {
        self.store.prepare_days(self.clock.now()).await?;
        let bytes = self.measure().await?;
        let Some(retention) = &self.retention else {
            self.guard.update(bytes);
            return Ok(());
        };
        // Before anybody is refused, what may go goes.
        let is_full = self.guard.judge(bytes) == Fill::Full;
        if !is_full && Instant::now() < *next_retention {
            self.guard.update(bytes);
            return Ok(());
        }
        // One that fails, for want of rights perhaps, is not tried again with every batch.
        *next_retention = Instant::now() + retention.every();
        let done = if is_full { retention.run().await.map(Some) } else { retention.run_if_due().await };
        match done {
            Ok(Some(Outcome::Done(report))) if report != Report::default() => {
                tracing::info!(
                    days = report.days.len(),
                    busy_days = report.busy_days.len(),
                    moved_spans = report.moved_spans,
                    removed_spans = report.removed_spans,
                    others = report.others,
                    "removed what is past its keep-by date"
                );
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "old spans cannot be removed; `tracefall maintain --once` does it by hand");
            }
        }
        self.guard.update(self.measure().await?);
        Ok(())
    }

    /// The bytes of the store.
    async fn measure(&self) -> Result<u64, StoreError> {
        let size = self.store.size().await?;
        gauge!(meters::STORE_BYTES).set(size.bytes as f64);
        gauge!(meters::STORE_OPEN_SPANS).set(size.open_spans as f64);
        gauge!(meters::STORE_DEAD_LETTERS).set(size.dead_letters as f64);
        Ok(size.bytes)
    }
}
