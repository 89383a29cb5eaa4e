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
use crate::store::{Erased, StoreError};

pub use crate::store::Owner;

/// How long a call removes; what is left then is the next call's.
const TIME: Duration = Duration::from_secs(10);
/// How long a call waits until everything accepted before it is stored.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Traces that are looked for at a time.
const FOUND: usize = 10_000;
/// How long is removed at least what was found.
const LEAST: Duration = Duration::from_secs(5);
/// Traces that a call counts, and remembers so as not to count them twice; the next call goes on.
const COUNTED: usize = 500_000;
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

/// How far a call for somebody's traces came: a place, and the trace in it behind which to go on.
struct Reached<'a> {
    place: &'a str,
    after: Option<TraceId>,
}

impl<'a> Reached<'a> {
    fn parse(text: &'a str) -> Self {
        let parts = text.rsplit_once('/').and_then(|(place, after)| Some((place, TraceId::parse(after).ok()?)));
        match parts {
            Some((place, after)) => Self { place, after: Some(after) },
            None => Self { place: text, after: None },
        }
    }

    fn text(&self) -> String {
        match self.after {
            Some(after) => format!("{}/{after}", self.place),
            None => self.place.to_owned(),
        }
    }
}

impl Pipeline {
    /// Deletes a trace, whatever is known of it: what is accepted and not yet stored counts for nothing, and is dropped.
    /// `barred` is told of how many traces it is settled that they go, before anything of them does.
    ///
    /// # Errors
    /// What the store says. Asking again goes on.
    pub async fn erase_trace(
        &self,
        tenant: &TenantId,
        trace: TraceId,
        dry_run: bool,
        barred: &(dyn Fn(usize) + Sync),
    ) -> Result<Deleted, EraseError> {
        // What the store says here is no word on whether it takes spans: this may be another role's connection.
        self.circuit.check_read().await?;
        let mut deleted = Deleted { dry_run, complete: true, ..Deleted::default() };
        let end = Instant::now() + TIME;
        self.bar(tenant, &[trace], dry_run, barred).await?;
        deleted.complete = self.erase(tenant, &[trace], end, &mut deleted).await?;
        Ok(deleted)
    }

    /// Deletes all traces of which a span, the summary or a dead letter is this owner's. `from`: where the call before ended.
    /// `barred`: as [`Pipeline::erase_trace`] says.
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
        barred: &(dyn Fn(usize) + Sync),
    ) -> Result<Deleted, EraseError> {
        // Nothing comes to an end while the store is away.
        self.circuit.check_read().await?;
        self.passed().await?;
        Ok(self.erase_places(tenant, owner, from.map(Reached::parse), dry_run, barred).await?)
    }

    async fn erase_places(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        from: Option<Reached<'_>>,
        dry_run: bool,
        barred: &(dyn Fn(usize) + Sync),
    ) -> Result<Deleted, StoreError> {
        let mut deleted = Deleted { dry_run, complete: true, ..Deleted::default() };
        let end = Instant::now() + TIME;
        let erasure = self.store.erasure.as_ref();
        let mut counted = HashSet::new();
        for place in erasure.places().await? {
            let mut reached = Reached { place: &place, after: None };
            match &from {
                Some(from) if place.as_str() < from.place => continue,
                Some(from) if place == from.place => reached.after = from.after,
                _ => {}
            }
            loop {
                if Instant::now() >= end || counted.len() >= COUNTED {
                    (deleted.complete, deleted.next) = (false, Some(reached.text()));
                    return Ok(deleted);
                }
                let mut found = erasure.traces_of(tenant, owner, &place, reached.after, FOUND).await?;
                let is_last = found.len() < FOUND;
                self.bar(tenant, &found, dry_run, barred).await?;
                // Of a trace that is in several places all is counted at the first.
                found.retain(|trace| !dry_run || counted.insert(*trace));
                // Who looked for long has found something to do.
                let end = end.max(Instant::now() + LEAST);
                for some in found.chunks(TOGETHER) {
                    let is_late = Instant::now() >= end;
                    if is_late || !self.erase(tenant, some, end, &mut deleted).await? {
                        (deleted.complete, deleted.next) = (false, Some(reached.text()));
                        return Ok(deleted);
                    }
                    reached.after = some.last().copied().max(reached.after);
                }
                if is_last {
                    break;
                }
            }
        }
        Ok(deleted)
    }

    async fn bar(
        &self,
        tenant: &TenantId,
        traces: &[TraceId],
        dry_run: bool,
        barred: &(dyn Fn(usize) + Sync),
    ) -> Result<(), StoreError> {
        if !dry_run && !traces.is_empty() {
            self.store.erasure.bar(tenant, traces, self.clock.now()).await?;
            barred(traces.len());
        }
        Ok(())
    }

    /// Removes these traces, few and barred, or counts what there is of them; `false` if the time was too short.
    async fn erase(
        &self,
        tenant: &TenantId,
        traces: &[TraceId],
        end: Instant,
        deleted: &mut Deleted,
    ) -> Result<bool, StoreError> {
        let erasure = self.store.erasure.as_ref();
        if deleted.dry_run {
            deleted.add(erasure.holdings(tenant, traces).await?);
            return Ok(true);
        }
        loop {
            let (erased, more) = erasure.erase(tenant, traces).await?;
            deleted.add(erased);
            if !more || Instant::now() >= end {
                return Ok(!more);
            }
        }
    }

    /// Waits until everything that was accepted up to now is stored.
    async fn passed(&self) -> Result<(), EraseError> {
        let mark = self.journal.as_ref().map(|journaled| journaled.journal.status().tail);
        let queued = self.queue.mark();
        let end = Instant::now() + PATIENCE;
        loop {
            // What the journal did not take is in the queue alone.
            let waiting = self.queue.before(&queued);
            let (behind, records) = match (&self.journal, mark) {
                (Some(journaled), Some(mark)) => {
                    let status = journaled.journal.status();
                    (status.done_to < mark || waiting > 0, status.undone.max(waiting))
                }
                _ => (waiting > 0, waiting),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_go_on_is_read_as_it_was_told() {
        let trace = TraceId::from_bytes([7; 16]).unwrap();
        for reached in [
            Reached { place: "spans_20260105", after: Some(trace) },
            Reached { place: "traces", after: None },
            Reached { place: "a/b", after: None },
        ] {
            let text = reached.text();
            let read = Reached::parse(&text);
            assert_eq!((read.place, read.after), (reached.place, reached.after), "{text}");
        }
    }
}
