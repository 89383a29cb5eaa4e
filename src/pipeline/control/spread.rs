//! How replicas learn of each other's levers: a row in the store (a checkpoint named `ingest`), looked at while requests
//! come, and written by whoever changed something.
//!
//! Nobody has to be there when it happens. What a replica reads and what it has are joined, and it writes if it knows more:
//! in the end all have the change with the greatest stamp. An idle process does not look, so a database may sleep. One that is
//! switched off does while requests come, for the word that switches it on: where the database is to sleep then, the
//! configuration is the switch.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::Control;
use crate::levers::{Levers, SPREADING_SECS};
use crate::pipeline::circuit::Circuit;
use crate::store::{Checkpoints, StoreError};

/// The name of the row.
const NAME: &str = "ingest";
/// How often it is looked at while requests come: their spans wake the database anyway.
const EVERY: Duration = Duration::from_secs(SPREADING_SECS);
/// How soon it is tried again where the store answers with an error. (One that is away is not asked.)
const AFTER_ERROR: Duration = Duration::from_secs(60);
/// Tries of a write that another replica is in the way of.
const TRIES: usize = 10;
/// How soon after the store is open it is looked at first.
const FIRST: Duration = Duration::from_millis(100);

pub(in crate::pipeline) struct Spread {
    pub control: Control,
    pub checkpoints: Arc<dyn Checkpoints>,
    pub circuit: Arc<Circuit>,
}

impl Spread {
    /// Runs until aborted.
    pub async fn run(self) {
        let inner = &self.control.0;
        let mut looked: Option<Instant> = None;
        let mut pause = FIRST;
        loop {
            let is_wanted = tokio::time::timeout(pause, inner.wanted.notified()).await.is_ok();
            let is_shared = *inner.shared.borrow() == self.control.in_force().levers.tag();
            let is_due = looked.is_none_or(|at| at.elapsed() >= EVERY && inner.asked.load(Relaxed));
            if !(is_wanted || !is_shared || is_due) || !self.circuit.is_closed() {
                continue;
            }
            inner.asked.store(false, Relaxed);
            pause = match self.exchange().await {
                Ok(()) => {
                    looked = Some(Instant::now());
                    EVERY
                }
                Err(error) => {
                    tracing::warn!(%error, "the levers of ingest are not shared with other replicas; it is tried again");
                    AFTER_ERROR
                }
            };
        }
    }

    async fn exchange(&self) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let text = self.checkpoints.checkpoint(NAME).await?;
            let stored: Levers = match text.as_deref().map(serde_json::from_str).transpose() {
                Ok(stored) => stored.unwrap_or_default(),
                // Of a later version perhaps: not ours to overwrite.
                Err(error) => return Err(other("read the levers of ingest", error)),
            };
            let (control, known) = (self.control.clone(), stored.clone());
            let learning = tokio::task::spawn_blocking(move || control.learn(&known)).await;
            let joined = learning.map_err(|error| other("keep the levers of ingest", error))?;
            let is_there = joined == stored || {
                let ours =
                    serde_json::to_string(&joined).map_err(|error| other("write the levers of ingest", error))?;
                self.checkpoints.swap_checkpoint(NAME, text.as_deref(), &ours).await?
            };
            if is_there {
                self.control.0.shared.send_replace(joined.tag());
                return Ok(());
            }
        }
        Err(StoreError::Conflict {
            doing: "share the levers of ingest",
            source: "others write them all the time".into(),
        })
    }
}

fn other(doing: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Other { doing, source: error.into() }
}
