//! Retention: what is past its keep-by date goes, in which order and by whom.
//!
//! Of several processes on one store one does it, by a lease in the store. Every step may break off: it leaves nothing half
//! done, and the next run goes on. The order matters: days are closed to late spans before they are cleared, cleared before
//! they are dropped, and resources go only when everything that could refer to them has gone.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use serde::Serialize;

use crate::clock::{self, Clock};
use crate::meters;
use crate::model::ids::TraceId;
use crate::model::time::{DAY_NS, UnixNanos};
use crate::settings::retention::RetentionSettings;
use crate::store::error::Cause;
use crate::store::{self, Checkpoints, Cleared, Due, KeepBy, Place, Store, StoreError};

/// The name of the lease, and of the checkpoint that says when a run last ended.
const NAME: &str = "retention";
/// How long a process that is gone keeps others waiting. A step takes no longer than a part of it.
const LEASE: Duration = Duration::from_secs(600);
/// Days that resources stay longer than the spans that they belong to.
const SLACK_DAYS: u32 = 7;

/// Looks after the ages of what is stored. Cloning shares the store.
#[derive(Clone)]
pub struct Retention {
    store: Arc<dyn store::Retention>,
    checkpoints: Arc<dyn Checkpoints>,
    settings: RetentionSettings,
    clock: Clock,
    holder: String,
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Days dropped whole, as `2026-01-05`.
    pub days: Vec<String>,
    /// Days that others were using; the next run tries them again.
    pub busy_days: Vec<String>,
    /// Spans moved out of their day to be kept longer.
    pub moved_spans: u64,
    /// Spans removed one by one.
    pub removed_spans: u64,
    /// Traces of which spans went.
    pub traces: u64,
    /// Summaries, resources and dead letters removed.
    pub others: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done(Report),
    /// Another process is at it.
    Held,
}

impl Retention {
    /// The retention of a store, as a holder of its own.
    pub fn new(store: &Store, settings: &RetentionSettings, clock: Clock) -> Self {
        let (store, checkpoints) = (store.retention.clone(), store.checkpoints.clone());
        Self { store, checkpoints, settings: settings.clone(), clock, holder: clock::random_hex_128() }
    }

    /// How long after a run the next one is due.
    pub fn every(&self) -> Duration {
        Duration::from_secs(self.settings.every_secs)
    }

    /// Runs if the last run, whoever's, is long enough ago.
    ///
    /// # Errors
    /// What the store says; what was done until then stays done.
    pub async fn run_if_due(&self) -> Result<Option<Outcome>, StoreError> {
        let last = self.checkpoints.checkpoint(NAME).await?;
        let last = last.and_then(|at| UnixNanos::parse_rfc3339(&at).ok());
        let every_ns = i64::try_from(self.settings.every_secs.saturating_mul(1_000_000_000)).unwrap_or(i64::MAX);
        // One in the future was written by a clock that has been set right since.
        if last.is_some_and(|last| (0..every_ns).contains(&self.clock.now().since(last))) {
            return Ok(None);
        }
        self.run().await.map(Some)
    }

    /// Removes all that is past its keep-by date.
    ///
    /// # Errors
    /// What the store says; what was done until then stays done.
    pub async fn run(&self) -> Result<Outcome, StoreError> {
        let mut run = Run { of: self, held_since: None, report: Report::default() };
        if !run.hold().await? {
            return Ok(Outcome::Held);
        }
        let done = run.all(&self.keep_by()).await;
        let outcome = if matches!(done, Ok(true)) { "done" } else { "failed" };
        counter!(meters::RETENTION_RUNS, "outcome" => outcome).increment(1);
        let now = self.clock.now();
        if done? {
            self.checkpoints.set_checkpoint(NAME, &now.to_string()).await?;
            // Nobody needs to wait for its end.
            self.store.lease(NAME, &self.holder, now, now).await?;
            Ok(Outcome::Done(run.report))
        } else {
            Ok(Outcome::Held)
        }
    }

    /// What a run would remove and keep. Changes nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn preview(&self) -> Result<Vec<Due>, StoreError> {
        self.store.due(&self.keep_by()).await
    }

    fn keep_by(&self) -> KeepBy {
        keep_by(&self.settings, self.clock.now())
    }
}

