//! Deleting on request: traces by their ids, or all of a user or of a workspace.
//!
//! A trace is barred before anything of it is removed: what was accepted of it by then and waits in the queue, in the
//! journal, or with another process, is dropped when its turn comes, also after a crash. What is accepted later is new, and
//! stored as any span. Whose a trace is only its stored spans say, so the traces of somebody are looked for when all that was
//! accepted before is stored.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Pipeline;
use crate::model::ids::TraceId;
use crate::model::tenant::TenantId;
use crate::store::{Erased, Erasure, StoreError};

pub use crate::store::Owner;

/// How long a call removes; what is left then is the next call's.
const TIME: Duration = Duration::from_secs(10);
/// How long a call waits until everything accepted before it is stored.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Traces that are looked for at a time: a place is read from its beginning for each so many.
const FOUND: usize = 10_000;
/// Traces that are removed at a time.
const TOGETHER: usize = 200;

/// What was deleted, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Deleted {
    /// Summaries, each with its counts, tokens and cost.
    pub traces: u64,
    pub spans: u64,
    pub pins: u64,
    pub dead_letters: u64,
    /// Nothing was changed.
    pub dry_run: bool,
    /// Whether all was done. If not, the same request goes on.
    pub complete: bool,
    /// Where to go on: give it as `from`, which spares looking again where all is done. Without it the next request begins
    /// anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Why nothing, or not all, was deleted.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{records} requests that were accepted before still wait for the store; ask again")]
    Behind { records: u64 },
}

impl Deleted {
    fn add(&mut self, erased: Erased) {
        self.traces += erased.traces;
        self.spans += erased.spans;
        self.pins += erased.pins;
        self.dead_letters += erased.dead_letters;
    }

    /// Whether there was anything.
    pub fn is_nothing(&self) -> bool {
        self.traces + self.spans + self.pins + self.dead_letters == 0
    }
}

impl Pipeline {
    /// Deletes a trace, whatever is known of it: what is accepted and not yet stored counts for nothing, and is dropped.
    ///
    /// # Errors
    /// What the store says. Asking again goes on.
    pub async fn erase_trace(&self, tenant: &TenantId, trace: TraceId, dry_run: bool) -> Result<Deleted, EraseError> {
        let erase = async {
            let mut deleted = Deleted { dry_run, complete: true, ..Deleted::default() };
            let end = Instant::now() + TIME;
            deleted.complete = self.erase(tenant, &[trace], end, &mut deleted).await?;
            Ok(deleted)
        };
        Ok(self.asked(erase).await?)
    }

    /// Deletes all traces of which a span, the summary or a dead letter is this owner's. `from`: where the call before ended.
    ///
    /// # Errors
    /// [`EraseError::Behind`] if the store does not get all that was accepted before in time, and what the store says.
    /// Asking again goes on.
    pub async fn erase_of(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        from: Option<&str>,
        dry_run: bool,
    ) -> Result<Deleted, EraseError> {
        // Nothing comes to an end while the store is away.
        self.circuit.check_read().await?;
        self.passed().await?;
        Ok(self.asked(self.erase_places(tenant, owner, from, dry_run)).await?)
    }

    async fn erase_places(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        from: Option<&str>,
        dry_run: bool,
    ) -> Result<Deleted, StoreError> {
        let mut deleted = Deleted { dry_run, complete: true, ..Deleted::default() };
        let end = Instant::now() + TIME;
        let erasure = self.store.erasure.as_ref();
        let mut counted = HashSet::new();
        for place in erasure.places().await? {
            if from.is_some_and(|from| place.as_str() < from) {
                continue;
            }
            let mut full = true;
            while full {
                if Instant::now() >= end {
                    (deleted.complete, deleted.next) = (false, Some(place));
                    return Ok(deleted);
                }
                let limit = if dry_run { usize::MAX } else { FOUND };
                let mut found = erasure.traces_of(tenant, owner, &place, limit).await?;
                full = found.len() >= limit;
                // Of a trace that is in several places all is counted at the first.
                found.retain(|trace| !dry_run || counted.insert(*trace));
                if !self.erase(tenant, &found, end, &mut deleted).await? {
                    (deleted.complete, deleted.next) = (false, Some(place));
                    return Ok(deleted);
                }
            }
        }
        Ok(deleted)
    }

    /// Removes these traces, or counts what there is of them; `false` if the time was too short.
    async fn erase(
        &self,
        tenant: &TenantId,
        traces: &[TraceId],
        end: Instant,
        deleted: &mut Deleted,
    ) -> Result<bool, StoreError> {
        let erasure: &dyn Erasure = self.store.erasure.as_ref();
        for (index, some) in traces.chunks(TOGETHER).enumerate() {
            if index > 0 && Instant::now() >= end {
                return Ok(false);
            }
            if deleted.dry_run {
                deleted.add(erasure.holdings(tenant, some).await?);
                continue;
            }
            erasure.bar(tenant, some, self.clock.now()).await?;
            loop {
                let (erased, more) = erasure.erase(tenant, some).await?;
                deleted.add(erased);
                if !more {
                    break;
                }
                if Instant::now() >= end {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Waits until everything that was accepted up to now is stored.
    async fn passed(&self) -> Result<(), EraseError> {
        let mark = self.journal.as_ref().map(|journaled| journaled.journal.status().tail);
        let end = Instant::now() + PATIENCE;
        loop {
            let queued = self.queue.status().0 > 0;
            let (behind, records) = match (&self.journal, mark) {
                (Some(journaled), Some(mark)) => {
                    let status = journaled.journal.status();
                    // What the journal did not take is in the queue alone.
                    (status.done_to < mark || (queued && !status.can_append()), status.undone)
                }
                _ => (queued, u64::from(queued)),
            };
            if !behind {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(EraseError::Behind { records });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Asks the store unless it is known to be away, and tells the circuit how it answered.
    async fn asked<T>(&self, ask: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.circuit.check_read().await?;
        let answer = ask.await;
        self.circuit.heard(&answer);
        answer
    }
}
