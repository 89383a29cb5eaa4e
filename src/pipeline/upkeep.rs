//! What the store needs now and then, done only while spans arrive: an idle service leaves its database asleep.

use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tokio::sync::Notify;

use super::circuit::Circuit;
use crate::clock::Clock;
use crate::meters;
use crate::store::{Maintenance, StoreError};

/// At most this often.
const EVERY: Duration = Duration::from_secs(60);

pub(super) struct Upkeep {
    pub store: Arc<dyn Maintenance>,
    pub circuit: Arc<Circuit>,
    pub clock: Clock,
    /// Told by the writer after each batch.
    pub flushed: Arc<Notify>,
}

impl Upkeep {
    /// Runs until aborted.
    pub async fn run(self) {
        loop {
            self.flushed.notified().await;
            // Of a store that is away enough is said elsewhere.
            if self.circuit.is_closed()
                && let Err(error) = self.look_after().await
            {
                tracing::warn!(%error, "upkeep failed; it is tried again with a later batch");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn look_after(&self) -> Result<(), StoreError> {
        self.store.prepare_days(self.clock.now()).await?;
        let size = self.store.size().await?;
        gauge!(meters::STORE_BYTES).set(size.bytes as f64);
        gauge!(meters::STORE_OPEN_SPANS).set(size.open_spans as f64);
        gauge!(meters::STORE_DEAD_LETTERS).set(size.dead_letters as f64);
        Ok(())
    }
}