/// The keep-by dates of a moment.
pub fn keep_by(settings: &RetentionSettings, now: UnixNanos) -> KeepBy {
    let ago = |days: u32| UnixNanos::new(now.as_u64().saturating_sub(u64::from(days) * DAY_NS));
    KeepBy {
        now,
        // The whole of the day must be old enough.
        first_day: ago(settings.completed_days).day(),
        completed: ago(settings.completed_days),
        failed: ago(settings.failed_days),
        rollups: ago(settings.rollup_days),
        resources_day: ago(settings.failed_days.saturating_add(SLACK_DAYS)).day(),
        dead_letters: ago(settings.dead_letter_days),
        dead_letters_max: settings.dead_letters_max,
    }
}

/// A run under way.
struct Run<'a> {
    of: &'a Retention,
    held_since: Option<UnixNanos>,
    report: Report,
}

impl Run<'_> {
    /// `false` when the lease was lost.
    async fn all(&mut self, keep_by: &KeepBy) -> Result<bool, StoreError> {
        let store = &self.of.store;
        let days = store.days_before(keep_by.first_day).await?;
        if !days.is_empty() {
            store.close_days(keep_by.first_day).await?;
        }
        for day in days {
            if !self.clear(Place::Day(day), keep_by).await? {
                return Ok(false);
            }
            let date = UnixNanos::of_day(day).date();
            match store.drop_day(day, keep_by).await {
                Ok(true) => {
                    tracing::info!(day = date, "removed the spans of a day");
                    counter!(meters::RETENTION_DAYS).increment(1);
                    self.report.days.push(date);
                }
                Ok(false) => self.report.busy_days.push(date),
                Err(StoreError::Unavailable { cause: Cause::Busy, source, .. }) => {
                    tracing::info!(day = date, error = %source, "a day is in use; the next run drops it");
                    self.report.busy_days.push(date);
                }
                Err(error) => return Err(error),
            }
        }
        for place in [Place::OtherDays, Place::Kept, Place::Open] {
            if !self.clear(place, keep_by).await? {
                return Ok(false);
            }
        }
        self.note_expired(keep_by.now).await?;
        let resources = self.report.busy_days.is_empty();
        loop {
            let removed = store.remove_others(keep_by, resources).await?;
            self.report.others += removed;
            if removed == 0 {
                break;
            }
            if !self.hold().await? {
                return Ok(false);
            }
        }
        while store.shrink().await? {
            if !self.hold().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn clear(&mut self, place: Place, keep_by: &KeepBy) -> Result<bool, StoreError> {
        let mut after: Option<TraceId> = None;
        loop {
            if !self.hold().await? {
                return Ok(false);
            }
            let Cleared { moved, removed, marked, next } = self.of.store.clear(place, after, keep_by).await?;
            self.report.moved_spans += moved;
            self.report.removed_spans += removed;
            self.report.traces += marked;
            counter!(meters::RETENTION_SPANS, "what" => "moved").increment(moved);
            counter!(meters::RETENTION_SPANS, "what" => "removed").increment(removed);
            if next.is_none() {
                return Ok(true);
            }
            after = next;
        }
    }

    async fn note_expired(&mut self, now: UnixNanos) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            after = self.of.store.note_expired(after, now).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Takes the lease, or renews it when a third of it is over; `false` when another process has it.
    async fn hold(&mut self) -> Result<bool, StoreError> {
        let now = self.of.clock.now();
        let lease_ns = i64::try_from(LEASE.as_nanos()).unwrap_or(i64::MAX);
        if self.held_since.is_some_and(|since| now.since(since) < lease_ns / 3) {
            return Ok(true);
        }
        self.held_since = Some(now);
        self.of.store.lease(NAME, &self.of.holder, now, now.plus(lease_ns)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_goes_when_all_of_it_is_old_enough() {
        let settings = RetentionSettings { completed_days: 7, failed_days: 30, ..RetentionSettings::default() };
        let at = |text: &str| UnixNanos::parse_rfc3339(text).unwrap();
        for (now, first_day) in [
            ("2026-01-15T00:00:00Z", "2026-01-08"),
            ("2026-01-15T23:59:59Z", "2026-01-08"),
            ("2026-01-16T00:00:00Z", "2026-01-09"),
        ] {
            let keep_by = keep_by(&settings, at(now));
            assert_eq!(UnixNanos::of_day(keep_by.first_day).date(), first_day, "{now}");
            assert_eq!(keep_by.completed.plus(7 * DAY_NS as i64), at(now));
        }
        let young = keep_by(&RetentionSettings::default(), UnixNanos::new(5));
        assert_eq!((young.first_day, young.rollups), (0, UnixNanos::default()));
    }
}
